"""The built-in features.

Every indicator has finite memory (simple or linearly weighted averages instead of Wilder's and exponential ones), so a
backtest over years and a live engine that keeps a few dozen bars compute the same value.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pandas as pd
import talib
from numpy.lib.stride_tricks import sliding_window_view

from data.features.candle_arrays import close_returns, column
from data.features.definitions import FAMILIES, FEATURES, Compute, Family, register

_BLOCK = 16_384  # bars at once in rolling figures

DEFAULT_FEATURES = ("log_return", "volatility", "rsi", "macd", "boll_width")


def _built_in(name: str, lookback: int, columns: tuple[str, ...] = ()) -> Callable[[Compute], Compute]:
    return register(name, lookback, columns, globals(), built_in=True)


def _family(
    name: str, *defaults: int, lookback: Callable[..., int], least: int = 2
) -> Callable[[Callable[..., np.ndarray]], Callable[..., np.ndarray]]:
    """Decorator that registers a function of candles and periods; its plain name has the default periods."""

    def registered(compute: Callable[..., np.ndarray]) -> Callable[..., np.ndarray]:
        FAMILIES[name] = Family(name, defaults, least, lookback, compute)
        plain = FAMILIES[name].feature(name, defaults)
        FEATURES.register(name, plain, globals())
        return compute

    return registered


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


@_built_in("log_return", 1)
def _log_return(candles: pd.DataFrame) -> np.ndarray:
    """Logarithm of the close relative to the close before."""
    return close_returns(candles)


@_family("volatility", 20, lookback=lambda n: n)
def _volatility(candles: pd.DataFrame, n: int) -> np.ndarray:
    """Standard deviation of the last n log returns."""
    return _rolling(close_returns(candles), n)[1]


@_family("rsi", 14, lookback=lambda n: n)
def _rsi(candles: pd.DataFrame, n: int) -> np.ndarray:
    """Relative strength index over n changes with simple averages (Cutler's variant), 0 to 100; 50 without change."""
    close = column(candles, "close")
    change = np.diff(close)
    gain = talib.SMA(np.maximum(change, 0.0), n)
    movement = talib.SMA(np.abs(change), n)
    share = np.divide(gain, movement, out=np.full_like(gain, 0.5), where=movement > 1e-12 * close[1:])
    return _tail_aligned(100 * share, len(candles))


@_family("macd", 12, 26, lookback=lambda fast, slow: max(fast, slow) - 1)
def _macd(candles: pd.DataFrame, fast: int, slow: int) -> np.ndarray:
    """Linearly weighted average of the close over the first period less that over the second, relative to the close."""
    close = column(candles, "close")
    return (talib.WMA(close, fast) - talib.WMA(close, slow)) / close


@_family("boll_width", 20, lookback=lambda n: n - 1)
def _boll_width(candles: pd.DataFrame, n: int) -> np.ndarray:
    """Width of the two-sigma Bollinger band of n bars relative to its middle."""
    middle, spread = _rolling(column(candles, "close"), n)
    return 4 * spread / middle


@_family("atr", 14, lookback=lambda n: n)
def _atr(candles: pd.DataFrame, n: int) -> np.ndarray:
    """Simple average of the last n true ranges, relative to the close."""
    close = column(candles, "close")
    true_range = talib.TRANGE(column(candles, "high"), column(candles, "low"), close)[1:]
    return _tail_aligned(talib.SMA(true_range, n), len(candles)) / close


@_family("volume_zscore", 20, lookback=lambda n: n - 1)
def _volume_zscore(candles: pd.DataFrame, n: int) -> np.ndarray:
    """Volume in standard deviations from its mean of n bars; 0 where the volume does not vary."""
    volume = column(candles, "volume")
    mean, spread = _rolling(volume, n)
    return np.divide(volume - mean, spread, out=np.zeros(len(candles)), where=spread > 0)


@_family("momentum", 10, lookback=lambda n: n, least=1)
def _momentum(candles: pd.DataFrame, n: int) -> np.ndarray:
    """Log return over the last n bars."""
    close = np.log(column(candles, "close"))
    return _tail_aligned(close[n:] - close[:-n], len(candles))


@_family("trend_strength", 50, lookback=lambda n: n)
def _trend_strength(candles: pd.DataFrame, n: int) -> np.ndarray:
    """t statistic of the mean of the last n log returns; about standard normal on a random walk."""
    drift, spread = _rolling(close_returns(candles), n)
    return np.divide(drift * np.sqrt(n), spread, out=np.zeros(len(candles)), where=spread > 0)


# A series that does not move has finite logarithms of volatilities.
_SMALLEST_SQUARE = 1e-12
_SMALLEST_DOWNSIDE, _DOWNSIDE_BARS = 0.01, 60  # relative to the mean square of 60 bars


def _mean_square(returns: np.ndarray, length: int, n_bars: int) -> np.ndarray:
    """Mean of the last ``length`` squares of log returns ``(n_bars - 1,)``, at least 1e-12."""
    return _tail_aligned(np.maximum(talib.SMA(returns**2, length), _SMALLEST_SQUARE), n_bars)


@_family("log_volatility", 20, lookback=lambda n: n)
def _log_volatility(candles: pd.DataFrame, n: int) -> np.ndarray:
    """Logarithm of the root mean square of the last n log returns."""
    return 0.5 * np.log(_mean_square(close_returns(candles)[1:], n, len(candles)))


@_family("log_range", 1, lookback=lambda n: n - 1, least=1)
def _log_range(candles: pd.DataFrame, n: int) -> np.ndarray:
    """Logarithm of the mean of log(high / low) over n bars."""
    ranges = np.log(column(candles, "high") / column(candles, "low"))
    mean = talib.SMA(ranges, n) if n > 1 else ranges
    return np.log(np.maximum(mean, math.sqrt(_SMALLEST_SQUARE)))


@_family("log_downside", 20, lookback=lambda n: max(n, _DOWNSIDE_BARS))
def _log_downside(candles: pd.DataFrame, n: int) -> np.ndarray:
    """Logarithm of the root mean square of the last n log returns, of which positive ones count as 0."""
    returns = close_returns(candles)[1:]
    least = _SMALLEST_DOWNSIDE * _mean_square(returns, _DOWNSIDE_BARS, len(candles))
    return 0.5 * np.log(np.maximum(_mean_square(np.minimum(returns, 0), n, len(candles)), least))


# What the density of the next return depends on, besides `DEFAULT_FEATURES`.
SCALE_FEATURES = (
    *(f"log_volatility({n})" for n in (5, 20, 60, 120)),
    *(f"log_range({n})" for n in (1, 5, 20)),
    *(f"log_downside({n})" for n in (5, 20)),
)


@_built_in("range", 0)
def _range(candles: pd.DataFrame) -> np.ndarray:
    """High less low, relative to the close."""
    return (column(candles, "high") - column(candles, "low")) / column(candles, "close")


def _on_circle(phase: np.ndarray) -> np.ndarray:
    return np.stack([np.sin(2 * np.pi * phase), np.cos(2 * np.pi * phase)], axis=1)


@_built_in("hour_of_day", 0, ("hour_of_day_sin", "hour_of_day_cos"))
def _hour_of_day(candles: pd.DataFrame) -> np.ndarray:
    """Open time in the UTC day, as a point on the circle."""
    index = pd.DatetimeIndex(candles.index)
    return _on_circle((index.hour + index.minute / 60).to_numpy() / 24)


@_built_in("day_of_week", 0, ("day_of_week_sin", "day_of_week_cos"))
def _day_of_week(candles: pd.DataFrame) -> np.ndarray:
    """Day of the week (UTC), as a point on the circle."""
    return _on_circle(pd.DatetimeIndex(candles.index).day_of_week.to_numpy() / 7)
