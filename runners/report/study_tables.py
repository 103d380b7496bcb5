"""Tables and sentences about a search, for the terminal and the page."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from runners.formatting import number
from training.search.settings import RANGES, SearchSettings
from training.settings import NetworkSettings

if TYPE_CHECKING:
    from training.search.result import StudyResult

RESULT_COLUMNS = ["", "trials", "pruned", "initial", "best", "Sharpe"]
_DIGITS = 4


def objective_text(search: SearchSettings) -> str:
    """What the value of a trial is."""
    if search.objective == "loss":
        return "validation loss over the zero forecast's, below 1 is better"
    return "validation Sharpe ratio per bar, after costs"


def result_rows(results: Sequence[StudyResult]) -> list[list[str]]:
    """Rows of `RESULT_COLUMNS`, one per study."""
    return [
        [
            result.name,
            f"{len(result.trials):,}",
            f"{result.pruned:,}",
            number(result.start.value if result.start else None, _DIGITS),
            number(result.best.value if result.best else None, _DIGITS),
            number(result.best.sharpe if result.best else None, _DIGITS),
        ]
        for result in results
    ]


def settings_text(settings: NetworkSettings) -> str:
    """A network's settings in one line."""
    values = settings.model_dump(exclude={"features"})
    texts = [f"{name} {value:.3g}" if isinstance(value, float) else f"{name} {value}" for name, value in values.items()]
    return f"{', '.join(texts)}; {', '.join(settings.features)}"


def caution(results: Sequence[StudyResult]) -> str:
    """What the values of the best trials mean, and what they do not."""
    most = max((len(result.trials) for result in results), default=0)
    if not most:
        return "No trial is finished yet."
    trials = "1 trial" if most == 1 else f"{most} trials"
    return (
        f"The best of {trials} on the same validation bars looks better there than it is: part of its lead is luck. "
        "Use it to choose settings. To see what they earn, backtest them on the test part, which no trial has seen."
    )


TRIAL_COLUMNS = ["value", "Sharpe", *(name.replace("_", " ") for name in RANGES), "features"]
_SHOWN = 10


def trial_rows(result: StudyResult) -> list[list[str]]:
    """Rows of `TRIAL_COLUMNS`: the best trials, best first."""
    return [
        [
            number(one.value, _DIGITS),
            number(one.sharpe, _DIGITS),
            *(f"{getattr(one.settings, name):.3g}" for name in RANGES),
            ", ".join(one.settings.features),
        ]
        for one in result.ranked[:_SHOWN]
    ]
