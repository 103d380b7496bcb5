"""Drawn figures, as what a page or a file holds."""

from __future__ import annotations

import io
import re
from typing import TYPE_CHECKING

from runners.report.style import INK

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def svg(figure: Figure) -> str:
    """The figure to be put into a page: no background, and ink in the colour of the page's text."""
    import matplotlib.pyplot as plt

    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", transparent=True, bbox_inches="tight", metadata={"Date": None})
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
