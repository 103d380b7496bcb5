"""Named causal features, each with the number of earlier bars that it depends on.

Every indicator has finite memory (simple or linearly weighted averages instead of Wilder's and exponential ones), so a
backtest over years and a live engine that keeps a few dozen bars compute the same value.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import cast

import numpy as np
import pandas as pd
import talib
from numpy.lib.stride_tricks import sliding_window_view

from data.candles import OHLCV
from data.errors import DataError, did_you_mean, listed
from data.registry import Registry

_BLOCK = 16_384  # bars at once in rolling figures

DEFAULT_FEATURES = ("log_return", "volatility", "rsi", "macd", "boll_width")


@dataclass(frozen=True)
class Feature:
    """A causal function of candles.

    Attributes
    ----------
    lookback
        Number of earlier bars that a value depends on.
    columns
        Names of the columns that `compute` returns.
    compute
        Maps candles to ``(n_bars,)`` or ``(n_bars, n_columns)``, one row per bar.
    built_in
        Whether `compute` only reads the index and arrays of the columns.
    """

    name: str
    lookback: int
    columns: tuple[str, ...]
    compute: Callable[[pd.DataFrame], np.ndarray]
    built_in: bool = False


FEATURES = Registry[Feature]("feature")


def feature(
    name: str, *, lookback: int, columns: Sequence[str] = ()
) -> Callable[[Callable[[pd.DataFrame], np.ndarray]], Callable[[pd.DataFrame], np.ndarray]]:
    """Decorator that registers a function of candles as the feature ``name``, for training, backtest and live.

    The function may look back at most ``lookback`` bars and never ahead. It is called with more than ``lookback`` bars;
    its first ``lookback`` rows are ignored. A `SettingsError` if the name is built in or another file's.

    Examples
    --------
    >>> @feature("close_to_high", lookback=0)
    ... def close_to_high(candles):
    ...     return (candles["close"] / candles["high"]).to_numpy()
    """

    module = sys._getframe(1).f_globals

    def register(compute: Callable[[pd.DataFrame], np.ndarray]) -> Callable[[pd.DataFrame], np.ndarray]:
        registered = Feature(name, lookback, tuple(columns) or (name,), compute, built_in=module is globals())
        FEATURES.register(name, registered, module)
        return compute

    return register


def log_returns(close: np.ndarray) -> np.ndarray:
    """``log(close[t] / close[t-1])``, shape ``(n_bars,)``; NaN at the first bar."""
    returns = np.full(len(close), np.nan)
    returns[1:] = np.log(close[1:] / close[:-1])
    return returns


def find_feature(name: str, candles: pd.DataFrame) -> Feature:
    """The registered feature of that name, or the candles' own column of that name (lookback 0)."""
    if name in FEATURES:
        return FEATURES[name]
    if name in candles:
        return Feature(name, 0, (name,), lambda frame: frame[name].to_numpy(dtype=float))
    own = [str(column) for column in candles if column not in OHLCV]
    raise DataError(
        f"feature {name!r} is neither built in ({', '.join(FEATURES)}) nor a column of the candles "
        f"({listed(own) or 'no further columns'}).{did_you_mean(name, [*FEATURES, *own])}"
    )


def lookback_of(names: Sequence[str]) -> int:
    """The largest lookback of these features, in bars; 0 for a column of the candles."""
    return max((FEATURES[name].lookback for name in names if name in FEATURES), default=0)


def columns_of(names: Sequence[str]) -> list[str]:
    """The columns that `compute_features` returns for these names, in order."""
    return [column for name in names for column in (FEATURES[name].columns if name in FEATURES else (name,))]


def compute_features(candles: pd.DataFrame, names: Sequence[str]) -> pd.DataFrame:
    """Compute features for every bar.

    Parameters
    ----------
    candles
        ``(n_bars, >= 5)`` frame as `data.candles.read_candles` gives it.
    names
        Built-in or registered features, or numeric columns of the candles.

    Returns
    -------
    pandas.DataFrame
        ``(n_bars, n_columns)`` float64 over the candles' index; NaN in the first rows, by each feature's lookback.

    Raises
    ------
    DataError
        If a name is neither a feature nor a column.
    """
    return pd.DataFrame(feature_columns(candles, names), index=candles.index)


