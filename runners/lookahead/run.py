"""Runs all look-ahead checks, the quick ones first."""

from __future__ import annotations

from collections.abc import Iterator

from runners.lookahead.orders import orders
from runners.lookahead.outcome import Outcome
from runners.lookahead.planted_edge import planted_edge
from runners.lookahead.random_walk import random_walk
from runners.lookahead.refit import refit
from runners.lookahead.truncation import start, truncation
from runners.lookahead.under_test import UnderTest


def run_checks(under_test: UnderTest, *, quick: bool = False) -> Iterator[Outcome]:
    """Yield the outcome of each check that applies.

    Raises
    ------
    DataError
        If there are too few candles, or user code fails on some of them.
    """
    if under_test.features or under_test.trainings:
        yield truncation(under_test, cuts=6 if quick else 20)
        yield start(under_test, cuts=6 if quick else 20)
    if under_test.trainings:
        yield refit(under_test)
    if under_test.strategies:
        yield orders(under_test, cuts=2 if quick else 10)
    yield random_walk(under_test, 2 if quick else 8, quick=quick)
    if under_test.model_set is not None:
        yield planted_edge()
