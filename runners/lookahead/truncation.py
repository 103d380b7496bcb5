"""Truncation and start: features, regimes and forecasts must not change with what comes later, or long before."""

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
from models.forecaster import Forecaster
from models.regimes import RegimeDetector, regime_name
from runners.lookahead.outcome import Outcome
from runners.lookahead.target import Subject

_TOLERANCE = 1e-6  # of a column's standard deviation: rounding stays far below, a leak far above


class _Series(NamedTuple):
    """Something with a value at each bar: how it is made of candles, and the earlier bars that it may depend on."""

    name: str
    lookback: int
    compute: Callable[[pd.DataFrame], pd.DataFrame]


class _Difference(NamedTuple):
    size: float
    bar: pd.Timestamp
    cut: pd.Timestamp
    whole: float
    part: float


def truncation(subject: Subject, cuts: int) -> Outcome:
    """Values at bars up to a cut, recomputed without the bars after it: all of them must be the same."""

    def piece(series: _Series, bar: int) -> tuple[pd.Timestamp, pd.DataFrame, slice]:
        return subject.candles.index[bar], subject.candles.iloc[: bar + 1], slice(0, bar + 1)

    said = "with the bars after {cut} cut off, {name} at {bar} is {part} instead of {whole}: it looks ahead"
    return _compare("truncation", subject, cuts, piece, said, f"every bar before {cuts} cuts")


def start(subject: Subject, cuts: int) -> Outcome:
    """Values from a bar on, recomputed with only the declared lookback before that bar: all must be the same."""

    def piece(series: _Series, bar: int) -> tuple[pd.Timestamp, pd.DataFrame, slice]:
        first = max(0, bar - series.lookback)
        return subject.candles.index[first], subject.candles.iloc[first:], slice(bar, None)

    said = (
        "with the bars before {cut} cut off, {name} at {bar} is {part} instead of {whole}: it depends on more than "
        "the {lookback} earlier bars that it declares"
    )
    return _compare("start", subject, cuts, piece, said, f"every bar after {cuts} cuts")


def _sample(values: pd.DataFrame, count: int) -> list[int]:
    """Bars of the second half, so late enough for every lookback: half at random, half where the values jump.

    What is known with hindsight moves a jump back in time and often nothing else.
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
    subject: Subject,
    cuts: int,
    piece: Callable[[_Series, int], tuple[pd.Timestamp, pd.DataFrame, slice]],
    said: str,
    where: str,
) -> Outcome:
    names, findings = [], []
    for series in _series_of(subject):
        names.append(series.name)
        whole = _computed(series, subject.candles)
        largest: dict[str, _Difference] = {}
        for bar in _sample(whole, cuts):
            cut, part, rows = piece(series, bar)
            expected = whole.iloc[rows]
            found = _computed(series, part).loc[expected.index]
            for column in map(str, whole):
                one = _largest_difference(expected[column], found[column], float(whole[column].std()), cut)
                if one and (column not in largest or one.size > largest[column].size):
                    largest[column] = one
        for column, one in largest.items():
            name = series.name if column == series.name.split()[-1] else f"{series.name} ({column})"
            findings.append(
                said.format(
                    name=name,
                    bar=time_text(one.bar),
                    cut=time_text(one.cut),
                    part=f"{one.part:.6g}",
                    whole=f"{one.whole:.6g}",
                    lookback=series.lookback,
                )
                + f" ({one.size:.2g} standard deviations)."
            )
    return Outcome(check, f"{where}: {', '.join(names).replace(', feature ', ', ')}", findings)


def _series_of(subject: Subject) -> Iterator[_Series]:
    """Features first: one that fails is named before any detector is fitted to it."""
    for name in subject.features:
        if name in FEATURES:
            yield _Series(f"feature {name}", lookback_of([name]), partial(compute_features, names=[name]))
    if subject.model_set is not None:
        forecaster = Forecaster(subject.model_set)
        yield _regimes(subject.model_set.detector)
        yield _Series("forecast", forecaster.lookback, forecaster.forecast)
        return
    own = [settings.detector != "auto" for settings in subject.trainings]
    if any(own):
        names = ", ".join(settings.detector for settings in compress(subject.trainings, own))
        with _failure_named(f"training with detector {names}", subject.candles):
            prepared = subject.prepared
        yield from (_regimes(one.detector) for one in compress(prepared, own))


def _regimes(detector: RegimeDetector) -> _Series:
    def probabilities(candles: pd.DataFrame) -> pd.DataFrame:
        names = [regime_name(regime) for regime in detector.regimes]
        observed = compute_features(candles, detector.features).to_numpy()
        return pd.DataFrame(detector.filter(observed), columns=names, index=candles.index)

    return _Series(f"detector {detector.name}", lookback_of(detector.features) + detector.memory - 1, probabilities)


def _computed(series: _Series, candles: pd.DataFrame) -> pd.DataFrame:
    with _failure_named(series.name, candles):
        return series.compute(candles)


@contextmanager
def _failure_named(name: str, candles: pd.DataFrame) -> Iterator[None]:
    """Code of the user's own that fails on the candles is a `DataError` with its name."""
    try:
        yield
    except RegimesError:
        raise
    except Exception as error:
        raise DataError(
            f"{name} fails on {len(candles)} bars ending {candles.index[-1]}: {type(error).__name__}: {error}"
        ) from error


def _largest_difference(whole: pd.Series, part: pd.Series, spread: float, cut: pd.Timestamp) -> _Difference | None:
    """Where two columns over the same bars differ most, in standard deviations; None where they are the same."""
    expected, found = whole.to_numpy(), part.to_numpy()
    size = np.abs(expected - found) / (spread if spread > 0 else 1.0)
    size = np.where(np.isnan(expected) & np.isnan(found), 0.0, size)
    size = np.where(np.isnan(size), np.inf, size)
    worst = int(size.argmax())
    if size[worst] <= _TOLERANCE:
        return None
    return _Difference(float(size[worst]), whole.index[worst], cut, float(expected[worst]), float(found[worst]))
