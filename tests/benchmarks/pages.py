"""What a reader of a report waits for in Chromium: the first picture of its chart, and each step of a zoom."""

from __future__ import annotations

import shutil
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from runners.backtesting.engine import backtest
from runners.backtesting.settings import BacktestSettings
from runners.backtesting.trials import ALONE
from runners.report.backtest_page import report_html
from tests.benchmarks.comparison import Figure, at_most, cost_of
from tests.benchmarks.subject import Subject, many_candles
from training import train

if TYPE_CHECKING:
    from runners.backtesting.result import Backtest

_SEEN = 4000  # bars that the models are trained on
_LONG = 50_000  # bars of the page whose times are measured
_ROUNDS = 3
_STEPS = 12
# Times are from the page's own clock; two frames after a change, the browser has painted it.
_WATCH = """
globalThis.painted = () => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)));
globalThis.firstPaint = async () => {
  while (!document.querySelector(".chart")?.dataset.hasOwnProperty("ready")) await painted();
  await painted();
  return performance.now();
};
"""
_ZOOM = """
async () => {
  const begin = performance.now();
  chart.zoom(0.7);
  await painted();
  return performance.now() - begin;
}
"""


def figures(subject: Subject) -> list[Figure]:
    whole = backtest(subject.candles, subject.models, BacktestSettings(in_sample=True, start=subject.candles.index[0]))
    candles = many_candles(_LONG + _SEEN)
    long = backtest(candles, train(candles.iloc[:_SEEN], "LONG"))
    size, written = _page(whole), cost_of(lambda: _page(whole))
    shown = [_size(whole, size, str(written))]
    chromium = shutil.which("chromium")
    return [*shown, *_in_browser(long, chromium)] if chromium else shown


def _page(result: Backtest) -> str:
    return report_html(result, ALONE, {"models": "models"})


def _size(result: Backtest, page: str, told: str) -> Figure:
    what = f"report of {len(result.equity):,} bars and {len(result.trades)} trades"
    return Figure(what, len(page.encode()) / 1e6, "MB", at_most(3), f"written in {told}")


def _in_browser(result: Backtest, chromium: str) -> list[Figure]:
    from playwright.sync_api import sync_playwright

    page_text = _page(result)
    what = f"report of {len(result.equity):,} bars in Chromium"
    with TemporaryDirectory() as folder, sync_playwright() as playwright:
        file = Path(folder) / "report.html"
        file.write_text(page_text, encoding="utf-8")
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        measured = [_measure(browser, file) for _ in range(_ROUNDS)]
        browser.close()
    paint, paint_cpu, zoom, zoom_cpu = (median(each) for each in zip(*measured, strict=True))
    told = "{:.2f} s CPU of the page's thread".format
    return [
        Figure(f"{what}: until its chart is drawn", paint, "s wall", at_most(1), told(paint_cpu)),
        Figure(f"{what}: a step of a zoom", 1000 * zoom, "ms wall", at_most(100), f"{1000 * zoom_cpu:.0f} ms CPU"),
    ]


def _measure(browser: Any, file: Path) -> tuple[float, float, float, float]:
    """Seconds until the chart is drawn, and of a step into it; each elapsed, and of the thread that runs the page."""
    page = browser.new_page(viewport={"width": 1400, "height": 1000})
    session = page.context.new_cdp_session(page)
    session.send("Performance.setTimeDomain", {"timeDomain": "threadTicks"})
    session.send("Performance.enable")

    def thread_time() -> float:
        metrics = session.send("Performance.getMetrics")["metrics"]
        return next(float(one["value"]) for one in metrics if one["name"] == "TaskDuration")

    page.add_init_script(_WATCH)
    page.goto(file.as_uri())
    paint, paint_cpu = page.evaluate("() => firstPaint()") / 1000, thread_time()
    page.evaluate("() => { globalThis.chart = document.querySelector('.chart').chart; }")
    steps = [page.evaluate(_ZOOM) / 1000 for _ in range(_STEPS)]
    zoom_cpu = (thread_time() - paint_cpu) / _STEPS
    page.close()
    return paint, paint_cpu, median(steps), zoom_cpu
