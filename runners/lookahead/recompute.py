"""Recompute: each bar's features, regimes and forecasts must follow from its lookback alone, in a new process."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import compress
from typing import Any

import numpy as np
import pandas as pd

from data.errors import DataError
from data.features import FEATURES
from data.intervals import interval_of
from runners.lookahead import tasks
from runners.lookahead.causes import Recomputed
from runners.lookahead.differences import spreads, worst_difference
from runners.lookahead.disguise import disguised
from runners.lookahead.fresh import Ran, run_fresh
from runners.lookahead.opened import opened_files
from runners.lookahead.outcome import Outcome, Unchecked
from runners.lookahead.sampling import bars_in_order, excluded
from runners.lookahead.series import DetectorSeries, FeatureSeries, ForecastSeries, Series
from runners.lookahead.tasks import Pace, Whole
from runners.lookahead.under_test import UnderTest


def recompute(under_test: UnderTest, pace: Pace, seed: int = 0) -> Outcome:
    """Recompute bars from their lookback alone, before a process of the user's code has seen the whole series.

    User code is tried again on candles in disguise (`disguised`).
    """
    series, code = all_series(under_test), under_test.code
    versions = [under_test.candles, *([disguised(under_test.candles, seed)] if code else [])]
    (plain, *others), ran = _run(under_test, series, versions, pace, seed)
    findings, unchecked, originals = [], [], []
    for number, original in enumerate(plain):
        if isinstance(original, DataError):
            raise original
        originals.append(original)
        found = original.finding(code)
        for other in [version[number] for version in others] if not found else []:
            if isinstance(other, DataError) or original.goes_blank_in(other):
                unchecked.append(_depends_on_dates(original, other))
            elif in_disguise := other.finding(code):
                found = f"On candles with other dates and prices, {in_disguise}"
        findings += [found] if found else []
        if not len(original.bars):
            unchecked.append(_too_long(original))
    seen, files = opened_files(under_test, ran)
    findings += [*seen, *_changed_by_storing(under_test, originals)]
    return Outcome("recompute", _scope(originals), findings, [*unchecked, *files])


def all_series(under_test: UnderTest) -> list[Series]:
    """Features come first: an error names a failing feature before any detector is fitted to it."""
    interval, models = interval_of(pd.DatetimeIndex(under_test.candles.index)), under_test.model_set
    series: list[Series] = [FeatureSeries.of(name, interval) for name in under_test.features if name in FEATURES]
    if models is not None:
        return [*series, DetectorSeries.of(models.detector, interval), ForecastSeries.of(models)]
    return [*series, *(ran.result.detector for ran in _own_detectors(under_test))]


def _own_detectors(under_test: UnderTest) -> list[Ran[tasks.Fitted]]:
    """The user's detectors, fitted; the one of `auto` is not the user's."""
    own = [settings.detector != "auto" for settings in under_test.trainings]
    return list(compress(under_test.fitted, own)) if any(own) and under_test.model_set is None else []


def _run(
    under_test: UnderTest, series: list[Series], versions: list[pd.DataFrame], pace: Pace, seed: int
) -> tuple[list[list[Recomputed | DataError]], list[Ran[Any]]]:
    """Each series on each version of the candles, or its error; and all runs of user code."""
    plan = [bars_in_order(under_test.candles, one.lookback, seed) for one in series]
    cut = run_fresh(under_test.code, [partial(tasks.pieces, series, one, plan, pace) for one in versions])
    full = run_fresh(
        under_test.code, [partial(tasks.whole, series, one, twice=bool(under_test.code)) for one in versions]
    )
    results = []
    for candles, pieces, whole in zip(versions, cut, full, strict=True):
        rows = zip(series, plan, pieces.result, whole.result, strict=True)
        results.append([_joined(candles, *one) for one in rows])
    return results, [*cut, *full]


def _joined(
    candles: pd.DataFrame, series: Series, bars: np.ndarray, pieces: np.ndarray | DataError, whole: Whole | DataError
) -> Recomputed | DataError:
    if isinstance(whole, DataError):
        return whole
    return pieces if isinstance(pieces, DataError) else Recomputed(series, candles, bars[: len(pieces)], pieces, whole)


def _changed_by_storing(under_test: UnderTest, originals: Sequence[Recomputed]) -> list[str]:
    """Detectors that give other probabilities once a model set has stored their parameters."""
    findings = []
    by_series = {id(one.series): one for one in originals}
    for fitted in (ran.result for ran in _own_detectors(under_test)):
        stored = by_series[id(fitted.detector)].values
        before = fitted.probabilities.to_numpy(dtype=float)
        worst = worst_difference(before, stored, spreads(before))
        if worst:
            findings.append(
                f"{fitted.detector.name} gives other probabilities once its parameters are stored and read again "
                f"({worst.size:.2g} standard deviations): `parameters` lacks something that `fit` learns."
            )
    return findings


def _depends_on_dates(original: Recomputed, other: Recomputed | DataError) -> Unchecked:
    what = f"fails ({other})" if isinstance(other, DataError) else "has no values"
    return Unchecked(
        original.series.name.split()[-1],
        f"{original.series.name} {what} on candles with other dates and prices: it looks values up in a table of its "
        "own, which cannot be checked",
    )


def _too_long(original: Recomputed) -> Unchecked:
    lookback, n_bars = original.series.lookback, len(original.candles)
    return Unchecked(
        original.series.name.split()[-1],
        f"{original.series.name} declares a lookback of {lookback:,} bars, so none of the {n_bars:,} bars can be "
        "checked: bring more history",
    )


def _scope(originals: Sequence[Recomputed]) -> str:
    """What was recomputed, and which leaks that excludes."""
    names = ", ".join(one.series.name for one in originals).replace(", feature ", ", ")
    least = min(originals, key=lambda one: len(one.bars) / max(1, len(one.candles) - one.series.lookback))
    possible = len(least.candles) - least.series.lookback
    if len(least.bars) >= possible:
        return f"every bar from its lookback alone: {names}"
    number = len(least.bars)
    return f"{number:,} bars or more from their lookback alone ({excluded(number)} is excluded): {names}"
