"""Adapts the intervals of predictive densities to how often earlier ones held.

Adaptive conformal inference (Gibbs and Candès 2021, "Adaptive conformal inference under distribution shift"), begun
anew at each bar over the last `MEMORY` forecasts, so that batch, stream and a cut series agree.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from models.student import StudentMixture

INTERVALS = (0.5, 0.8, 0.95)  # shares of the returns that the intervals are to hold
MEMORY = 250  # forecasts that a bar's intervals depend on
_RATE = 0.01  # twice that of the paper, whose recursion does not begin anew
_NARROWEST, _WIDEST = 0.01, 0.999


def deviations(forecast: StudentMixture, log_return: np.ndarray | float) -> np.ndarray:
    """How far outcomes ``(...)`` lie from the densities' medians: the smallest central interval that holds each."""
    return np.abs(2 * forecast.cdf(log_return) - 1)


def central_intervals(forecast: StudentMixture, levels: np.ndarray) -> np.ndarray:
    """Lowest and highest log return of central intervals: ``(..., n_levels, 2)`` by levels ``(..., n_levels)``."""
    ends = np.stack([(1 - levels) / 2, (1 + levels) / 2], axis=-1)
    return forecast.quantiles(ends.reshape(*levels.shape[:-1], -1)).reshape(ends.shape)


def adapted_level(earlier: Iterable[Any], share: float) -> Any:
    """The nominal level of an interval that is to hold a share of the returns.

    Parameters
    ----------
    earlier
        `deviations` of the last `MEMORY` forecasts, oldest first, NaN for none: numbers, or arrays of one per bar.
    """
    level: Any = share
    for deviation in earlier:
        known = deviation == deviation  # not NaN
        level = level + _RATE * known * ((deviation > level) - (1 - share))
    return np.clip(level, _NARROWEST, _WIDEST)


def adapted_levels(forecasts: StudentMixture, log_return: np.ndarray) -> np.ndarray:
    """The levels at each bar's close, ``(n_bars, n_levels)``, for `INTERVALS`.

    Parameters
    ----------
    forecasts
        One density per bar ``(n_bars,)``, of the next bar's log return; NaN where unknown.
    log_return
        Each bar's own log return ``(n_bars,)``.
    """
    n_bars = len(log_return)
    known = np.full(MEMORY + n_bars, np.nan)
    known[MEMORY + 1 :] = deviations(forecasts[: n_bars - 1], log_return[1:])
    windows = [known[first : first + n_bars] for first in range(1, MEMORY + 1)]
    return np.column_stack([adapted_level(windows, share) for share in INTERVALS])
