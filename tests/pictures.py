"""``python -m tests.pictures``: takes the pictures of README and manual from the demo's report in Chromium."""

from __future__ import annotations

import io
import shutil
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from PIL import Image
from playwright.sync_api import sync_playwright

from data.samples import SP500, sp500_candles
from runners.backtesting.engine import backtest
from runners.backtesting.trials import ALONE
from runners.report.backtest_page import report_html
from tests.patience import new_page
from tests.runners.report.browsing import open_page
from training import train

_FOLDER = Path(__file__).parents[1] / "runners" / "examples"
_COLOURS = 256
_SIZE = {"width": 1000, "height": 1400}
_STEPS, _FRAME_MS, _LAST_MS = 14, 120, 1500


def main() -> None:
    candles = sp500_candles()
    page_text = report_html(backtest(candles, train(candles, SP500)), ALONE, {"models": SP500})
    with TemporaryDirectory() as folder, sync_playwright() as playwright:
        report = Path(folder) / "report.html"
        report.write_text(page_text, encoding="utf-8")
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = new_page(browser, viewport=_SIZE)
        open_page(page, report)
        page.wait_for_timeout(1000)
        Image.open(io.BytesIO(page.screenshot())).convert("RGB").save(_FOLDER / "report.png", optimize=True)
        first, *frames = _zooming(page)
        times = [_LAST_MS, *[_FRAME_MS] * (len(frames) - 1), _LAST_MS]
        first.save(_FOLDER / "zoom.gif", save_all=True, append_images=frames, duration=times, loop=0, optimize=True)
        browser.close()


def _zooming(page: Any) -> list[Image.Image]:
    """Pictures of the upper panes while the wheel turns."""
    page.set_viewport_size({"width": 800, "height": 760})
    page.evaluate("scrollTo(0, document.querySelector('.chart').offsetTop)")
    box = page.locator(".chart [data-root]").first.bounding_box()
    page.mouse.move(box["x"] + 0.72 * box["width"], box["y"] + 120)
    pictures = []
    for _ in range(_STEPS):
        page.wait_for_timeout(300)
        pictures.append(_small(page.screenshot()))
        page.mouse.wheel(0, -120)
    return pictures


def _small(picture: bytes) -> Image.Image:
    return Image.open(io.BytesIO(picture)).convert("RGB").quantize(_COLOURS, dither=Image.Dither.NONE)


if __name__ == "__main__":
    main()
