"""Optuna's plots of a study, in the style of the other plots."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import matplotlib.pyplot as plt
import optuna
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.patheffects import withStroke
from matplotlib.text import Text
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator, StrMethodFormatter
from optuna.exceptions import ExperimentalWarning
from optuna.trial import FrozenTrial, TrialState
from optuna.visualization.matplotlib import (
    plot_optimization_history,
    plot_parallel_coordinate,
    plot_param_importances,
)

from runners.report.drawing import svg
from runners.report.style import INK, use_plain_style
from training.search.settings import RANGES
from training.settings import NetworkSettings

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from training.search.result import StudyResult

_TRIAL, _BEST, _WORST = "#0072B2", "#D55E00", "#9999994D"
_BAR = "#56B4E9"
# Almost white; in a page it becomes the background colour.
_PAPER = "#fdfeff"
_FEWEST = 2  # complete trials that Optuna needs for its plots
FEWEST_TO_RANK = 10  # complete trials; with fewer, importances are chance


def history_svg(result: StudyResult) -> str | None:
    """Each trial's value and the best value so far; None if there are too few trials."""
    with _drawing(result) as study:
        if study is None:
            return None
        axes = plot_optimization_history(study, target_name=result.search.objective)
        axes.collections[0].set_color(_TRIAL)
        axes.lines[0].set(color=INK, alpha=1, linewidth=1.2)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_xlabel("trial")
        axes.legend(["trial", "best so far"], loc="lower right", bbox_to_anchor=(1, 1), ncols=2, frameon=False)
        return _finished(axes, 10, 3)


def importances_svg(result: StudyResult) -> str | None:
    """Importance of each parameter; None if there are too few trials, or they hardly differ."""
    with _drawing(result, FEWEST_TO_RANK) as study:
        if study is None:
            return None
        warnings.filterwarnings("error", ".*Parameter importances will be equal")
        try:
            axes = plot_param_importances(study)
        except UserWarning:
            return None
        for bar in axes.patches:
            bar.set_color(_BAR)
        axes.legend([], frameon=False)  # Optuna's legend has one entry
        axes.grid(visible=False, axis="y")
        axes.set_xlabel("importance")
        axes.set_ylabel("")
        return _finished(axes, 8, 0.24 * len(axes.get_yticks()) + 0.8)


def parallel_svg(result: StudyResult) -> str | None:
    """Each trial as a line through its parameters, better ones in stronger colour; None if there are too few."""
    with _drawing(result) as study:
        varying = [name for name in RANGES if len({trial.params[name] for trial in complete_trials(result)}) > 1]
        if study is None or not varying:
            return None
        axes = plot_parallel_coordinate(study, params=varying, target_name=result.search.objective)
        lines = axes.collections[0]
        axes.figure.axes[1].remove()  # the colour bar repeats the first axis
        to_best = [_BEST, _WORST] if result.search.direction == "minimize" else [_WORST, _BEST]
        lines.set(cmap=LinearSegmentedColormap.from_list("to the best", to_best), linewidth=1.3)
        names = [label.get_text() for label in axes.get_xticklabels()]
        axes.set_xticks(axes.get_xticks(), names, rotation=0)
        for scale, name in zip(axes.figure.axes, names, strict=True):
            scale.grid(visible=False)
            scale.spines[["left", "right"]].set_visible(True)
            if scale.get_yscale() == "log":
                scale.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
                scale.yaxis.set_minor_locator(NullLocator())
                scale.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
            elif name in RANGES and NetworkSettings.model_fields[name].annotation is int:
                scale.yaxis.set_major_locator(MaxNLocator(integer=True))
            for label in scale.get_yticklabels():
                label.set_path_effects([withStroke(linewidth=3, foreground=_PAPER)])  # over the lines
        return _finished(axes, 10, 4)


@contextmanager
def _drawing(result: StudyResult, fewest: int = _FEWEST) -> Iterator[optuna.Study | None]:
    """The study in memory, None if it has fewer complete trials; restores matplotlib's settings afterwards."""
    use_plain_style()
    with plt.rc_context(), warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        study = optuna.create_study(direction=result.search.direction)
        study.add_trials(result.trials)
        yield study if len(complete_trials(result)) >= fewest else None


def complete_trials(result: StudyResult) -> list[FrozenTrial]:
    return [trial for trial in result.trials if trial.state == TrialState.COMPLETE]


def _finished(axes: Axes, width: float, height: float) -> str:
    figure = axes.get_figure(root=True)
    assert figure is not None
    figure.set_size_inches(width, height)
    for one in figure.axes:
        one.set_facecolor("none")
        one.set_title("")
        one.set_title("", loc="left")
        one.tick_params(colors=INK)
        for spine in one.spines.values():
            spine.set_color(INK)
    for text in figure.findobj(Text):
        text.set(color=INK, fontsize=9)
    plt.close(figure)  # pyplot, which Optuna draws with, would keep it
    return svg(figure).replace(_PAPER, "var(--paper)")
