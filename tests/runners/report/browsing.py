"""Opens pages with charts in a browser."""

from __future__ import annotations

from pathlib import Path
from typing import Any

_WATCH = """
for (const kind of ["error", "unhandledrejection"]) {
  addEventListener(kind, event => { globalThis.failure ??= String(event.error ?? event.reason); });
}
"""
_READY = """
() => {
  if (globalThis.failure) throw new Error(globalThis.failure);
  return [...document.querySelectorAll(".chart, .heat, .figure")].every(box => "ready" in box.dataset);
}
"""


def open_page(page: Any, path: Path) -> None:
    """Open a page and wait until its charts are drawn; raises an error if its JavaScript does."""
    page.add_init_script(_WATCH)
    page.goto(path.as_uri())
    page.wait_for_function(_READY)
