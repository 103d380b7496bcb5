"""The page of a sweep, its tables and sentences."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from data.candles import time_text
from runners.backtesting.grid_figures import COSTS, best_settings
from runners.backtesting.marks import REGIME_COLUMN, regime_mark
from runners.formatting import number, percent, percent_earned, points, probability_above_zero
from runners.report.backtest_tables import NEEDED
from runners.report.drawing import subplots, svg
from runners.report.heat_maps import heat_maps
from runners.report.rendering import render
from strategies.rule_settings import RuleSettings

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from runners.backtesting.sweep import Sweep

_RESULT_COLUMNS = ["Sharpe", "drawdown", "return", "trades"]
_SHOWN = ("long_threshold", "short_threshold", "neutral", "exposure", "min_order")  # each in a column of its own
_OTHERS = [name for name in RuleSettings.model_fields if name not in _SHOWN]
SETTING_COLUMNS = ["long, bp", "short, bp", "neutral", "exposure", "min order", "other rules", *_RESULT_COLUMNS]
COST_COLUMNS = ["commission", "slippage", "borrowing", "funding", *_RESULT_COLUMNS]


def sweep_html(result: Sweep) -> str:
    first, last = result.table["first_bar"].iloc[0], result.table["last_bar"].iloc[0]
    return render(
        "sweep.html",
        dataset=result.run.dataset,
        run=result.run.id,
        first=time_text(first),
        last=f"{time_text(last)} UTC",
        mark=result.run.mark,
        verdict=verdict(result),
        charts=True,
        maps=heat_maps(result.table, result.own, result.best),
        static=_maps_svg(result),
        setting_columns=SETTING_COLUMNS,
        own=setting_rows(result.table.loc[[result.own]]),
        best=setting_rows(best_settings(result.table)),
        cost_columns=COST_COLUMNS,
        costs=cost_rows(result),
    )


def setting_rows(settings: pd.DataFrame) -> list[list[str]]:
    """Rows of `SETTING_COLUMNS`; thresholds in basis points of log return."""
    return [
        [
            points(row["long_threshold"]),
            points(row["short_threshold"]),
            row["neutral"],
            f"{row['exposure']:g}",
            f"{row['min_order']:g}",
            other_rules(row),
            *_figures(row),
        ]
        for row in settings.to_dict("records")
    ]


def other_rules(row: Mapping[Hashable, Any]) -> str:
    """The settings beyond the columns' that are not the defaults."""
    fields = RuleSettings.model_fields
    changed = [name for name in _OTHERS if row[name] != fields[name].default]
    return ", ".join(f"{name} {row[name]}" for name in changed) or "-"


def cost_rows(result: Sweep) -> list[list[str]]:
    """Rows of `COST_COLUMNS`: the best setting at each cost of the grid; empty if there is only the run's own."""
    table = result.table
    names = list(RuleSettings.model_fields)
    same = table[(table[names] == table.loc[result.best, names]).all(axis=1)]
    if len(same) == 1:
        return []
    return [[*(f"{100 * row[name]:g} %" for name in COSTS), *_figures(row)] for row in same.to_dict("records")]


def _figures(row: Mapping[Hashable, Any]) -> list[str]:
    drawdown, earned = percent(row["max_drawdown"]), percent_earned(row["total_return"])
    return [number(row["sharpe"]), drawdown, earned, f"{row['trades']:,}"]


def verdict(result: Sweep) -> str:
    """What the best setting is worth."""
    own, best = result.table.loc[result.own], result.table.loc[result.best]
    deflated = result.trials.deflated_sharpe(result.confirmed.metrics)
    seen = "bars that training has seen, which proves nothing" if result.run.in_sample else "unseen bars"
    if regime_mark(result.run.settings):
        seen += f", with {REGIME_COLUMN}, which nobody can check"
    count = int(result.table["at_own_costs"].sum())
    return (
        f"Of {count:,} settings on {seen}, the best in hindsight has a Sharpe ratio of {best.sharpe:.2f}, the run's "
        f"own {own.sharpe:.2f}. {result.trials.sentence()} Given that it is the best of them, the best setting's true "
        f"Sharpe ratio is above 0 with probability {probability_above_zero(deflated)} ({NEEDED} to be significant). "
        f"Backtrader, trading the best setting, {_agreement(result.disagreement)}."
    )


