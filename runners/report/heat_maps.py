"""Heat maps of a sweep with Bokeh; ``heat.js`` shows the settings that the sliders choose."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from runners.report.plain_charts import content_json, plain_figure
from runners.report.style import MUTED
from strategies.settings import AXES

if TYPE_CHECKING:
    from bokeh.models import ColumnDataSource
    from bokeh.plotting import figure

_THRESHOLDS = ("short_threshold", "long_threshold")
_FIGURES = {"sharpe": "Sharpe ratio", "max_drawdown": "max drawdown, %", "total_return": "total return, %"}
_MOST_TICKS = 6


def heat_maps(table: pd.DataFrame, own: int, best: int) -> dict[str, Any] | None:
    """What ``macros.html`` needs to show a sweep's Sharpe ratio and drawdown over two axes of its grid.

    The two are the thresholds, or those with the most values; a slider chooses the value of each other axis. None if
    fewer than two axes have several values.

    Parameters
    ----------
    table
        `runners.backtesting.grid_figures.GridFigures.table`.
    own, best
        Numbers of the settings to mark.
    """
    from bokeh.models import ColumnDataSource

    values = {name: sorted(table[name].unique()) for name in AXES if table[name].nunique() > 1}
    if len(values) < 2:
        return None
    most = sorted(values, key=lambda name: -len(values[name]))
    across, upwards = _THRESHOLDS if set(_THRESHOLDS) <= set(values) else most[:2]
    codes = {name: np.searchsorted(values[name], table[name]).astype(np.uint16) for name in values}
    shown = {
        "sharpe": table["sharpe"].to_numpy(np.float32),
        "max_drawdown": 100 * table["max_drawdown"].to_numpy(np.float32),
        "total_return": 100 * table["total_return"].to_numpy(np.float32),
        "trades": table["trades"].to_numpy(np.int32),
    }
    settings = ColumnDataSource({**codes, **shown}, name="settings")
    cells = ColumnDataSource({name: [] for name in ("x", "y", across, upwards, *shown)}, name="cells")
    marks = ColumnDataSource({"x": [], "y": [], "marker": [], "label": []}, name="marks")
    maps = [_map(name, (across, upwards), values, shown[name], cells, marks) for name in ("sharpe", "max_drawdown")]
    sliders = [name for name in values if name not in (across, upwards)]
    start = {name: int(codes[name][best]) for name in sliders}
    spec = {
        "axes": [across, upwards],
        "sliders": sliders,
        "values": {name: [_text(name, value) for value in each] for name, each in values.items()},
        "columns": list(shown),
        "marks": [[own, "circle", "run's own setting"], [best, "star", "best Sharpe"]],
    }
    return {
        "roots": [one.id for one in maps],
        "sliders": [(name, name.replace("_", " "), len(values[name]), start[name]) for name in sliders],
        "content": content_json([*maps, settings], spec),
    }


def _map(
    name: str,
    axes: tuple[str, str],
    values: dict[str, list[Any]],
    shown: np.ndarray,
    cells: ColumnDataSource,
    marks: ColumnDataSource,
) -> figure:
    """One map: `_FIGURES` ``name`` by the values of two axes."""
    from bokeh.models import ColorBar, HoverTool, LinearColorMapper
    from bokeh.palettes import Cividis256, RdBu11

    if name == "sharpe":
        largest = float(np.nanmax(np.abs(shown))) or 1.0
        colours = LinearColorMapper(palette=RdBu11[::-1], low=-largest, high=largest)
    else:
        colours = LinearColorMapper(palette=Cividis256, low=float(np.nanmin(shown)), high=0.0)
    x_range, y_range = ((-0.5, len(values[axis]) - 0.5) for axis in axes)
    one = plain_figure(_FIGURES[name], _label(axes[0]), _label(axes[1]), height=380, x_range=x_range, y_range=y_range)
    fill = {"field": name, "transform": colours}
    drawn = one.rect("x", "y", 1, 1, source=cells, fill_color=fill, line_color=None)
    one.scatter("x", "y", marker="marker", source=marks, size=14, fill_color="white", line_color="black")
    for axis, names in ((one.xaxis, axes[0]), (one.yaxis, axes[1])):
        at = np.linspace(0, len(values[names]) - 1, min(_MOST_TICKS, len(values[names])), dtype=int).tolist()
        axis.ticker = at
        axis.major_label_overrides = {place: _text(names, values[names][place]) for place in at}
    one.grid.visible = False
    scale = ColorBar(color_mapper=colours, width=10, background_fill_alpha=0, margin=0, major_label_text_color=MUTED)
    one.add_layout(scale, "right")
    tips = [(_label(axis), f"@{axis}") for axis in axes]
    tips += [(text, f"@{column}{{0.00}}") for column, text in _FIGURES.items()]
    one.add_tools(HoverTool(renderers=[drawn], tooltips=[*tips, ("trades", "@trades")]))
    return one


def _label(axis: str) -> str:
    return f"{axis.replace('_', ' ')}{', bp' if axis in _THRESHOLDS else ''}"


def _text(axis: str, value: Any) -> str:
    """A value of an axis; thresholds in basis points of log return."""
    if isinstance(value, str):
        return value
    return f"{1e4 * value + 0.0:.3g}" if axis in _THRESHOLDS else f"{value:g}"
