"""Single Bokeh figures of a page: forecasts against outcomes, calibration, losses, and scatters."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from runners.report.style import HOLDING_COLOUR, INK, MUTED, RUN_COLOURS

if TYPE_CHECKING:
    from bokeh.model import Model
    from bokeh.plotting import figure

    from runners.report.comparison_tables import Risk

_BLUE = "#0072B2"
_FEWEST_TO_SPLIT = 50  # five bars per decile


def embedded(one: figure) -> dict[str, str]:
    """What ``macros.html`` needs to show a figure."""
    return {"root": one.id, "content": content_json([one])}


def content_json(models: Sequence[Model], spec: Mapping[str, Any] | None = None) -> str:
    """A document of these models for ``chart.js``, and what it must know about them, safe within a script element."""
    from bokeh.document import Document

    document = Document()
    for model in models:
        document.add_root(model)
    content = {"document": document.to_json(deferred=False), "spec": spec}
    return json.dumps(content, separators=(",", ":")).replace("<", "\\u003c")


def plain_figure(title: str, x_label: str, y_label: str, height: int = 280, **options: Any) -> figure:
    """A figure as wide as its place, without tools but the values at the pointer."""
    from bokeh.plotting import figure

    one = figure(
        title=title,
        height=height,
        sizing_mode="stretch_width",
        toolbar_location=None,
        tools="",
        min_border_right=12,
        **options,
    )
    one.xaxis.axis_label, one.yaxis.axis_label = x_label, y_label
    return one


def deciles(forecast: np.ndarray, outcome: np.ndarray) -> figure | None:
    """Mean outcome per decile of the forecasts with its 95 % interval, in basis points.

    None if there are too few forecasts, or fewer than 10 different ones.
    """
    from bokeh.models import ColumnDataSource, HoverTool, Span

    table = pd.DataFrame({"forecast": forecast, "outcome": outcome}).dropna()
    if len(table) < _FEWEST_TO_SPLIT or table["forecast"].nunique() < 10:
        return None
    decile = pd.qcut(table["forecast"].rank(method="first"), 10, labels=False)
    mean, error = 1e4 * table.groupby(decile).mean(), 1e4 * table.groupby(decile)["outcome"].sem()
    low, high = mean["outcome"] - 1.96 * error, mean["outcome"] + 1.96 * error
    source = ColumnDataSource({"forecast": mean["forecast"], "outcome": mean["outcome"], "low": low, "high": high})
    one = plain_figure("forecast against outcome", "mean forecast of a tenth of the bars, bp", "mean outcome, bp")
    ends = [mean["forecast"].min(), mean["forecast"].max()]
    one.line(ends, ends, color=HOLDING_COLOUR, line_width=1.5, legend_label="outcome = forecast")
    one.add_layout(Span(location=0, dimension="width", line_color=MUTED))
    one.segment("forecast", "low", "forecast", "high", source=source, color=_BLUE, line_width=1.5)
    points = one.scatter("forecast", "outcome", source=source, color=_BLUE, size=8)
    values = [("forecast", "@forecast{0.0} bp"), ("outcome", "@outcome{0.0} bp, @low{0.0} to @high{0.0}")]
    one.add_tools(HoverTool(renderers=[points], tooltips=values))
    plain_legend(one)
    return one


def pit_histogram(shares: Sequence[float] | np.ndarray, n_bars: int) -> figure:
    """Shares of the probability integral transforms in equal bins, with the band of 95 % of calibrated densities."""
    from bokeh.models import BoxAnnotation, ColumnDataSource, HoverTool, Span

    n_bins = len(shares)
    expected, error = 1 / n_bins, float(np.sqrt((1 - 1 / n_bins) / n_bins / n_bars))
    edges = np.linspace(0, 1, n_bins + 1)
    source = ColumnDataSource({"left": edges[:-1], "right": edges[1:], "share": 100 * np.asarray(shares)})
    highest = 100 * max(*shares, expected + 3 * error)
    one = plain_figure(
        "calibration: outcomes by their predicted probability",
        "predicted probability of a lower outcome (PIT)",
        "% of the bars",
        y_range=(0, 1.1 * highest),
    )
    band = {"bottom": 100 * (expected - 1.96 * error), "top": 100 * (expected + 1.96 * error)}
    one.add_layout(BoxAnnotation(**band, fill_color=HOLDING_COLOUR, fill_alpha=0.25, line_color=None))
    one.add_layout(Span(location=100 * expected, dimension="width", line_color=HOLDING_COLOUR, line_width=1.5))
    look = {"fill_color": _BLUE, "fill_alpha": 0.6, "line_color": _BLUE}
    bars = one.quad(left="left", right="right", bottom=0, top="share", source=source, **look)
    values = [("PIT", "@left{0.0} to @right{0.0}"), ("share", "@share{0.0} %")]
    one.add_tools(HoverTool(renderers=[bars], tooltips=values))
    return one


def losses(title: str, members: Sequence[dict[str, Any]]) -> figure:
    """Training and validation loss per epoch of each member, relative to the forecast 0, and the best epoch."""
    one = plain_figure(title, "epoch", "relative loss", height=220)
    for member in members:
        for part, colour in (("train", HOLDING_COLOUR), ("validation", _BLUE)):
            values = member[f"{part}_losses"]
            one.line(list(range(1, len(values) + 1)), values, color=colour, line_width=1.2, legend_label=part)
        best = member["best_epoch"]
        one.scatter([best], [member["validation_losses"][best - 1]], color=_BLUE, size=6)
    plain_legend(one)
    return one


def risk_scatter(risks: Sequence[Risk]) -> figure:
    """Sharpe ratio against drawdown: large points are runs, small ones their members."""
    from bokeh.models import ColumnDataSource, HoverTool

    one = plain_figure("Sharpe ratio against drawdown", "max drawdown, %", "Sharpe ratio")
    runs = list(dict.fromkeys(risk.of for risk in risks))
    for number, run in enumerate(runs):
        colour = RUN_COLOURS[number % len(RUN_COLOURS)]
        points = [risk for risk in risks if risk.of == run]
        source = ColumnDataSource(
            {
                "label": [risk.label for risk in points],
                "drawdown": [100 * risk.max_drawdown for risk in points],
                "sharpe": [risk.sharpe for risk in points],
                "size": [13 if risk.label == run else 6 for risk in points],
            }
        )
        look = {"color": MUTED if colour == INK else colour, "alpha": 0.8, "legend_label": run}
        drawn = one.scatter("drawdown", "sharpe", size="size", source=source, **look)
        values = [("", "@label"), ("Sharpe", "@sharpe{0.00}"), ("max drawdown", "@drawdown{0.0} %")]
        one.add_tools(HoverTool(renderers=[drawn], tooltips=values))
    plain_legend(one)
    return one


def plain_legend(one: figure) -> None:
    """Give the legend the colours of the page."""
    for legend in one.legend:
        legend.update(background_fill_alpha=0, border_line_alpha=0, label_text_font_size="11px", spacing=0, padding=4)
        legend.label_text_color, legend.location = MUTED, "top_left"
