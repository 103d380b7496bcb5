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
from runners.backtesting.runs import find_run, read_runs
from runners.backtesting.settings import BacktestSettings
from runners.backtesting.sweep import sweep
from runners.backtesting.trials import ALONE
from runners.report.backtest_page import report_html
from runners.report.comparison_page import comparison_html
from runners.report.evaluation_page import evaluation_html
from runners.report.overfitting_page import overfitting_html
from runners.report.sweep_page import sweep_html
from runners.report.write_run import write_backtest, write_tearsheet
from tests.conftest import make_workspace, needs_browser
from tests.patience import new_page
from tests.runners.report.browsing import open_page
from training.evaluation import evaluate

sync_api = pytest.importorskip("playwright.sync_api")
Axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe
pytestmark = needs_browser
PAGES = ["report", "compare", "walk-forward", "evaluation", "sweep", "overfitting"]
HOSTILE = "<img src=x onerror=alert(1)>"


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
        "evaluation": evaluation_html(evaluate(model_set, candles), model_set, candles),
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
    open_page(page, pages[name])
    assert messages == []
    assert [url for url in requests if not url.startswith("data:")] == [pages[name].as_uri()]
    colours = page.evaluate(
        "() => [getComputedStyle(document.body).color, getComputedStyle(document.body).backgroundColor]"
    )
    text, background = (sum(map(int, re.findall(r"\d+", colour)[:3])) for colour in colours)
    assert (text < 150 and background > 600) if theme == "light" else (text > 600 and background < 150)
    if name == "overfitting":
        inked = page.locator("svg [style*='currentcolor' i]").first
        assert inked.evaluate("one => getComputedStyle(one).color") == colours[0]  # plots follow the theme
    page.close()


@pytest.mark.parametrize(("name", "theme"), [*((name, "light") for name in PAGES), ("report", "dark")])
def test_axe_finds_no_serious_barrier_in_a_page(
    browser: sync_api.Browser, pages: dict[str, Path], name: str, theme: str
) -> None:
    page = new_page(browser, color_scheme=theme)
    open_page(page, pages[name])
    found = Axe().run(page).response["violations"]
    assert [(one["id"], one["help"]) for one in found if one["impact"] in ("serious", "critical")] == []
    page.close()


@pytest.mark.parametrize("name", PAGES)
def test_a_page_does_not_scroll_sideways_on_a_phone(
    browser: sync_api.Browser, pages: dict[str, Path], name: str
) -> None:
    page = new_page(browser, viewport={"width": 390, "height": 800})
    open_page(page, pages[name])
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.close()


@pytest.mark.parametrize("name", PAGES)
def test_tables_fit_on_a_desktop(browser: sync_api.Browser, pages: dict[str, Path], name: str) -> None:
    page = new_page(browser, viewport={"width": 1200, "height": 800})
    open_page(page, pages[name])
    boxes = page.locator(".wide").evaluate_all("all => all.map(one => one.scrollWidth - one.clientWidth)")
    assert boxes
    assert max(boxes) == 0
    page.close()


@pytest.mark.parametrize("name", ["report", "compare", "walk-forward", "evaluation", "sweep"])
def test_without_scripts_a_page_shows_its_figures_and_a_picture(
    browser: sync_api.Browser, pages: dict[str, Path], name: str
) -> None:
    page = new_page(browser, java_script_enabled=False)
    page.goto(pages[name].as_uri())
    assert page.locator("noscript svg").first.is_visible()
    assert page.get_by_text("Sharpe").or_(page.get_by_text("RMSE")).first.is_visible()
    page.close()


def test_a_slider_of_a_sweep_chooses_the_settings_that_the_maps_show(
    page: sync_api.Page, pages: dict[str, Path]
) -> None:
    open_page(page, pages["sweep"])
    slider, shown = page.get_by_label("neutral"), page.locator(".heat output")
    cells = "() => Bokeh.documents[0].get_model_by_name('cells').data.sharpe.join()"
    seen = {}
    for value in ("0", "1"):
        slider.fill(value)
        seen[shown.inner_text()] = page.evaluate(cells)
    assert set(seen) == {"flat", "hold"}
    assert seen["flat"] != seen["hold"]


def test_a_hostile_name_of_a_dataset_runs_in_no_page(
    page: sync_api.Page, candles: pd.DataFrame, model_set: ModelSet, tmp_path: Path
) -> None:
    named = replace(model_set, dataset=HOSTILE)
    result = backtest(candles, named, BacktestSettings(long_threshold=0.0002, short_threshold=-0.0002))
    folder = write_backtest(result, ALONE, tmp_path, candle_file=tmp_path / "x.csv", origin={"models": HOSTILE})
    write_tearsheet(result, folder)
    (folder / "evaluation.html").write_text(evaluation_html(evaluate(named, candles), named, candles), encoding="utf-8")
    run = replace(find_run(tmp_path, str(folder)), dataset=HOSTILE)
    (folder / "compare.html").write_text(comparison_html([compare([run, run])]), encoding="utf-8")
    dialogs: list[str] = []
    page.on("dialog", lambda dialog: dialogs.append(dialog.message) or dialog.dismiss())
    for name in ("report", "tearsheet", "evaluation", "compare"):
        page.goto((folder / f"{name}.html").as_uri())
        assert page.locator("img[src=x]").count() == 0
        assert HOSTILE in page.locator("body").inner_text()
    assert dialogs == []
