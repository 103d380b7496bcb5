"""What built-in features read of candles, as arrays."""

from __future__ import annotations

from functools import cached_property

import numpy as np
import pandas as pd


def log_returns(close: np.ndarray) -> np.ndarray:
    """``log(close[t] / close[t-1])``, shape ``(n_bars,)``; NaN at the first bar."""
    returns = np.full(len(close), np.nan)
    returns[1:] = np.log(close[1:] / close[:-1])
    return returns


class CandleArrays:
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


def column(candles: pd.DataFrame, name: str) -> np.ndarray:
    return np.asarray(candles[name], dtype=float)


def close_returns(candles: pd.DataFrame) -> np.ndarray:
    """`log_returns` of the close; of `CandleArrays` computed once for all features."""
    return candles.log_returns if isinstance(candles, CandleArrays) else log_returns(column(candles, "close"))