def best_as_flags(result: Sweep) -> str:
    """The command that trades the best setting."""
    best, own = result.table.iloc[result.best], result.run.settings
    names = [*_SHOWN, *(name for name in _OTHERS if best[name] != getattr(own, name))]
    flags = " ".join(f"--{name.replace('_', '-')}={best[name]}" for name in names)
    return f"regimes backtest --forecasts {result.run.id} {flags}"


def _agreement(disagreement: float) -> str:
    if disagreement == 0:
        return "gives the same equity at every bar, to the last bit"
    return f"gives an equity that differs by at most {disagreement:.1e} of its value"


def _maps_svg(result: Sweep) -> str | None:
    """Sharpe ratio and drawdown over the two thresholds, per neutral rule; None if there is no grid of thresholds."""
    table = result.table
    best = table.loc[result.best, ["exposure", "min_order", *_OTHERS]]
    mapped = table["at_own_costs"] & (table[list(best.index)] == best).all(axis=1)
    rules = sorted(table.loc[mapped, "neutral"].unique(), reverse=True)
    maps = {rule: table[mapped & (table["neutral"] == rule)] for rule in rules}
    if any(one["long_threshold"].nunique() < 2 or one["short_threshold"].nunique() < 2 for one in maps.values()):
        return None
    figure, grid = subplots(len(maps), 2, figsize=(10, 4.2 * len(maps)), squeeze=False)
    largest = float(table.loc[mapped, "sharpe"].abs().max()) or 1.0
    worst = 100 * float(table.loc[mapped, "max_drawdown"].min()) or -1.0
    marks = {result.own: ("o", "run's own setting"), result.best: ("*", "best Sharpe")}
    for (rule, one), (sharpe_axes, drawdown_axes) in zip(maps.items(), grid, strict=True):
        _draw(sharpe_axes, one, one["sharpe"], f"Sharpe ratio, neutral: {rule}", "RdBu", (-largest, largest), marks)
        title = f"max drawdown (%), neutral: {rule}"
        _draw(drawdown_axes, one, 100 * one["max_drawdown"], title, "cividis", (worst, 0.0), marks)
    return svg(figure)


def _draw(
    axes: Axes,
    settings: pd.DataFrame,
    values: pd.Series,
    title: str,
    colours: str,
    limits: tuple[float, float],
    marks: dict[int, tuple[str, str]],
) -> None:
    cells = pd.DataFrame({"long": settings["long_threshold"], "short": settings["short_threshold"], "value": values})
    square = cells.pivot(index="long", columns="short", values="value")
    long_side, short_side = square.index.to_numpy(dtype=float), square.columns.to_numpy(dtype=float)
    picture = axes.imshow(
        square.to_numpy(), origin="lower", aspect="auto", cmap=colours, vmin=limits[0], vmax=limits[1],
        interpolation="none",
    )  # fmt: skip
    for setting, (marker, label) in marks.items():
        if setting in settings.index:
            column = np.searchsorted(short_side, settings["short_threshold"].loc[[setting]].to_numpy())
            row = np.searchsorted(long_side, settings["long_threshold"].loc[[setting]].to_numpy())
            axes.scatter(column, row, marker=marker, s=90, color="white", edgecolors="black", label=label)
    for axis, side in ((axes.xaxis, short_side), (axes.yaxis, long_side)):
        at = np.linspace(0, len(side) - 1, min(5, len(side)), dtype=int)
        axis.set_ticks(at.tolist(), [f"{1e4 * abs(threshold):.1f}" for threshold in side[at]])
    axes.grid(visible=False)
    axes.set_xlabel("short threshold, times -1 (bp of log return)")
    axes.set_ylabel("long threshold (bp)")
    axes.set_title(title, fontsize=9)
    axes.figure.colorbar(picture, ax=axes)
    if axes.get_legend_handles_labels()[1]:
        axes.legend(loc="upper left", fontsize=7, labelcolor="black", facecolor="white", framealpha=0.7)