def feature_columns(candles: pd.DataFrame, names: Sequence[str]) -> dict[str, np.ndarray]:
    """Like `compute_features`, but faster: a dict of columns ``(n_bars,)`` by name."""
    table: dict[str, np.ndarray] = {}
    arrays = cast("pd.DataFrame", _Arrays(candles))
    for name in names:
        one = find_feature(name, candles)
        source = arrays if one.built_in else candles
        values = np.full((len(candles), len(one.columns)), np.nan)
        if len(candles) > one.lookback:
            computed = np.asarray(one.compute(source), dtype=float).reshape(values.shape)
            values[one.lookback :] = computed[one.lookback :]
        table.update(zip(one.columns, values.T, strict=True))
    return table


class _Arrays:
    """What built-in features read of candles, each column made an array once: in pandas that takes longer than most."""

    def __init__(self, candles: pd.DataFrame) -> None:
        self.index = candles.index
        self._candles = candles
        self._arrays: dict[str, np.ndarray] = {}

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, name: str) -> np.ndarray:
        if name not in self._arrays:
            self._arrays[name] = self._candles[name].to_numpy(dtype=float)
        return self._arrays[name]

    @cached_property
    def log_returns(self) -> np.ndarray:
        return log_returns(self["close"])


def _column(candles: pd.DataFrame, name: str) -> np.ndarray:
    return np.asarray(candles[name], dtype=float)


def _log_returns(candles: pd.DataFrame) -> np.ndarray:
    """`log_returns` of the close; of candles whose features `feature_columns` computes, once for all of them."""
    return candles.log_returns if isinstance(candles, _Arrays) else log_returns(_column(candles, "close"))


def _tail_aligned(values: np.ndarray, n_bars: int) -> np.ndarray:
    """Values of the last bars, NaN before them."""
    aligned = np.full(n_bars, np.nan)
    aligned[n_bars - len(values) :] = values
    return aligned


