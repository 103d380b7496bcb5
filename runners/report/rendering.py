"""Renders the templates of this folder as pages that need no network."""

from __future__ import annotations

import re
from pathlib import Path

from jinja2 import Environment, FileSystemLoader

from runners.formatting import unbroken

_SCRIPT_OR_STYLE = re.compile(r"(<(script|style)\b.*?</\2>)", re.DOTALL)


def render(template: str, *, charts: bool = False, **values: object) -> str:
    """Render a template; with ``charts``, the page contains Bokeh's JavaScript once."""
    environment = Environment(loader=FileSystemLoader(Path(__file__).parent), autoescape=True)
    page = environment.get_template(template).render(**values, bokeh=_bokeh_script() if charts else "")
    parts = _SCRIPT_OR_STYLE.split(page)  # a text, a script or style, its name, a text, ...
    return "".join(unbroken(text) if at % 3 == 0 else text for at, text in enumerate(parts) if at % 3 != 2)


def _bokeh_script() -> str:
    """Bokeh's core, without widgets."""
    from bokeh.resources import Resources

    return Resources(mode="inline", components=["bokeh"], log_level="error").js_raw[0]
