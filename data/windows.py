"""Targets and samples of training, and windows of contiguous bars as views into the series."""

from __future__ import annotations

import numpy as np

from data.features import log_returns


def targets(close: np.ndarray) -> np.ndarray:
    """The log return to forecast at t's close, ``log(close[t+1] / close[t])``: ``(n_bars,)``; NaN at the last bar."""
    return np.append(log_returns(close)[1:], np.nan)


def windows(values: np.ndarray, length: int) -> np.ndarray:
    """All windows of contiguous bars as a read-only view.

    Parameters
    ----------
    values
        ``(n_bars, n_features)`` or ``(n_bars,)``, every bar of the series in order.
    length
        Bars in a window.

    Returns
    -------
    numpy.ndarray
        ``(n_bars - length + 1, length, n_features)`` (or without the last axis): entry ``i`` holds the bars
        ``i .. i + length - 1``, so the window that ends at bar t is entry ``t - length + 1``. Empty where the series
        is shorter than a window.
    """
    if len(values) < length:
        return np.empty((0, length, *values.shape[1:]), dtype=values.dtype)
    view = np.lib.stride_tricks.sliding_window_view(values, length, axis=0)
    return np.moveaxis(view, -1, 1)


def complete_windows(values: np.ndarray, length: int) -> np.ndarray:
    """Whether each bar ends a window of finite values: ``(n_bars,)`` for ``values`` ``(n_bars, n_features)``."""
    finite = np.isfinite(values).all(axis=1)
    complete = np.zeros(len(values), dtype=bool)
    complete[length - 1 :] = windows(finite, length).all(axis=1)
    return complete


def samples_of_regime(
    part: slice, regimes: np.ndarray, regime: float | None, complete: np.ndarray, target: np.ndarray
) -> np.ndarray:
    """The bars of one part of the series that train one expert.

    A sample is a bar t: its window is the ``length`` contiguous bars of the *whole* series that end at t, whatever
    their regimes, and only t itself must be in the regime. Filtering rows by regime first and windowing what is left
    would glue bars together that were weeks apart.

    Parameters
    ----------
    part
        Bars of the part. A bar whose target reaches past the part's end is not a sample of it.
    regimes
        ``(n_bars,)`` regime at each bar, NaN where unknown.
    regime
        The regime wanted; None takes every bar whose regime is known.
    complete
        ``(n_bars,)`` from `complete_windows`.
    target
        ``(n_bars,)`` from `targets`.

    Returns
    -------
    numpy.ndarray
        ``(n_samples,)`` bar numbers, ascending.
    """
    bars = np.arange(part.start, part.stop - 1)
    usable = complete[bars] & np.isfinite(target[bars])
    usable &= np.isfinite(regimes[bars]) if regime is None else regimes[bars] == regime
    return bars[usable]
