"""All checks of a subject, the quick ones first."""

from __future__ import annotations

from collections.abc import Iterator

from runners.lookahead.orders import orders
from runners.lookahead.outcome import Outcome
from runners.lookahead.planted_edge import planted_edge
from runners.lookahead.random_walk import null
from runners.lookahead.refit import refit
from runners.lookahead.target import Subject
from runners.lookahead.truncation import start, truncation


def run_checks(subject: Subject, *, quick: bool = False) -> Iterator[Outcome]:
    """Each check's outcome as it becomes known; those that a subject has nothing for are left out.

    Raises
    ------
    DataError
        If the candles are too few, or code of the user's own fails on a part of them.
    """
    if subject.features or subject.trainings:
        yield truncation(subject, cuts=6 if quick else 20)
        yield start(subject, cuts=6 if quick else 20)
    if subject.trainings:
        yield refit(subject)
    if subject.strategies:
        yield orders(subject, cuts=2 if quick else 10)
    yield null(subject, 2 if quick else 8, quick=quick)
    if subject.model_set is not None:
        yield planted_edge()
