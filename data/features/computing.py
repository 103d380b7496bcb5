"""Computes features from candles."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import numpy as np
import pandas as pd

from data.candles import OHLCV
from data.errors import DataError, did_you_mean, listed
from data.features.candle_arrays import CandleArrays
from data.features.definitions import FEATURES, Feature
from data.features.grammar import parsed
from data.intervals import interval_of


def find_feature(name: str, candles: pd.DataFrame) -> Feature:
    """The registered feature of that name, or the candles' own column of that name (lookback 0)."""
    if name in FEATURES:
        return FEATURES[name]
    if name in candles:
        return Feature(name, 0, (name,), lambda frame: frame[name].to_numpy(dtype=float))
    parsed(name)  # raises for an expression, with the reason
    own = [str(column) for column in candles if column not in OHLCV]
    raise DataError(
        f"feature {name!r} is neither built in ({', '.join(FEATURES)}) nor a column of the candles "
        f"({listed(own) or 'no further columns'}).{did_you_mean(name, [*FEATURES, *own])}"
    )


def lookback_of(names: Sequence[str], interval: pd.Timedelta) -> int:
    """The largest lookback of these features, in bars of this interval; 0 for a column of the candles."""
    return max((FEATURES[name].bars_back(interval) for name in names if name in FEATURES), default=0)


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
    arrays, n_bars = cast("pd.DataFrame", CandleArrays(candles)), len(candles)
    found = [find_feature(name, candles) for name in names]
    interval = interval_of(pd.DatetimeIndex(candles.index)) if any(one.timeframe for one in found) else None
    for one in found:
        source = arrays if one.built_in else candles
        values = np.full((n_bars, len(one.columns)), np.nan)
        first = one.bars_back(interval) if interval is not None else one.lookback
        if n_bars > first:
            computed = np.asarray(one.compute(source), dtype=float).reshape(values.shape)
            values[first:] = computed[first:]
        table.update(zip(one.columns, values.T, strict=True))
    return table
