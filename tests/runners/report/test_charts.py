"""The chart of a backtest in a real browser: zoom, values at the pointer, trades, legend, keys and what it draws."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from models import ModelSet
from runners import backtest
from runners.backtesting.result import Backtest
from runners.backtesting.settings import BacktestSettings
from runners.backtesting.trials import ALONE
from runners.report.backtest_page import report_html
from runners.report.charts import MOST_BARS, LinkedChart
from tests.conftest import needs_browser, switching_candles
from tests.patience import new_page
from tests.runners.report.browsing import open_page
from tests.runners.report.long_backtest import stretched

sync_api = pytest.importorskip("playwright.sync_api")
MOST_GLYPHS = 4000


@pytest.fixture(scope="module")
def result(candles: pd.DataFrame, model_set: ModelSet) -> Backtest:
    return backtest(candles, model_set, BacktestSettings(long_threshold=0.0002, short_threshold=-0.0002))


@pytest.fixture(scope="module")
def report(result: Backtest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("pages") / "report.html"
    path.write_text(report_html(result, ALONE, {"models": "x"}), encoding="utf-8")
    return path


@pytest.fixture
def opened(page: Any, report: Path) -> Any:
    """The report, once its charts are drawn, with the chart in sight."""
    page.set_viewport_size({"width": 1300, "height": 900})
    open_page(page, report)
    page.evaluate("scrollTo(0, document.querySelector('.chart').offsetTop)")
    return page


def chart(page: Any, code: str) -> Any:
    """The value of JavaScript code about the ``chart`` of the page, after it has drawn."""
    page.evaluate("() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
    return page.evaluate(f"() => {{ const chart = document.querySelector('.chart').chart; return {code}; }}")


def shown_range(page: Any) -> tuple[float, float]:
    start, end = chart(page, "[chart.range.start, chart.range.end]")
    return start, end


def point_at(page: Any, across: float, pane: int = 0) -> None:
    box = page.locator(".chart [data-root]").nth(pane).bounding_box()
    page.mouse.move(box["x"] + across * box["width"], box["y"] + box["height"] / 2)


@needs_browser
def test_the_wheel_zooms_into_all_panes_at_the_pointer(opened: Any) -> None:
    whole = shown_range(opened)
    point_at(opened, 0.5)
    opened.mouse.wheel(0, -400)
    opened.wait_for_function(f"() => document.querySelector('.chart').chart.range.start > {whole[0]}")
    start, end = shown_range(opened)
    assert whole[0] < start < end < whole[1]
    assert chart(opened, "new Set(chart.plots.map(plot => plot.x_range.id)).size") == 1
    assert chart(opened, "chart.drawn.data.x[0] >= chart.range.start - 2 * chart.spec.interval")


@needs_browser
def test_a_page_that_is_being_scrolled_does_not_zoom_when_the_chart_comes_under_the_pointer(opened: Any) -> None:
    whole = shown_range(opened)
    opened.evaluate("document.body.dispatchEvent(new WheelEvent('wheel', {bubbles: true, deltaY: 100}))")
    opened.locator(".chart canvas").first.dispatch_event("wheel", {"deltaY": -400, "bubbles": True})
    assert shown_range(opened) == whole


@needs_browser
def test_range_buttons_and_keys_zoom_and_pan_within_the_bars(opened: Any, result: Backtest) -> None:
    whole = shown_range(opened)
    opened.get_by_role("button", name="1 m").click()
    start, end = shown_range(opened)
    assert (end - start) / 86_400_000 == pytest.approx(30.4375)
    opened.locator(".chart").focus()
    opened.keyboard.press("ArrowLeft")
    assert shown_range(opened)[0] < start
    opened.keyboard.press("+")
    assert np.diff(shown_range(opened))[0] == pytest.approx((end - start) / 2)
    opened.keyboard.press("0")
    assert shown_range(opened) == pytest.approx(whole)
    for _ in range(3):
        opened.keyboard.press("ArrowRight")
    assert shown_range(opened) == pytest.approx(whole)


@needs_browser
def test_the_pointer_reads_every_value_of_its_bar_in_any_pane(opened: Any, result: Backtest) -> None:
    for pane in (0, 3):
        point_at(opened, 0.6, pane)
        names, texts = (opened.locator(f".readout {part}").all_inner_texts() for part in ("dt", "dd"))
        values = dict(zip(names, texts, strict=True))
        time = pd.Timestamp(values["time"].removesuffix(" UTC"), tz="UTC")
        for name in ("open", "high", "low", "close"):
            assert float(values[name].replace(",", "")) == pytest.approx(result.candles.loc[time, name], rel=1e-6)
        assert float(values["equity"].replace(",", "")) == pytest.approx(result.equity.loc[time, "equity"], rel=1e-6)
        assert values["regime"] == result.source.regime_label(int(result.equity.loc[time, "regime"]))
        forecast = float(values["forecast"].removesuffix(" bp"))
        assert forecast == pytest.approx(1e4 * result.equity.loc[time, "forecast"], abs=0.051)


@needs_browser
def test_a_click_on_a_row_zooms_to_the_trade_and_a_click_on_a_trade_marks_its_row(
    opened: Any, result: Backtest
) -> None:
    row = opened.locator(".trades tbody tr").nth(2)
    row.click()
    start, end = shown_range(opened)
    trade = result.trades.iloc[2]
    for name in ("opened", "closed"):
        assert start < trade[name].timestamp() * 1000 < end
    assert row.evaluate("one => one.classList.contains('marked')")
    assert opened.locator(".readout").evaluate("one => one.getBoundingClientRect().top") < 200  # the chart is in sight
    frame = "Bokeh.index.get_one(chart.panes[0].plots[0]).frame"
    entry = "chart.tradesInSight.indexOf(3)"
    x = chart(opened, f"{frame}.x_scale.compute(chart.drawnTrades.data.x0[{entry}])")
    y = chart(opened, f"{frame}.y_scale.compute(chart.drawnTrades.data.y0[{entry}])")
    opened.evaluate("scrollTo(0, document.querySelector('.chart').offsetTop)")
    box = opened.locator(".chart [data-root]").first.bounding_box()
    opened.mouse.click(box["x"] + x, box["y"] + y)
    opened.wait_for_function("() => document.querySelector('tr.marked')?.dataset.trade === '3'")


@needs_browser
def test_a_click_on_the_legend_hides_a_line_and_fits_the_pane(opened: Any) -> None:
    button = opened.get_by_role("button", name="members alone")
    before = chart(opened, "chart.panes[1].plots[0].y_range.end - chart.panes[1].plots[0].y_range.start")
    button.click()
    assert button.get_attribute("aria-pressed") == "false"
    after = chart(opened, "chart.panes[1].plots[0].y_range.end - chart.panes[1].plots[0].y_range.start")
    assert after < before


@needs_browser
def test_the_equity_can_be_shown_on_a_logarithmic_scale(opened: Any) -> None:
    visible = "chart.panes[1].plots.map(plot => plot.visible)"
    assert chart(opened, visible) == [True, False]
    opened.get_by_label("logarithmic scale").check()
    assert chart(opened, visible) == [False, True]


@needs_browser
def test_lines_take_the_colour_of_the_text_when_the_theme_changes(opened: Any) -> None:
    def colours() -> tuple[str, str]:
        line = "[...chart.renderers].find(([name]) => name?.endsWith(' ink'))[1].glyph.line_color.value"
        return chart(opened, f"[{line}, getComputedStyle(document.body).color]")

    light = colours()
    opened.emulate_media(color_scheme="dark")
    dark = colours()
    assert light[0] == light[1] != dark[0] == dark[1]


@needs_browser
def test_trades_are_sorted_filtered_and_shown_in_pages(page: Any, result: Backtest, tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    path.write_text(report_html(stretched(result, 3000, 60), ALONE, {"models": "x"}), encoding="utf-8")
    open_page(page, path)
    rows, status = page.locator(".trades tbody tr"), page.locator(".trades [role=status]")
    assert (rows.count(), status.inner_text()) == (25, "1 to 25 of 60")
    page.get_by_role("button", name="later rows").click()
    assert status.inner_text() == "26 to 50 of 60"
    header = page.locator(".trades th").filter(has_text="net pnl")
    column = header.evaluate("one => one.cellIndex") + 1
    for order in ("ascending", "descending"):
        header.get_by_role("button").click()
        assert header.get_attribute("aria-sort") == order
        shown = page.locator(f".trades tbody td:nth-child({column})").all_inner_texts()
        values = [float(text) for text in shown]
        assert values == sorted(values, reverse=order == "descending")
    page.get_by_label("filter").fill("2010-02-0")
    assert 0 < rows.count() < 25
    assert all("2010-02-0" in text for text in rows.all_inner_texts())
    page.get_by_label("filter").fill("nothing like this")
    assert status.inner_text() == "no trade contains this"


@needs_browser
def test_100_000_bars_are_drawn_in_at_most_4_000_glyphs_at_any_zoom(
    browser: Any, result: Backtest, tmp_path: Path
) -> None:
    path = tmp_path / "report.html"
    path.write_text(report_html(stretched(result, 100_000, 5000), ALONE, {"models": "x"}), encoding="utf-8")
    page = new_page(browser, viewport={"width": 1300, "height": 900})
    open_page(page, path)
    page.locator(".chart").focus()
    counts = []
    for _ in range(14):
        counts.append(chart(page, "chart.glyphs()"))
        assert chart(page, "chart.drawn.data.x.length") <= 500
        page.keyboard.press("+")
    assert max(counts) <= MOST_GLYPHS
    assert min(counts) > 20
    assert chart(page, "chart.drawn.data.x.length") < 60  # zoomed in to single bars
    page.close()


def test_the_report_of_7_700_bars_is_at_most_3_mb(model_set: ModelSet) -> None:
    long = backtest(switching_candles(960 + 7700).drop(columns="regime"), model_set)
    assert len(long.equity) == 7700
    assert len(report_html(long, ALONE, {"models": "x"}).encode()) <= 3e6


@needs_browser
def test_a_notebook_shows_the_chart_in_a_frame(page: Any, result: Backtest, tmp_path: Path) -> None:
    notebook = tmp_path / "notebook.html"
    notebook.write_text(f"<!doctype html><body>{result._repr_html_()}</body>", encoding="utf-8")
    page.goto(notebook.as_uri())
    frame = page.frame_locator("iframe")
    frame.locator(".chart[data-ready]").wait_for()
    frame.get_by_role("button", name="1 m").click()
    height = frame.locator("html").evaluate("one => one.scrollHeight - one.clientHeight")
    assert height == 0  # no second scroll bar


@needs_browser
@pytest.mark.parametrize("last", [961, 1199])
def test_a_report_without_trades_or_with_two_bars_has_no_errors(
    page: Any, candles: pd.DataFrame, model_set: ModelSet, tmp_path: Path, last: int
) -> None:
    never = BacktestSettings(long_threshold=1.0, short_threshold=-1.0, end=candles.index[last].to_pydatetime())
    path = tmp_path / "report.html"
    path.write_text(report_html(backtest(candles, model_set, never), ALONE, {"models": "x"}), encoding="utf-8")
    open_page(page, path)
    assert page.get_by_text("There were no trades.").is_visible()
    assert chart(page, "chart.drawn.data.x.length") > 1


def test_a_page_stands_for_more_bars_than_it_holds_by_their_extremes() -> None:
    n_bars = 2 * MOST_BARS + 2
    index = pd.date_range("2000-01-01", periods=n_bars, freq="min", tz="UTC")
    chart = LinkedChart(index, pd.Timedelta(minutes=1))
    values = np.arange(n_bars, dtype=float)
    for how, expected in (("first", 0), ("last", 2), ("min", 0), ("max", 2), ("mean", 1)):
        chart.column(how, values, how)
        held = chart._bars.data[how]
        assert len(held) == n_bars // 3 + 1 <= MOST_BARS
        assert held[0] == expected
