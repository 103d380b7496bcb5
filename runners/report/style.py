"""How figures look: one colour a regime, safe for colour-blind readers, and fonts that matplotlib carries."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import matplotlib
from matplotlib.font_manager import fontManager

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Okabe and Ito (2008), "Color universal design".
REGIME_COLOURS = {0: "#D55E00", 1: "#999999", 2: "#0072B2"}
_FURTHER_COLOURS = ["#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#F0E442"]
# Black to the eye; in a page it becomes the colour of the text, so that plots follow the theme.
INK = "#010203"
STRATEGY_COLOUR, HOLDING_COLOUR, PRICE_COLOUR = INK, "#E69F00", INK
# Of runs side by side; the first is drawn in ink.
RUN_COLOURS = [INK, "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9"]


def regime_colour(regime: int) -> str:
    return REGIME_COLOURS.get(regime, _FURTHER_COLOURS[(regime - 3) % len(_FURTHER_COLOURS)])


def use_plain_style() -> None:
    """Draw without a screen, in a font that is always there."""
    matplotlib.use("agg")
    matplotlib.rcdefaults()  # quantstats, imported before, sets sizes of its own
    matplotlib.rcParams.update(
        {
            "font.family": "DejaVu Sans",
            "font.sans-serif": ["DejaVu Sans"],
            "font.size": 9,
            **dict.fromkeys(["text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"], INK),
            "grid.color": INK,
            "svg.hashsalt": "regimes",
            "axes.grid": True,
            "grid.alpha": 0.15,
            "axes.spines.top": False,
            "axes.spines.right": False,
        }
    )


def use_log_scale(axes: Axes, shown: str) -> None:
    """A logarithmic scale whose numbers are written out, by a format such as ``{x:,.0f}``, not as powers of ten."""
    from matplotlib.ticker import NullFormatter, StrMethodFormatter

    axes.set_yscale("log")
    low, high = axes.get_ylim()
    axes.yaxis.set_major_formatter(StrMethodFormatter(shown))
    axes.yaxis.set_minor_formatter(NullFormatter() if high > 10 * low else StrMethodFormatter(shown))


def stand_in_for_arial() -> None:
    """Let DejaVu Sans answer to the name Arial where that is not installed: quantstats asks for it by name."""
    if not any(font.name == "Arial" for font in fontManager.ttflist):
        carried = [font for font in fontManager.ttflist if font.name == "DejaVu Sans"]
        fontManager.ttflist.extend(replace(font, name="Arial") for font in carried)
