"""Places of marks on a strip: the Sharpe ratios of members, an ensemble and buy and hold on one axis."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    from runners.backtesting.metrics import Metrics
    from runners.backtesting.yardsticks import AccountFigures

Kind = Literal["zero", "member", "holding", "ensemble"]


class Value(NamedTuple):
    """A value to mark, and what it is."""

    kind: Kind
    text: str
    value: float


@dataclass(frozen=True)
class Mark:
    """A mark: its place in per cent of the width, its kind and what it stands for."""

    place: float
    kind: Kind
    text: str


ZERO = Value("zero", "0", 0.0)


def sharpe_values(members: Sequence[AccountFigures], ensemble: Metrics) -> list[Value]:
    """Of each member alone and of the ensemble; one that never traded earned 0 at no risk."""
    alone = [Value("member", f"member {place} alone", one.sharpe or 0.0) for place, one in enumerate(members, 1)]
    return [*alone, Value("ensemble", "ensemble", ensemble.sharpe or 0.0)]


def strips(groups: Sequence[Sequence[Value]]) -> list[list[Mark]]:
    """Marks of several strips on one axis, which includes 0."""
    values = [one.value for group in groups for one in [ZERO, *group]]
    low, width = min(values), (max(values) - min(values)) or 1.0
    return [
        [
            Mark(100 * (value - low) / width, kind, text if kind == "zero" else f"{text}: {value:.2f}")
            for kind, text, value in [ZERO, *group]
        ]
        for group in groups
    ]
