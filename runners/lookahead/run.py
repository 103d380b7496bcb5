"""Runs all look-ahead checks, the quick ones first."""

from __future__ import annotations

from collections.abc import Iterator

from runners.lookahead.inputs import inputs
from runners.lookahead.orders import Cuts, orders
from runners.lookahead.outcome import Outcome
from runners.lookahead.planted_edge import planted_edge
from runners.lookahead.random_walk import random_walk
from runners.lookahead.recompute import recompute
from runners.lookahead.refit import refit
from runners.lookahead.tasks import Pace
from runners.lookahead.under_test import UnderTest

_QUICK, _FULL = Pace(least=200, seconds=0.3), Pace(least=1_050, seconds=1.0)
_FEW_CUTS, _CUTS = Cuts(least=2, seconds=0.5), Cuts(least=10, seconds=10.0)


def run_checks(under_test: UnderTest, *, quick: bool = False, exhaustive: bool = False) -> Iterator[Outcome]:
    """Yield the outcome of each check that applies; ``exhaustive``: recompute every bar.

    Raises
    ------
    DataError
        If there are too few candles, or user code fails on some of them.
    """
    pace = Pace(None, 0.0) if exhaustive else _QUICK if quick else _FULL
    if under_test.features or under_test.trainings:
        yield recompute(under_test, pace)
    if under_test.trainings:
        yield refit(under_test)
    if under_test.traders:
        yield orders(under_test, _FEW_CUTS if quick else _CUTS)
    yield inputs(under_test)
    yield random_walk(under_test, 2 if quick else 8, quick=quick)
    if under_test.model_set is not None:
        yield planted_edge()
