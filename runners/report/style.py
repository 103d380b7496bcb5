"""Style of all plots: one colour per regime, safe for colour-blind readers, and fonts that matplotlib bundles."""

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
# Almost black; in a page it becomes the text colour, so that plots follow the theme.
INK = "#010203"
MUTED = "#888888"
PAGE_INK = "currentcolor"  # the text colour of a page, in its interactive charts
STRATEGY_COLOUR, HOLDING_COLOUR, PRICE_COLOUR = INK, "#E69F00", INK
YARDSTICK_COLOURS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7"]
DENSITY_COLOUR = "#56B4E9"  # intervals of predictive densities
# In comparisons, in the order of the runs.
RUN_COLOURS = [INK, "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#B8860B"]


def regime_colour(regime: int) -> str:
    return REGIME_COLOURS.get(regime, _FURTHER_COLOURS[(regime - 3) % len(_FURTHER_COLOURS)])


def use_plain_style() -> None:
    """Draw without a display, in a font that is always available."""
    matplotlib.use("agg")
    matplotlib.rcdefaults()  # importing quantstats changes sizes
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


def use_log_scale(axes: Axes, tick_format: str) -> None:
    """A logarithmic scale with tick labels in a format such as ``{x:,.0f}``, not as powers of ten."""
    from matplotlib.ticker import NullFormatter, StrMethodFormatter

    axes.set_yscale("log")
    low, high = axes.get_ylim()
    axes.yaxis.set_major_formatter(StrMethodFormatter(tick_format))
    axes.yaxis.set_minor_formatter(NullFormatter() if high > 10 * low else StrMethodFormatter(tick_format))


def replace_missing_arial() -> None:
    """Register DejaVu Sans as Arial if Arial is not installed: quantstats uses Arial by name."""
    if not any(font.name == "Arial" for font in fontManager.ttflist):
        bundled = [font for font in fontManager.ttflist if font.name == "DejaVu Sans"]
        fontManager.ttflist.extend(replace(font, name="Arial") for font in bundled)
