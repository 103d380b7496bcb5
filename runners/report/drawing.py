"""Drawn figures, as what a page or a file holds."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from runners.report.style import INK

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def align(figures: Sequence[Figure]) -> None:
    """Give the axes of figures of one width the same left and right edges, those of the narrowest."""
    for figure in figures:
        engine = figure.get_layout_engine()
        assert engine is not None
        engine.execute(figure)
        figure.set_layout_engine("none")
    places = [(axes, axes.get_position()) for figure in figures for axes in figure.axes]
    left, right = max(place.x0 for _, place in places), min(place.x1 for _, place in places)
    for axes, place in places:
        axes.set_position((left, place.y0, right - left, place.height))


def svg(figure: Figure, *, tight: bool = True) -> str:
    """The figure to be put into a page: no background, and ink in the colour of the page's text.

    One that is not ``tight`` keeps the empty space around what is drawn.
    """
    import matplotlib.pyplot as plt

    buffer = io.StringIO()
    figure.savefig(
        buffer, format="svg", transparent=True, bbox_inches="tight" if tight else None, metadata={"Date": None}
    )
    plt.close(figure)
    drawn = re.sub(r"<metadata>.*?</metadata>", "", buffer.getvalue(), flags=re.DOTALL)
    drawn = re.sub(r' xmlns(:xlink)?="[^"]*"', "", drawn)  # within HTML an SVG needs neither
    return drawn[drawn.index("<svg") :].replace(INK, "currentColor")


def png(figure: Figure) -> bytes:
    """The figure as a file's content."""
    import matplotlib.pyplot as plt

    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=120, bbox_inches="tight")
    plt.close(figure)
    return buffer.getvalue()
