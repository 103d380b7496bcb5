"""What a search has found, as rows and sentences for the terminal and its page."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from runners.formatting import number
from training.search.settings import RANGES, SearchSettings
from training.settings import NetworkSettings

if TYPE_CHECKING:
    from training.search.result import StudyResult

RESULT_COLUMNS = ["", "trials", "pruned", "begun with", "best", "its Sharpe"]
_DIGITS = 4


def objective_text(search: SearchSettings) -> str:
    """What the values of trials are."""
    if search.objective == "loss":
        return "validation loss over the zero forecast's, below 1 is better"
    return "validation Sharpe ratio per bar, after costs"


def result_rows(results: Sequence[StudyResult]) -> list[list[str]]:
    """Rows of `RESULT_COLUMNS`, one a study."""
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
    """A network's settings in a line."""
    values = settings.model_dump(exclude={"features"})
    shown = [f"{name} {value:.3g}" if isinstance(value, float) else f"{name} {value}" for name, value in values.items()]
    return f"{', '.join(shown)}; {', '.join(settings.features)}"


def caution(results: Sequence[StudyResult]) -> str:
    """What the values of the best trials can tell, and what not."""
    most = max((len(result.trials) for result in results), default=0)
    if not most:
        return "No trial is finished yet."
    trials = "1 trial" if most == 1 else f"{most} trials"
    return (
        f"The best of {trials} on the same validation bars looks better there than it is: part of its lead is luck. It "
        "says which settings to train, not what they earn; for that, backtest on the test part, which no trial has "
        "seen."
    )


TRIED_COLUMNS = ["value", "Sharpe", *(name.replace("_", " ") for name in RANGES), "features"]
_SHOWN = 10


def tried_rows(result: StudyResult) -> list[list[str]]:
    """Rows of `TRIED_COLUMNS`: the best trials, best first."""
    return [
        [
            number(one.value, _DIGITS),
            number(one.sharpe, _DIGITS),
            *(f"{getattr(one.settings, name):.3g}" for name in RANGES),
            ", ".join(one.settings.features),
        ]
        for one in result.ranked[:_SHOWN]
    ]
