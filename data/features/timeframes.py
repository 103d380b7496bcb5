"""Computes features on the bars of a higher timeframe, each used only once it has closed."""

from __future__ import annotations

import numpy as np
import pandas as pd

from data.errors import DataError
from data.features.definitions import Compute, Feature
from data.intervals import interval_of, interval_text

_MONDAY = pd.Timedelta(days=4)  # from 1 January 1970 to the first Monday


def computed_on(feature: Feature, timeframe: pd.Timedelta) -> Compute:
    """A feature's function on bars of the timeframe: at each candle, the value at the last of them that has closed.

    The bars begin at multiples of the timeframe in UTC, weeks on Mondays. A bar is closed at a candle that ends where
    the bar ends, or after it. The first bar is left out, because earlier candles of it may be missing.
    """

    def compute(candles: pd.DataFrame) -> np.ndarray:
        index = pd.DatetimeIndex(candles.index).as_unit("us")
        interval = interval_of(index)
        ratio = timeframe / interval
        if ratio < 2 or ratio != int(ratio):
            raise DataError(
                f"a timeframe of {interval_text(timeframe)} is not a multiple of the candles' interval of "
                f"{interval_text(interval)}."
            )
        opened = index.tz_convert("UTC").asi8 if index.tz is not None else index.asi8
        length = timeframe // pd.Timedelta(microseconds=1)
        origin = _MONDAY // pd.Timedelta(microseconds=1) if length % (7 * 86_400_000_000) == 0 else 0
        slot = (opened - origin) // length
        first = np.flatnonzero(np.append(True, np.diff(slot) != 0))
        number = np.cumsum(np.append(True, np.diff(slot) != 0)) - 1  # of each candle's bar
        values = np.full((len(first), len(feature.columns)), np.nan)
        if len(first) - 1 > feature.lookback:
            bars = _bars(candles, first, slot, length, origin).iloc[1:]
            computed = np.asarray(feature.compute(bars), dtype=float).reshape(len(bars), -1)
            values[1 + feature.lookback :] = computed[feature.lookback :]
        closes = opened + interval // pd.Timedelta(microseconds=1)
        closed = closes >= (slot + 1) * length + origin
        last = np.where(closed, number, number - 1)
        return np.where((last >= 0)[:, None], values[np.maximum(last, 0)], np.nan)

    return compute


def _bars(candles: pd.DataFrame, first: np.ndarray, slot: np.ndarray, length: int, origin: int) -> pd.DataFrame:
    """The bars that begin at the candles ``first``; their further columns are the last candle's."""
    last = np.append(first[1:], len(candles)) - 1
    bars = candles.iloc[last].copy()
    bars["open"] = candles["open"].to_numpy()[first]
    bars["high"] = np.maximum.reduceat(candles["high"].to_numpy(), first)
    bars["low"] = np.minimum.reduceat(candles["low"].to_numpy(), first)
    bars["volume"] = np.add.reduceat(candles["volume"].to_numpy(dtype=float), first)
    opened = (slot[first] * length + origin).astype("M8[us]")
    return bars.set_axis(pd.DatetimeIndex(opened, tz="UTC", name="timestamp"))
