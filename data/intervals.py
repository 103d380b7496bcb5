"""Finds the interval of a series of bars and their number per year, and rejects series that have none or two."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import pandas as pd

from data.errors import DataError

_DAY = pd.Timedelta(days=1)
_YEAR = pd.Timedelta(days=365.25)
_SIMILAR = 1.1  # steps within this factor count as one length: months, days of a clock change
_MONTHS_VARY = 1.25  # between first trading days of two months or weeks
_COMMON = 0.6  # as frequent as the most frequent length: closing auctions are less, half of a US session is not
_BEFORE, _AFTER = 3, 5  # bars that show a change of the grid; after an outage, one or two bars may be off it
_SHORT_STEPS = 3  # in a row; an auction is one
_FEWEST_LONG_STEPS = 8
_LEAST_STRANGE = 5
_STRANGE_SHARE = 0.2
_LEAST_REGULAR = 0.1  # of the steps; seconds between trades hardly ever repeat


def interval_of(index: pd.DatetimeIndex) -> pd.Timedelta:
    """The bar interval of a series: the shortest step between open times that is no exception.

    A step is no exception if steps of about its length are at least 0.6 times as frequent as those of any other
    length. So nights, weekends and missing bars do not change the interval, even if they are most of the steps. Of
    steps of about the same length, such as months, it is the most frequent one.
    """
    if len(index) < 2:
        raise DataError("an interval needs at least two bars.")
    steps = np.sort(np.diff(index.asi8))
    similar = _similar(steps)
    shortest = steps[np.argmax(similar >= _COMMON * similar.max())]
    lengths, counts = np.unique(steps[(steps >= shortest) & (steps <= shortest * _MONTHS_VARY)], return_counts=True)
    return pd.Timedelta(int(lengths[np.argmax(counts)]), unit=index.unit)


def bars_per_year(index: pd.DatetimeIndex) -> float:
    """Bars per year, counted from the times of the series, so that holidays and closed hours are included."""
    return bars_per_year_of(len(index), index[0], index[-1])


def bars_per_year_of(n_bars: int, first_bar: pd.Timestamp, last_bar: pd.Timestamp) -> float:
    """`bars_per_year` of a series by its length and its first and last open times."""
    return float((n_bars - 1) / ((last_bar - first_bar) / _YEAR))


def has_interval(index: pd.DatetimeIndex, interval: pd.Timedelta) -> bool:
    """Whether bars can be of this interval; more than `interval_of` allows where few bars leave two answers.

    Steps of the interval, within 1 % (15 % for weeks and longer, whose lengths vary), must be more frequent than
    shorter ones, and at least 0.3 times as frequent as any other length.
    """
    steps = np.sort(np.diff(index.asi8))
    in_intervals = steps / (interval / pd.Timedelta(1, unit=index.unit))
    tolerance = 0.15 if interval > 5 * _DAY else 0.01
    same = np.sum(np.abs(in_intervals - 1) <= tolerance)
    shorter = np.sum(in_intervals < 1 - max(tolerance, 0.1))
    return bool(same > shorter and same >= 0.5 * _COMMON * _similar(steps).max())


def _similar(steps: np.ndarray) -> np.ndarray:
    """For each of the sorted steps, the number of steps of about its length."""
    return np.searchsorted(steps, steps * _SIMILAR, side="right") - np.searchsorted(steps, steps / _SIMILAR)


def steps_in_intervals(index: pd.DatetimeIndex) -> np.ndarray:
    """Steps between open times in units of the interval, ``(n_bars - 1,)``: 1 where no bar is missing."""
    return np.diff(index.asi8) / (interval_of(index) / pd.Timedelta(1, unit=index.unit))


def interval_text(interval: pd.Timedelta) -> str:
    """The interval as text, such as ``4 h``, ``1 d`` or ``15 min``."""
    hours = interval / pd.Timedelta(hours=1)
    if hours >= 24:
        return f"{hours / 24:g} d"
    return f"{hours:g} h" if hours >= 1 else f"{hours * 60:g} min"


def around_the_clock(index: pd.DatetimeIndex) -> bool:
    """Whether a series trades on all days of the week: none has less than half of the mean number of bars.

    False for less than a week.
    """
    bars = np.bincount(index.day_of_week, minlength=7)
    return bool(len(index) and index[-1] - index[0] >= 7 * _DAY and bars.min() >= 0.5 * bars.mean())


def interval_checks(index: pd.DatetimeIndex) -> Iterator[tuple[np.ndarray, str]]:
    """Masks ``(n_bars,)`` of the bars that show irregular bars or a lasting change of the interval, and messages.

    Missing bars, closed markets and single bars off the grid are normal, and in no mask.
    """
    if len(index) < 3:
        return
    interval, step = interval_of(index), steps_in_intervals(index)
    strange = _strange(index, step, interval)
    if strange.sum() < max(_LEAST_STRANGE, _STRANGE_SHARE * len(step)):
        strange[:] = False
    wrong = _shorter(step) | _longer(step)
    if interval < _DAY and around_the_clock(index):
        wrong |= _shifted(step)
    for mask, problem in (
        (
            strange,
            "and the other distances differ as well. Irregular bars (of ticks, volume, dollars or price, such as "
            "renko) are not supported: models need bars of one interval. Make them with regimes import --resample.",
        ),
        (
            wrong,
            f"but the series' interval is {interval_text(interval)}. Keep bars of one interval in a file; where a "
            "clock was changed, write times in UTC.",
        ),
    ):
        opens_after = interval_text(step[np.argmax(mask)] * interval)
        yield np.append(False, mask), f"this bar opens {opens_after} after the one before, {problem}"


def _strange(index: pd.DatetimeIndex, step: np.ndarray, interval: pd.Timedelta) -> np.ndarray:
    """Steps that are no multiple of the interval, unless sessions explain them.

    All other steps are strange if fewer than a tenth have the interval: times in whole seconds are all multiples.
    Bars after a lunch break or a night are off the grid of the bar before, but at times of day that recur. Bars of
    several days, such as weeks from their first trading day, vary by a quarter.
    """
    regular = np.abs(step - 1) < _MONTHS_VARY - 1
    if regular.mean() < _LEAST_REGULAR:
        return ~regular
    if interval >= _DAY:
        return np.abs(step - np.round(step)) > _MONTHS_VARY - 1
    day = _DAY // pd.Timedelta(1, unit=index.unit)
    _, which, bars = np.unique(index.asi8 % day, return_inverse=True, return_counts=True)
    n_days = len(np.unique(index.asi8 // day))
    return _off_grid(step) & (bars[which] < max(2, n_days / 4))[1:]


def _shorter(step: np.ndarray) -> np.ndarray:
    """Steps from which on several in a row are clearly below the interval."""
    wrong = np.zeros(len(step), dtype=bool)
    if len(step) >= _SHORT_STEPS:
        short = np.lib.stride_tricks.sliding_window_view(step < 0.9, _SHORT_STEPS)  # a month may have 28 days
        wrong[: len(short)] = short.all(axis=1)
    return wrong


def _longer(step: np.ndarray) -> np.ndarray:
    """Steps from which on the bars lie on a coarser grid for so long that missing bars do not explain it.

    By chance, a step is a multiple of m intervals with a probability of at most 1/m, or as often as in this series.
    Steps in a row are refused if this gives them a probability below 2^-14, divided by the number of steps.
    """
    multiples = np.maximum(1, np.round(step)).astype(np.int64)
    wrong = np.zeros(len(step), dtype=bool)
    divisor, length = multiples, 1  # the greatest common divisor of so many steps from each on
    while len(divisor) > length and divisor.max() > 1:
        divisor, length = np.gcd(divisor[:-length], divisor[length:]), 2 * length
        least = 2 ** ((math.log2(len(step)) + 14) / length)
        for m in np.unique(divisor[divisor >= least]) if length >= _FEWEST_LONG_STEPS else ():
            if 1 / np.mean(multiples % m == 0) >= least:
                wrong[: len(divisor)] |= divisor == m
    return wrong


def _shifted(step: np.ndarray) -> np.ndarray:
    """Steps around the clock after which the bars stay off the grid of the bars before."""
    wrong = np.zeros(len(step), dtype=bool)
    off = np.flatnonzero(_off_grid(step))
    off = off[(off >= _BEFORE - 1) & (off < len(step) - _AFTER)]
    at = np.append(0.0, np.cumsum(step))
    before, after = (at[off[:, None] + bars] for bars in (np.arange(1 - _BEFORE, 1), np.arange(1, _AFTER + 1)))
    wrong[off] = _off_grid(after[:, :, None] - before[:, None, :]).all(axis=(1, 2))
    return wrong


def _off_grid(step: np.ndarray) -> np.ndarray:
    return np.abs(step - np.round(step)) > 0.1
