"""Targets, training samples, and windows of contiguous bars."""

from __future__ import annotations

import numpy as np

from data.features import log_returns


def targets(close: np.ndarray) -> np.ndarray:
    """Next log returns, ``log(close[t+1] / close[t])`` at bar t: ``(n_bars,)``, NaN at the last bar."""
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


def samples_of_regime(
    part: slice, regimes: np.ndarray, regime: float | None, complete: np.ndarray, target: np.ndarray
) -> np.ndarray:
    """The samples of one part of the series for one expert.

    A sample is a bar t in the regime. Its window is contiguous in the *whole* series, whatever the regimes of the
    earlier bars. Selecting a regime's rows first and then windowing them would join bars that are weeks apart.

    Parameters
    ----------
    part
        Bars of the part. A bar whose target reaches past the part's end is not a sample of it.
    regimes
        ``(n_bars,)`` regime at each bar, NaN where unknown.
    regime
        The expert's regime; None for every bar whose regime is known.
    complete
        ``(n_bars,)``, true where a bar's window is complete and finite (`models.network.Passes.complete`).
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
