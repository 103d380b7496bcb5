"""Builds figures of linked panes with Bokeh; ``chart.js`` draws their visible bars and answers pointer and keys."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd

from runners.report.chart_parts import Aggregate, Kind, LineStyle, Pane, Reading, Series
from runners.report.plain_charts import content_json
from runners.report.style import MUTED, PAGE_INK, regime_colour

if TYPE_CHECKING:
    from bokeh.models import ColumnDataSource, GlyphRenderer
    from bokeh.plotting import figure

MOST_BUCKETS = 500  # in which the visible bars are drawn: candles, and points of a line
MOST_TRADES = 300  # drawn at a time, those with the largest profit or loss
MOST_BARS = 100_000  # in a page; of a longer series, each of them stands for several bars
UP, DOWN = "#009E73", "#D55E00"
WON, LOST, MARKED = "#0072B2", "#B8457F", "#E69F00"  # trades
_LEGEND = 26  # pixels of the legend above a pane
_DASHES = ("solid", "dashed", "dotted")


class LinkedChart:
    """Panes over one time axis, with one crosshair.

    The page gets the columns of all bars, and draws those in sight in at most `MOST_BUCKETS` buckets.

    Parameters
    ----------
    index
        Open times of the bars, in UTC.
    interval
        Time between two bars.
    names
        By the number in a column of the kind ``name``, such as a regime.
    """

    def __init__(self, index: pd.DatetimeIndex, interval: pd.Timedelta, names: Mapping[int, str] | None = None) -> None:
        from bokeh.models import ColumnDataSource, CrosshairTool, PanTool, Range1d, Span, WheelZoomTool

        self._step = -(-len(index) // MOST_BARS)  # bars that one of the page stands for
        self._starts = np.arange(0, len(index), self._step)
        self._interval = interval / pd.Timedelta(milliseconds=1) * self._step
        self._names = dict(names or {})
        self._panes: list[Pane] = []
        self._readings: list[Reading] = []
        self._aggregates: dict[str, dict[str, Any]] = {}
        time = _milliseconds(index.tz_convert(None).to_numpy())[self._starts]
        margin = 0.01 * (time[-1] - time[0])
        bounds = (time[0] - margin, time[-1] + self._interval + margin)
        self._bars = ColumnDataSource({"time": time}, name="bars")
        self._drawn = ColumnDataSource({"x": [], "width": [], "colour": []}, name="drawn")
        self._regimes = ColumnDataSource({"left": [], "right": [], "colour": []}, name="regimes")
        self._trades: ColumnDataSource | None = None
        self._range = Range1d(*bounds, bounds=bounds, min_interval=8 * self._interval, name="time")
        cross = Span(dimension="height", line_color=MUTED, line_dash="dashed")
        self._wheel = WheelZoomTool(dimensions="width")
        self._tools = [PanTool(dimensions="width"), self._wheel, CrosshairTool(overlay=cross)]
        self._figures: list[figure] = []

    def pane(
        self,
        title: str,
        height: int,
        tick_format: str,
        *,
        log: bool = False,
        levels: Sequence[float] = (),
        times: bool = False,
    ) -> Pane:
        """Add a pane: with ``log`` also a logarithmic one, with ``times`` the labels of the time axis."""
        from bokeh.models import NumeralTickFormatter
        from bokeh.plotting import figure

        kinds: list[Literal["linear", "log"]] = ["linear", "log"] if log else ["linear"]
        names = tuple(f"pane {len(self._panes)} {kind}" for kind in kinds)
        for name, kind in zip(names, kinds, strict=True):
            one = figure(
                name=name,
                height=height + (26 if times else 0),
                sizing_mode="stretch_width",
                x_range=self._range,
                y_range=(0.5, 1.0),
                x_axis_type="datetime",
                y_axis_type=kind,
                toolbar_location=None,
                tools=self._tools,
                min_border_left=62,
                min_border_right=8,
                min_border_top=4,
                min_border_bottom=4,
                lod_threshold=None,
            )
            one.visible = kind == "linear"
            one.toolbar.active_scroll = self._wheel
            one.xaxis.visible = times
            one.yaxis.formatter = NumeralTickFormatter(format=tick_format)
            one.yaxis.ticker.desired_num_ticks = 3 if height < 150 else 6
            one.yaxis.minor_tick_line_color = None
            self._figures.append(one)
        self._panes.append(Pane(title, names, tuple(map(float, levels))))
        return self._panes[-1]

    def column(self, name: str, values: np.ndarray | pd.Series, how: Aggregate = "last") -> str:
        """Add a value of each bar; ``how`` says which value a bucket of bars shows."""
        self._bars.data[name] = self._thinned(np.asarray(values, dtype=float), how).astype(np.float32)
        return self.drawn(name, [name], how)

    def drawn(self, name: str, columns: Sequence[str], how: Aggregate) -> str:
        """Draw the sum of columns."""
        self._aggregates[name] = {"columns": list(columns), "how": how}
        self._drawn.data[name] = []
        return name

    def read(self, label: str, column: str, kind: Kind) -> None:
        """Show a column at the pointer."""
        self._readings.append(Reading(label, column, kind))

    def line(self, pane: Pane, label: str, column: str, style: LineStyle | None = None) -> None:
        style = style or LineStyle()
        look = {"line_color": style.colour, "line_width": style.width, "line_dash": _DASHES[style.dash % 3]}
        self._add(pane, label, style.colour, (column,), style.shown, [("line", {"x": "x", "y": column, **look})])

    def area(self, pane: Pane, label: str, low: str, high: str, *, colour: str, alpha: float = 0.25) -> None:
        shape = {"x": "x", "y1": low, "y2": high, "fill_color": colour, "fill_alpha": alpha}
        self._add(pane, label, colour, (low, high), True, [("varea", shape)])

    def candles(self, pane: Pane, candles: pd.DataFrame) -> None:
        """Candles of ``(n_bars, >= 4)``, and their readings."""
        rules: dict[str, Aggregate] = {"open": "first", "high": "max", "low": "min", "close": "last"}
        for name, how in rules.items():
            self.read(name, self.column(name, candles[name], how), "price")
        wick = {"x0": "x", "x1": "x", "y0": "low", "y1": "high", "line_color": "colour"}
        body = {
            "x": "x",
            "width": "width",
            "bottom": "open",
            "top": "close",
            "fill_color": "colour",
            "line_color": "colour",
        }
        self._add(pane, "", "", ("low", "high"), True, [("segment", wick), ("vbar", body)])

    def regimes(self, pane: Pane, regime: np.ndarray | pd.Series) -> None:
        """Shade the regimes behind a pane."""
        self.read("regime", self.column("regime", regime), "name")
        for one in self._figures_of(pane):
            one.vstrip(
                x0="left", x1="right", source=self._regimes, fill_color="colour", fill_alpha=0.16, line_color=None
            )

    def probabilities(self, pane: Pane, probabilities: Mapping[int, np.ndarray | pd.Series]) -> None:
        """Stack the regimes' probabilities in a pane."""
        below = self.column("p_none", np.zeros(len(next(iter(probabilities.values())))), "mean")
        names: list[str] = []
        for regime, values in probabilities.items():
            names.append(self.column(f"p_{regime}", values, "mean"))
            label = self._names.get(regime, str(regime))
            self.read(f"p {label}", names[-1], "percent")
            above = self.drawn(f"p_{regime}_top", names, "mean")
            self.area(pane, label, below, above, colour=regime_colour(regime), alpha=0.7)
            below = above

    def trades(self, pane: Pane, trades: pd.DataFrame) -> None:
        """Join each trade from entry to exit; columns as in `runners.report.trades.trade_table`."""
        from bokeh.models import ColumnDataSource

        times = {name: _milliseconds(trades[name].to_numpy()) for name in ("opened", "closed")}
        values = {name: trades[name].to_numpy(dtype=np.float32) for name in ("entry_price", "exit_price", "net_pnl")}
        is_long = (trades["direction"] == "long").to_numpy(dtype=np.uint8)
        self._trades = ColumnDataSource({**times, **values, "long": is_long}, name="trades")
        names = ("x0", "x1", "y0", "y1", "colour", "marker")
        source = ColumnDataSource({name: [] for name in names}, name="drawn trades")
        for one in self._figures_of(pane):
            one.segment(source=source, x0="x0", x1="x1", y0="y0", y1="y1", line_color="colour", line_width=2)
            look = {"fill_color": "colour", "line_color": "white", "line_width": 0.8}
            one.scatter(source=source, x="x0", y="y0", marker="marker", size=9, **look)
            one.scatter(source=source, x="x1", y="y1", marker="circle", size=5, **look)

    def level(self, pane: Pane, value: float, colour: str = MUTED) -> None:
        """A horizontal line."""
        from bokeh.models import Span

        for one in self._figures_of(pane):
            one.add_layout(Span(location=value, dimension="width", line_color=colour, line_dash="dashed"))

    def spans(self, pane: Pane, times: Sequence[pd.Timestamp]) -> None:
        """Vertical lines, such as between two folds."""
        from bokeh.models import Span

        for one in self._figures_of(pane):
            for time in times:
                at = time.timestamp() * 1000
                one.add_layout(Span(location=at, dimension="height", line_color=MUTED, line_dash="dotted"))

    def to_html(self) -> dict[str, Any]:
        """What ``macros.html`` needs to show the chart."""
        spec = {
            "buckets": MOST_BUCKETS,
            "most_trades": MOST_TRADES,
            "interval": self._interval,
            "drawn": self._aggregates,
            "readings": [asdict(one) for one in self._readings],
            "names": self._names,
            "colours": {number: regime_colour(number) for number in self._names},
            "candle_colours": [UP, DOWN],
            "trade_colours": [WON, LOST, MARKED],
            "panes": [asdict(one) for one in self._panes],
        }
        # No glyph refers to the sources of all bars and trades.
        models = [one for one in (*self._figures, self._bars, self._trades) if one is not None]
        ids = {one.name: one.id for one in self._figures}
        return {
            "panes": [(one, [(name, ids[name]) for name in one.figures]) for one in self._panes],
            "content": content_json(models, spec),
            "step": self._step,
            "height": sum(one.height + _LEGEND for one in self._figures if one.visible),
            "log": any(len(one.figures) > 1 for one in self._panes),
        }

    def _figures_of(self, pane: Pane) -> list[figure]:
        return [one for one in self._figures if one.name in pane.figures]

    def _add(
        self,
        pane: Pane,
        label: str,
        colour: str,
        columns: tuple[str, ...],
        shown: bool,
        glyphs: list[tuple[str, dict[str, Any]]],
    ) -> None:
        """Draw glyphs of the drawn bars in each figure of a pane."""
        renderers: list[GlyphRenderer] = []
        for one in self._figures_of(pane):
            for kind, look in glyphs:
                look = {name: "black" if value == PAGE_INK else value for name, value in look.items()}
                renderers.append(getattr(one, kind)(source=self._drawn, visible=shown, **look))
        for number, renderer in enumerate(renderers):
            ink = " ink" if colour == PAGE_INK else ""
            renderer.name = f"{pane.figures[0]} {len(pane.series)}.{number}{ink}"
        names = tuple(renderer.name for renderer in renderers)
        pane.series.append(Series(label, colour, names, columns, shown))

    def _thinned(self, values: np.ndarray, how: Aggregate) -> np.ndarray:
        """One value for each bar of the page."""
        if self._step == 1:
            return values
        ends = np.append(self._starts[1:], len(values))
        if how in ("first", "last"):
            return values[self._starts if how == "first" else ends - 1]
        if how == "mean":
            known = np.add.reduceat(np.isfinite(values).astype(float), self._starts)
            with np.errstate(invalid="ignore"):
                return np.add.reduceat(np.nan_to_num(values), self._starts) / known
        return {"min": np.fmin, "max": np.fmax}[how].reduceat(values, self._starts)


def _milliseconds(times: np.ndarray) -> np.ndarray:
    """Times ``(n,)`` as Bokeh counts them: milliseconds since 1970."""
    return times.astype("datetime64[ms]").astype(float)
