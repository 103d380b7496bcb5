"""The pages in a real browser: nothing fails, nothing leaves the page, both themes can be read."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest

from models import ModelSet
from runners.comparison import compare
from runners.registry import Trials, read_runs
from runners.report.page import comparison_html
from runners.report.write import write_backtest
from runners.settings import BacktestSettings
from runners.simulation import backtest

sync_api = pytest.importorskip("playwright.sync_api")
CHROMIUM = shutil.which("chromium")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="NO CHROMIUM: the pages were not looked at in a browser")


@pytest.fixture(scope="module")
def pages(candles: pd.DataFrame, model_set: ModelSet, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    results = tmp_path_factory.mktemp("results")
    for edge in (0.0006, 0.0002):
        result = backtest(candles, model_set, BacktestSettings(long_threshold=edge, short_threshold=-edge))
        folder = write_backtest(
            result, Trials(1, 0.0), results, candle_file=results / "SWITCH.csv", forecasts={"models": str(results)}
        )
    compared = results / "compare.html"
    compared.write_text(comparison_html([compare(read_runs(results / "SWITCH"), "SWITCH")]), encoding="utf-8")
    return {"report": folder / "report.html", "compare": compared}


@pytest.fixture(scope="module")
def browser() -> Iterator[sync_api.Browser]:
    with sync_api.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.mark.parametrize("name", ["report", "compare"])
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_a_page_is_quiet_self_contained_and_readable(
    browser: sync_api.Browser, pages: dict[str, Path], name: str, theme: str
) -> None:
    page = browser.new_page(color_scheme=theme)
    said, asked = [], []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    page.goto(pages[name].as_uri())
    assert said == []
    assert [url for url in asked if not url.startswith("data:")] == [pages[name].as_uri()]
    colours = page.evaluate(
        "() => [getComputedStyle(document.body).color, getComputedStyle(document.body).backgroundColor]"
    )
    text, background = (sum(map(int, re.findall(r"\d+", colour)[:3])) for colour in colours)
    assert (text < 150 and background > 600) if theme == "light" else (text > 600 and background < 150)
    inked = page.locator("svg [style*='currentcolor' i]").first
    assert inked.evaluate("one => getComputedStyle(one).color") == colours[0]  # plots follow the theme
    assert page.get_by_text("Sharpe", exact=True).first.is_visible()
    page.close()


@pytest.mark.parametrize("name", ["report", "compare"])
def test_wide_tables_scroll_inside_themselves_on_a_phone(
    browser: sync_api.Browser, pages: dict[str, Path], name: str
) -> None:
    page = browser.new_page(viewport={"width": 400, "height": 800})
    page.goto(pages[name].as_uri())
    assert page.evaluate("document.documentElement.scrollWidth") <= 400
    page.close()


def test_trades_sort_by_a_click_up_and_down(browser: sync_api.Browser, pages: dict[str, Path]) -> None:
    page = browser.new_page()
    page.goto(pages["report"].as_uri())
    table = page.locator("table.sortable")

    def values(column: int) -> list[str]:
        return table.locator(f"tbody tr td:nth-child({column})").evaluate_all(
            "all => all.map(one => one.dataset.value)"
        )

    assert len(values(6)) > 3
    table.get_by_role("button", name="net pnl").click()
    assert [float(value) for value in values(6)] == sorted(float(value) for value in values(6))
    table.get_by_role("button", name="net pnl").click()
    assert [float(value) for value in values(6)] == sorted((float(value) for value in values(6)), reverse=True)
    table.get_by_role("button", name="opened").click()
    assert values(1) == sorted(values(1))
    page.close()


def test_the_scale_of_the_equity_can_be_chosen(browser: sync_api.Browser, pages: dict[str, Path]) -> None:
    page = browser.new_page()
    page.goto(pages["report"].as_uri())
    assert page.locator(".linear svg").is_visible()
    assert not page.locator(".log svg").is_visible()
    page.get_by_label("logarithmic scale").check()
    assert page.locator(".log svg").is_visible()
    assert not page.locator(".linear svg").is_visible()
    page.close()