def _rolling(values: np.ndarray, length: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of the last ``length`` values, ``(n_bars,)`` each; NaN before there are so many.

    Two passes over blocks. Not TA-Lib's STDDEV: it treats a variance below 1e-14 as zero, and its running sums of
    squares lose most digits on prices far from 0.
    """
    means, spreads = np.full((2, len(values)), np.nan)
    for first in range(0, len(values) - length + 1, _BLOCK):
        block = values[first : first + _BLOCK + length - 1]
        shifted = sliding_window_view(block, len(block) - length + 1)  # (length, n_results)
        distance = shifted - shifted[0]  # relative to the first value: a constant window has a deviation of exactly 0
        mean = distance.sum(axis=0) / length + shifted[0]
        np.subtract(shifted, mean, out=distance)
        distance *= distance
        here = slice(first + length - 1, first + length - 1 + len(mean))
        means[here], spreads[here] = mean, np.sqrt(distance.sum(axis=0) / length)
    return means, spreads


@feature("log_return", lookback=1)
def _log_return(candles: pd.DataFrame) -> np.ndarray:
    return _log_returns(candles)


@feature("volatility", lookback=20)
def _volatility(candles: pd.DataFrame) -> np.ndarray:
    """Standard deviation of the last 20 log returns."""
    return _rolling(_log_returns(candles), 20)[1]


@feature("rsi", lookback=14)
def _rsi(candles: pd.DataFrame) -> np.ndarray:
    """Relative strength index over 14 changes with simple averages (Cutler's variant), 0 to 100; 50 without change."""
    close = _column(candles, "close")
    change = np.diff(close)
    gain = talib.SMA(np.maximum(change, 0.0), 14)
    movement = talib.SMA(np.abs(change), 14)
    share = np.divide(gain, movement, out=np.full_like(gain, 0.5), where=movement > 1e-12 * close[1:])
    return _tail_aligned(100 * share, len(candles))


@feature("macd", lookback=25)
def _macd(candles: pd.DataFrame) -> np.ndarray:
    """Linearly weighted 12-bar less 26-bar average of the close, relative to the close."""
    close = _column(candles, "close")
    return (talib.WMA(close, 12) - talib.WMA(close, 26)) / close


@feature("boll_width", lookback=19)
def _boll_width(candles: pd.DataFrame) -> np.ndarray:
    """Width of the 20-bar, two-sigma Bollinger band relative to its middle."""
    middle, spread = _rolling(_column(candles, "close"), 20)
    return 4 * spread / middle


@feature("atr", lookback=14)
def _atr(candles: pd.DataFrame) -> np.ndarray:
    """Simple average of the last 14 true ranges, relative to the close."""
    close = _column(candles, "close")
    true_range = talib.TRANGE(_column(candles, "high"), _column(candles, "low"), close)[1:]
    return _tail_aligned(talib.SMA(true_range, 14), len(candles)) / close


@feature("volume_zscore", lookback=19)
def _volume_zscore(candles: pd.DataFrame) -> np.ndarray:
    """Volume in standard deviations from its 20-bar mean; 0 where the volume does not vary."""
    volume = _column(candles, "volume")
    mean, spread = _rolling(volume, 20)
    return np.divide(volume - mean, spread, out=np.zeros(len(candles)), where=spread > 0)


@feature("momentum", lookback=10)
def _momentum(candles: pd.DataFrame) -> np.ndarray:
    """Log return over the last 10 bars."""
    close = np.log(_column(candles, "close"))
    return _tail_aligned(close[10:] - close[:-10], len(candles))


@feature("trend_strength", lookback=50)
def _trend_strength(candles: pd.DataFrame) -> np.ndarray:
    """t statistic of the mean of the last 50 log returns; about standard normal on a random walk."""
    drift, spread = _rolling(_log_returns(candles), 50)
    return np.divide(drift * np.sqrt(50), spread, out=np.zeros(len(candles)), where=spread > 0)


# The logarithms of volatilities that a density reads; a series that does not move has a finite one.
_SMALLEST_SQUARE = 1e-12
_SMALLEST_DOWNSIDE = 0.01  # relative to the mean square of 60 bars


def _mean_square(returns: np.ndarray, length: int, n_bars: int) -> np.ndarray:
    """Mean of the last ``length`` squares of log returns ``(n_bars - 1,)``, at least 1e-12."""
    return _tail_aligned(np.maximum(talib.SMA(returns**2, length), _SMALLEST_SQUARE), n_bars)


def _register_log_volatility(length: int) -> None:
    @feature(f"log_volatility_{length}", lookback=length)
    def _log_volatility(candles: pd.DataFrame) -> np.ndarray:
        returns = _log_returns(candles)[1:]
        return 0.5 * np.log(_mean_square(returns, length, len(candles)))


def _register_log_range(length: int) -> None:
    @feature(f"log_range_{length}", lookback=length - 1)
    def _log_range(candles: pd.DataFrame) -> np.ndarray:
        ranges = np.log(_column(candles, "high") / _column(candles, "low"))
        mean = talib.SMA(ranges, length) if length > 1 else ranges
        return np.log(np.maximum(mean, math.sqrt(_SMALLEST_SQUARE)))


def _register_log_downside(length: int) -> None:
    @feature(f"log_downside_{length}", lookback=60)
    def _log_downside(candles: pd.DataFrame) -> np.ndarray:
        returns = _log_returns(candles)[1:]
        least = _SMALLEST_DOWNSIDE * _mean_square(returns, 60, len(candles))
        return 0.5 * np.log(np.maximum(_mean_square(np.minimum(returns, 0), length, len(candles)), least))


for _length in (5, 20, 60, 120):
    _register_log_volatility(_length)
for _length in (1, 5, 20):
    _register_log_range(_length)
for _length in (5, 20):
    _register_log_downside(_length)

# What the density of the next return depends on, besides `DEFAULT_FEATURES`.
SCALE_FEATURES = tuple(name for name in FEATURES if name.startswith(("log_volatility_", "log_range_", "log_downside_")))


@feature("range", lookback=0)
def _range(candles: pd.DataFrame) -> np.ndarray:
    """High less low, relative to the close."""
    return (_column(candles, "high") - _column(candles, "low")) / _column(candles, "close")


def _on_circle(phase: np.ndarray) -> np.ndarray:
    return np.stack([np.sin(2 * np.pi * phase), np.cos(2 * np.pi * phase)], axis=1)


@feature("hour_of_day", lookback=0, columns=["hour_of_day_sin", "hour_of_day_cos"])
def _hour_of_day(candles: pd.DataFrame) -> np.ndarray:
    """Open time in the UTC day, as a point on the circle."""
    index = pd.DatetimeIndex(candles.index)
    return _on_circle((index.hour + index.minute / 60).to_numpy() / 24)


@feature("day_of_week", lookback=0, columns=["day_of_week_sin", "day_of_week_cos"])
def _day_of_week(candles: pd.DataFrame) -> np.ndarray:
    """Day of the week (UTC), as a point on the circle."""
    return _on_circle(pd.DatetimeIndex(candles.index).day_of_week.to_numpy() / 7)
