"""Chooses the bars that the checks recompute, and says what a sample excludes."""

from __future__ import annotations

import numpy as np
import pandas as pd

from data.features import log_returns

_CONFIDENCE = 0.95
_LAST = 10  # bars at the end
_MOST_GAPS = 10
_LARGEST_MOVES = 10
_MOST_CHOSEN = _LAST + 2 * _MOST_GAPS + 2 * _LARGEST_MOVES


def bars_in_order(candles: pd.DataFrame, lookback: int, seed: int) -> np.ndarray:
    """All bars with a lookback before them, in the order in which to recompute them: ``(n_bars - lookback,)``.

    First some at the end, at gaps and at the largest moves, where leaks are likely; then the others at random.
    """
    n_bars = len(candles)
    if lookback >= n_bars:
        return np.empty(0, dtype=int)
    before = gaps(candles)[-_MOST_GAPS:]
    moves = np.argsort(np.nan_to_num(np.abs(log_returns(candles["close"].to_numpy()))))[-_LARGEST_MOVES:]
    end = np.arange(max(0, n_bars - _LAST), n_bars)
    chosen = np.unique(np.concatenate([end, before, before + 1, moves, moves - 1]))
    chosen = chosen[chosen >= lookback]
    others = np.setdiff1d(np.arange(lookback, n_bars), chosen)
    return np.concatenate([chosen, np.random.default_rng(seed).permutation(others)])


def gaps(candles: pd.DataFrame) -> np.ndarray:
    """The bars before a gap."""
    step = np.diff(pd.DatetimeIndex(candles.index).asi8)
    return np.flatnonzero(step > np.median(step))


def excluded(recomputed: int) -> str:
    """The leak that the first bars of `bars_in_order` exclude, such as ``a leak at 1 bar in 334 (95 %)``."""
    drawn = max(1, recomputed - _MOST_CHOSEN)
    frequency = 1 - (1 - _CONFIDENCE) ** (1 / drawn)
    return f"a leak at 1 bar in {int(1 / frequency):,} ({100 * _CONFIDENCE:.0f} %)"
