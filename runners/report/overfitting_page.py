"""The page of an overfitting analysis, its tables and sentences."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from data.candles import time_text
from runners.formatting import number, percent, points
from runners.report.drawing import subplots, svg
from runners.report.rendering import render
from runners.report.style import HOLDING_COLOUR, INK, STRATEGY_COLOUR, use_log_scale
from runners.report.sweep_page import other_rules

if TYPE_CHECKING:
    from runners.backtesting.overfitting import OverfittingAnalysis

CHOSEN_COLUMNS = ["long, bp", "short, bp", "neutral", "exposure", "min order", "other rules", "chosen by", "Sharpe"]
_SHOWN = 8


def overfitting_html(analysis: OverfittingAnalysis) -> str:
    return render(
        "overfitting.html",
        dataset=analysis.run.dataset,
        run=analysis.run.id,
        mark=analysis.run.mark,
        first=time_text(analysis.growth.index[0]),
        last=f"{time_text(analysis.growth.index[-1])} UTC",
        verdicts=verdicts(analysis),
        figure_rows=figures(analysis),
        halves=_halves_svg(analysis),
        paths=_paths_svg(analysis),
        chosen_columns=CHOSEN_COLUMNS,
        chosen=chosen(analysis),
    )


def verdicts(analysis: OverfittingAnalysis) -> list[str]:
    """What the probability of overfitting and the paths mean, in words."""
    probability = analysis.overfitting.probability
    rank = "more often than not among the better half" if probability < 0.5 else "no better than the median"
    paths, sharpe = analysis.path_sharpe, analysis.table["sharpe"]
    return [
        f"With settings chosen on some bars and traded on others, {len(paths)} paths have Sharpe ratios from "
        f"{paths.min():.2f} to {paths.max():.2f}, with a median of {np.median(paths):.2f}. The best setting in "
        f"hindsight has {sharpe.max():.2f}, the run's own setting {sharpe.iloc[analysis.own]:.2f}.",
        f"The best of {len(analysis.table):,} settings in one half of the bars is {rank} in the other: the probability "
        f"of backtest overfitting is {percent(probability)}. It compares settings with each other and says nothing "
        "about profit. Settings without skill have about 50 %, and a single figure can be far from it.",
    ]


def figures(analysis: OverfittingAnalysis) -> list[list[str]]:
    overfitting, paths = analysis.overfitting, analysis.path_sharpe
    return [
        ["probability of overfitting", percent(overfitting.probability)],
        ["... of a loss out of sample", percent(overfitting.probability_of_loss)],
        ["slope, out-of-sample on in-sample", number(overfitting.slope)],
        ["paths: median Sharpe", number(float(np.median(paths)))],
        ["paths: lowest and highest", f"{paths.min():.2f} to {paths.max():.2f}"],
        ["paths with a loss", percent(float(np.mean(paths < 0)))],
    ]


def chosen(analysis: OverfittingAnalysis) -> list[list[str]]:
    """Rows of `CHOSEN_COLUMNS`: the settings that the splits of the cross-validation chose most often."""
    splits = len(analysis.crossed.chosen)
    rows = []
    for at, times in analysis.most_chosen(_SHOWN):
        setting = analysis.table.iloc[at]
        thresholds = points(setting["long_threshold"]), points(setting["short_threshold"])
        sizes, chosen_by = [f"{setting[name]:g}" for name in ("exposure", "min_order")], f"{times} of {splits}"
        rows.append(
            [
                *thresholds,
                setting["neutral"],
                *sizes,
                other_rules(setting.to_dict()),
                chosen_by,
                number(setting["sharpe"]),
            ]
        )
    return rows


def _halves_svg(analysis: OverfittingAnalysis) -> str:
    """Out-of-sample ranks of the best setting in-sample, and its Sharpe ratios in both halves."""
    overfitting = analysis.overfitting
    figure, (ranks, ratios) = subplots(1, 2, figsize=(10, 3.8))
    edges = np.linspace(*_around_zero(overfitting.logits), 41)
    for part, colour, label in (
        (overfitting.logits <= 0, HOLDING_COLOUR, "at or below the median"),
        (overfitting.logits > 0, "#0072B2", "above the median"),
    ):
        ranks.hist(overfitting.logits[part], bins=edges.tolist(), color=colour, label=label)
    ranks.set_axisbelow(True)
    ranks.set_xlabel("logit of the rank of the best setting in the other half")
    ranks.set_ylabel("combinations")
    ranks.set_ylim(top=1.2 * ranks.get_ylim()[1])  # room for the legend
    ranks.legend(frameon=False, fontsize=8, loc="upper left")

    inside, outside = overfitting.in_sample * analysis.annual, overfitting.out_of_sample * analysis.annual
    cells = ratios.hexbin(inside, outside, gridsize=30, mincnt=1, cmap="cividis", linewidths=0)
    figure.colorbar(cells, ax=ratios, label="combinations")
    if overfitting.slope is not None:
        ends = np.array([inside.min(), inside.max()])
        line = outside.mean() + overfitting.slope * (ends - inside.mean())
        ratios.plot(ends, line, color=HOLDING_COLOUR, linewidth=2, label="regression")
        ratios.legend(frameon=False, fontsize=8)
    ratios.axhline(0, color=INK, linewidth=0.6)
    ratios.set_xlabel("Sharpe ratio of the best setting, in-sample half")
    ratios.set_ylabel("Sharpe ratio, other half")
    return svg(figure)


def _around_zero(values: np.ndarray) -> tuple[float, float]:
    """Limits of a histogram that has an edge at 0."""
    widest = max(1.0, float(np.abs(values).max()))
    return -widest, widest


def _paths_svg(analysis: OverfittingAnalysis) -> str:
    """Growth of each path, and of the run itself."""
    figure, axes = subplots(figsize=(10, 3.8))
    time = pd.DatetimeIndex(analysis.growth.index).tz_convert(None)
    axes.plot(time, analysis.growth.to_numpy(), color="#0072B2", linewidth=0.8, alpha=0.7)
    axes.lines[0].set_label("paths, settings chosen on other bars")
    own = analysis.run.equity()["equity"] / analysis.run.cash
    axes.plot(time, own.to_numpy(), color=STRATEGY_COLOUR, linewidth=1.2, label="the run's own setting")
    use_log_scale(axes, "{x:g}")
    axes.set_ylabel("equity (1 at the start, log scale)")
    axes.set_xlabel("time (UTC)")
    axes.legend(loc="upper left", frameon=False)
    return svg(figure)
