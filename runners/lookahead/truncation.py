"""Truncation and start: features, regimes and forecasts must not depend on later bars, or bars before the lookback."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import compress
from typing import NamedTuple

import numpy as np
import pandas as pd

from data.candles import time_text
from data.errors import DataError, RegimesError
from data.features import FEATURES, compute_features, lookback_of
from data.intervals import interval_of
from models.forecaster import LEVELS, Forecaster
from models.regimes import RegimeDetector, regime_name
from runners.lookahead.outcome import Outcome
from runners.lookahead.under_test import UnderTest

_TOLERANCE = 1e-6  # in standard deviations of a column: rounding is far below, a leak far above


class _Series(NamedTuple):
    """Values per bar: how to compute them from candles, and the number of earlier bars that they may depend on."""

    name: str
    lookback: int
    compute: Callable[[pd.DataFrame], pd.DataFrame]


class _Difference(NamedTuple):
    size: float
    bar: pd.Timestamp
    cut: pd.Timestamp
    whole: float
    part: float


def truncation(under_test: UnderTest, cuts: int) -> Outcome:
    """Recompute the values up to a cut without later bars: they must stay the same."""

    def piece(series: _Series, bar: int) -> tuple[pd.Timestamp, pd.DataFrame, slice]:
        return under_test.candles.index[bar], under_test.candles.iloc[: bar + 1], slice(0, bar + 1)

    message = "with the bars after {cut} cut off, {name} at {bar} is {part} instead of {whole}: it looks ahead"
    return _compare("truncation", under_test, cuts, piece, message, f"every bar before {cuts} cuts")


def start(under_test: UnderTest, cuts: int) -> Outcome:
    """Recompute the values from a bar on with only the declared lookback before it: they must stay the same."""

    def piece(series: _Series, bar: int) -> tuple[pd.Timestamp, pd.DataFrame, slice]:
        first = max(0, bar - series.lookback)
        return under_test.candles.index[first], under_test.candles.iloc[first:], slice(bar, None)

    message = (
        "with the bars before {cut} cut off, {name} at {bar} is {part} instead of {whole}: it depends on more than "
        "the {lookback} earlier bars that it declares"
    )
    return _compare("start", under_test, cuts, piece, message, f"every bar after {cuts} cuts")


def _sample(values: pd.DataFrame, count: int) -> list[int]:
    """Bars of the second half, after every lookback: half at random, half where the values jump.

    Hindsight often moves a jump back in time and changes nothing else.
    """
    random = np.random.default_rng(0)
    n_bars = len(values)
    later = np.arange(n_bars // 2, n_bars - 1)
    spread = values.std().replace(0.0, 1.0)
    jump = (values.diff().abs() / spread).max(axis=1).fillna(0.0).to_numpy()[later]
    jumps = later[np.argsort(jump)[-max(count, len(later) // 50) :]]
    drawn = {*random.choice(jumps, size=count // 2, replace=False)}
    drawn |= {*random.choice(later, size=count - len(drawn), replace=False)}
    return sorted(int(bar) for bar in drawn)


def _compare(
    check: str,
    under_test: UnderTest,
    cuts: int,
    piece: Callable[[_Series, int], tuple[pd.Timestamp, pd.DataFrame, slice]],
    message: str,
    scope: str,
) -> Outcome:
    names, findings = [], []
    for series in _all_series(under_test):
        names.append(series.name)
        whole = _compute(series, under_test.candles)
        largest: dict[str, _Difference] = {}
        for bar in _sample(whole, cuts):
            cut, part, rows = piece(series, bar)
            expected = whole.iloc[rows]
            actual = _compute(series, part).loc[expected.index]
            for column in map(str, whole):
                difference = _largest_difference(expected[column], actual[column], float(whole[column].std()), cut)
                if difference and (column not in largest or difference.size > largest[column].size):
                    largest[column] = difference
        for column, difference in largest.items():
            name = series.name if column == series.name.split()[-1] else f"{series.name} ({column})"
            bar_time, cut_time = time_text(difference.bar), time_text(difference.cut)
            part_value, whole_value = f"{difference.part:.6g}", f"{difference.whole:.6g}"
            finding = message.format(
                name=name, bar=bar_time, cut=cut_time, part=part_value, whole=whole_value, lookback=series.lookback
            )
            findings.append(f"{finding} ({difference.size:.2g} standard deviations).")
    return Outcome(check, f"{scope}: {', '.join(names).replace(', feature ', ', ')}", findings)


def _all_series(under_test: UnderTest) -> Iterator[_Series]:
    """Features come first: an error names a failing feature before any detector is fitted to it."""
    interval = interval_of(pd.DatetimeIndex(under_test.candles.index))
    for name in under_test.features:
        if name in FEATURES:
            yield _Series(f"feature {name}", lookback_of([name], interval), partial(compute_features, names=[name]))
    if under_test.model_set is not None:
        forecaster = Forecaster(under_test.model_set)
        levels = LEVELS if under_test.model_set.density else []
        yield _regimes(under_test.model_set.detector, interval)
        yield _Series(
            "forecast", forecaster.lookback, lambda candles: forecaster.forecast(candles).drop(columns=levels)
        )
        if under_test.model_set.density is not None:
            yield _Series("intervals", forecaster.history, lambda frame: forecaster.forecast(frame)[levels])
        return
    own = [settings.detector != "auto" for settings in under_test.trainings]
    if any(own):
        names = ", ".join(settings.detector for settings in compress(under_test.trainings, own))
        with _name_failure(f"training with detector {names}", under_test.candles):
            prepared = under_test.prepared
        yield from (_regimes(training.detector, interval) for training in compress(prepared, own))


def _regimes(detector: RegimeDetector, interval: pd.Timedelta) -> _Series:
    def probabilities(candles: pd.DataFrame) -> pd.DataFrame:
        names = [regime_name(regime) for regime in detector.regimes]
        features = compute_features(candles, detector.features).to_numpy()
        return pd.DataFrame(detector.filter(features), columns=names, index=candles.index)

    return _Series(
        f"detector {detector.name}", lookback_of(detector.features, interval) + detector.memory - 1, probabilities
    )


def _compute(series: _Series, candles: pd.DataFrame) -> pd.DataFrame:
    with _name_failure(series.name, candles):
        return series.compute(candles)


@contextmanager
def _name_failure(name: str, candles: pd.DataFrame) -> Iterator[None]:
    """Raise an error of user code as a `DataError` that names the code."""
    try:
        yield
    except RegimesError:
        raise
    except Exception as error:
        raise DataError(
            f"{name} fails on {len(candles)} bars ending {candles.index[-1]}: {type(error).__name__}: {error}"
        ) from error


def _largest_difference(whole: pd.Series, part: pd.Series, spread: float, cut: pd.Timestamp) -> _Difference | None:
    """The largest difference of two columns over the same bars, in standard deviations; None if they are equal."""
    expected, actual = whole.to_numpy(), part.to_numpy()
    size = np.abs(expected - actual) / (spread if spread > 0 else 1.0)
    size = np.where(np.isnan(expected) & np.isnan(actual), 0.0, size)
    size = np.where(np.isnan(size), np.inf, size)
    worst = int(size.argmax())
    if size[worst] <= _TOLERANCE:
        return None
    return _Difference(float(size[worst]), whole.index[worst], cut, float(expected[worst]), float(actual[worst]))
