"""Inputs: names the further columns that are read, which no check can see through, and implausible skill."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from data.candles import OHLCV, REGIME
from data.features import FEATURES
from runners.lookahead import order_runs, tasks
from runners.lookahead.fresh import run_fresh
from runners.lookahead.outcome import Outcome, Unchecked
from runners.lookahead.recompute import all_series
from runners.lookahead.series import ForecastSeries
from runners.lookahead.under_test import UnderTest
from training.plausibility import implausible_inputs, implausible_scores


def inputs(under_test: UnderTest) -> Outcome:
    """Name the further columns of the candles that features, detectors, networks or strategies read.

    Their values came with the file, so nobody can see what they were at a bar's close. A column ``regime`` that only
    trains a classifier is not read.
    """
    readers: dict[str, list[str]] = {}
    for column, reader in [*_read_by_models(under_test), *_read_by_code(under_test)]:
        readers.setdefault(column, []).append(reader)
    unchecked = [
        Unchecked(column, f"column {column} comes with the file, read by {' and '.join(names)}: it cannot be checked")
        for column, names in readers.items()
    ]
    names = [*under_test.features, *(column for column in readers if column not in under_test.features)]
    (skills,) = run_fresh(under_test.code, [partial(implausible_inputs, under_test.candles, names)])
    scope = f"further columns that are read: {', '.join(readers) or 'none'}"
    return Outcome("inputs", scope, [*skills.result, *_implausible_forecast(under_test)], unchecked)


def _implausible_forecast(under_test: UnderTest) -> list[str]:
    """A finding if the forecasts of a model set on unseen bars are too good to be true."""
    model_set = under_test.model_set
    if model_set is None:
        return []
    evaluated = partial(tasks.forecast_score, model_set, under_test.candles)
    (score,) = run_fresh(under_test.code, [evaluated])
    return implausible_scores({"the experts": score.result} if score.result else {})


def _read_by_models(under_test: UnderTest) -> Iterator[tuple[str, str]]:
    for name in under_test.features:
        if name not in FEATURES and name not in OHLCV:
            yield name, "the models"
    if under_test.trades_column:
        yield REGIME, "backtests (regime_source)"


def _read_by_code(under_test: UnderTest) -> Iterator[tuple[str, str]]:
    """Each further column, and the user's feature, detector or strategy that gives other results without it."""
    further = [str(name) for name in under_test.candles if name not in OHLCV]
    if not further or not under_test.code:
        return
    series = [one for one in all_series(under_test) if not isinstance(one, ForecastSeries)]
    traders = under_test.traders
    candles = under_test.candles
    (by_series,) = run_fresh(under_test.code, [partial(tasks.columns_read, series, candles, further)])
    by_trader = run_fresh(under_test.code, [partial(order_runs.columns_read, one, candles, further) for one in traders])
    names = [*(one.name for one in series), *(trader.name for trader in traders)]
    for name, columns in zip(names, [*by_series.result, *(ran.result for ran in by_trader)], strict=True):
        yield from ((column, name) for column in columns)
