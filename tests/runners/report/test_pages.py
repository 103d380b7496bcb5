"""Pages in a real browser: no errors, no requests, readable in both themes."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from models import ModelSet
from runners.backtesting.comparison import compare
from runners.backtesting.engine import backtest
from runners.backtesting.grid import GridRun
from runners.backtesting.overfitting import analyse_overfitting
from runners.backtesting.result import TradedFold
from runners.backtesting.runs import read_runs
from runners.backtesting.settings import BacktestSettings
from runners.backtesting.sweep import sweep
from runners.backtesting.trials import ALONE
from runners.report.backtest_page import comparison_html, report_html
from runners.report.overfitting_page import overfitting_html
from runners.report.sweep_page import sweep_html
from tests.conftest import make_workspace, needs_browser
from tests.patience import new_page

sync_api = pytest.importorskip("playwright.sync_api")
pytestmark = needs_browser
PAGES = ["report", "compare", "walk-forward", "sweep", "overfitting"]


@pytest.fixture(scope="module")
def pages(candles: pd.DataFrame, model_set: ModelSet, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    edges = (0.0006, 0.0002)
    traded = [BacktestSettings(long_threshold=edge, short_threshold=-edge) for edge in edges]
    results = make_workspace(tmp_path_factory.mktemp("home"), candles, model_set, *traded) / "results"
    runs = read_runs(results / "SWITCH").runs
    index = candles.index
    folds = tuple(TradedFold(index[0], index[799], index[start], index[start + 119]) for start in (960, 1080))
    alone = backtest(candles, model_set, traded[1])
    walked = replace(alone, source=replace(alone.source, model_set=None, folds=folds))
    grid = GridRun.of(runs[1], {})
    content = {
        "compare": comparison_html([compare(runs, "SWITCH")]),
        "walk-forward": report_html(walked, ALONE, {"walk_forward": {"train_bars": 800}}),
        "sweep": sweep_html(sweep(grid)),
        "overfitting": overfitting_html(analyse_overfitting(grid, blocks=8, groups=6, test_groups=2, embargo=1)),
    }
    pages = {"report": runs[1].folder / "report.html"}
    for name, text in content.items():
        pages[name] = results / f"{name}.html"
        pages[name].write_text(text, encoding="utf-8")
    return pages


@pytest.mark.parametrize("name", PAGES)
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_a_page_has_no_errors_and_no_requests_and_is_readable(
    browser: sync_api.Browser, pages: dict[str, Path], name: str, theme: str
) -> None:
    page = new_page(browser, color_scheme=theme)
    messages, requests = [], []
    page.on("console", lambda message: messages.append(message.text))
    page.on("pageerror", lambda error: messages.append(str(error)))
    page.on("request", lambda request: requests.append(request.url))
    page.goto(pages[name].as_uri())
    assert messages == []
    assert [url for url in requests if not url.startswith("data:")] == [pages[name].as_uri()]
    colours = page.evaluate(
        "() => [getComputedStyle(document.body).color, getComputedStyle(document.body).backgroundColor]"
    )
    text, background = (sum(map(int, re.findall(r"\d+", colour)[:3])) for colour in colours)
    assert (text < 150 and background > 600) if theme == "light" else (text > 600 and background < 150)
    inked = page.locator("svg [style*='currentcolor' i]").first
    assert inked.evaluate("one => getComputedStyle(one).color") == colours[0]  # plots follow the theme
    assert page.get_by_text("Sharpe", exact=True).first.is_visible()
    page.close()


@pytest.mark.parametrize("name", PAGES)
def test_a_page_does_not_scroll_sideways_on_a_phone(
    browser: sync_api.Browser, pages: dict[str, Path], name: str
) -> None:
    page = new_page(browser, viewport={"width": 400, "height": 800})
    page.goto(pages[name].as_uri())
    assert page.evaluate("document.documentElement.scrollWidth") <= 400
    page.close()


@pytest.mark.parametrize("name", PAGES)
def test_tables_fit_on_a_desktop_and_plots_are_legible_on_a_phone(
    browser: sync_api.Browser, pages: dict[str, Path], name: str
) -> None:
    page = new_page(browser, viewport={"width": 1200, "height": 800})
    page.goto(pages[name].as_uri())
    boxes = page.locator(".wide").evaluate_all("all => all.map(one => one.scrollWidth - one.clientWidth)")
    assert boxes
    assert max(boxes) == 0
    page.set_viewport_size({"width": 390, "height": 800})
    widths = page.locator("svg:visible").evaluate_all("all => all.map(one => one.getBoundingClientRect().width)")
    assert widths
    assert min(widths) >= 560
    page.close()


def test_a_click_on_a_header_sorts_the_trades_in_either_order(page: sync_api.Page, pages: dict[str, Path]) -> None:
    page.goto(pages["report"].as_uri())
    table = page.locator("table.sortable")

    def values(column: int) -> list[str]:
        return table.locator(f"tbody tr td:nth-child({column})").evaluate_all(
            "all => all.map(one => one.dataset.value)"
        )

    assert len(values(8)) > 3
    table.get_by_role("button", name="net pnl").click()
    assert [float(value) for value in values(8)] == sorted(float(value) for value in values(8))
    table.get_by_role("button", name="net pnl").click()
    assert [float(value) for value in values(8)] == sorted((float(value) for value in values(8)), reverse=True)
    table.get_by_role("button", name="opened").click()
    assert values(1) == sorted(values(1))


def test_the_equity_can_be_shown_on_a_logarithmic_scale(page: sync_api.Page, pages: dict[str, Path]) -> None:
    page.goto(pages["report"].as_uri())
    assert page.locator(".linear svg").is_visible()
    assert not page.locator(".log svg").is_visible()
    page.get_by_label("logarithmic scale").check()
    assert page.locator(".log svg").is_visible()
    assert not page.locator(".linear svg").is_visible()
