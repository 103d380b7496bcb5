"""Creates figures, aligns them, and converts them to SVG and PNG."""

from __future__ import annotations

import io
import re
from typing import TYPE_CHECKING, Any

from runners.report.style import INK, use_plain_style

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def subplots(rows: int = 1, columns: int = 1, *, figsize: tuple[float, float], **options: Any) -> tuple[Figure, Any]:
    """A figure in the plain style and its axes, as `matplotlib.pyplot.subplots` gives them."""
    use_plain_style()
    from matplotlib.figure import Figure

    figure = Figure(figsize=figsize, layout="constrained")
    return figure, figure.subplots(rows, columns, **options)


def svg(figure: Figure, *, tight: bool = True) -> str:
    """The figure as SVG for a page: no background, and `INK` in the text colour of the page.

    ``tight`` cuts off the empty margins.
    """
    buffer = io.StringIO()
    figure.savefig(
        buffer, format="svg", transparent=True, bbox_inches="tight" if tight else None, metadata={"Date": None}
    )
    text = re.sub(r"<metadata>.*?</metadata>", "", buffer.getvalue(), flags=re.DOTALL)
    text = re.sub(r' xmlns(:xlink)?="[^"]*"', "", text)  # HTML needs neither
    return text[text.index("<svg") :].replace(INK, "currentColor")


def png(figure: Figure) -> bytes:
    """The figure as PNG."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=120, bbox_inches="tight")
    return buffer.getvalue()
