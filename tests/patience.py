"""How long a test waits for something that must happen, however slow the machine is."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

PATIENCE_S = 600.0
_TICK_S = 0.01


def wait_until(done: Callable[[], bool]) -> bool:
    """Wait until ``done`` returns True; False if it does not within `PATIENCE_S`."""
    tick = threading.Event()
    for _ in range(int(PATIENCE_S / _TICK_S)):
        if done():
            return True
        tick.wait(_TICK_S)
    return done()


def new_page(browser: Browser, **options: Any) -> Page:
    """A page of a browser that waits for `PATIENCE_S`."""
    page = browser.new_page(**options)
    page.set_default_timeout(1000 * PATIENCE_S)
    return page
