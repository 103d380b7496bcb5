"""Maximum drawdowns of returns, and of resamples of their bars.

The resamples are those of a stationary bootstrap (Politis and Romano 1994) with the block length of Politis and White
(2004).
"""

from __future__ import annotations

import math

import numpy as np

from data.compiled import compiled
from data.windows import windows

RESAMPLES = 1000
INTERVAL_NOTE = (
    "The interval of a maximum drawdown contains the median over as many bars. The next drawdown is outside it in "
    "about one of seven cases, and up to one of four if volatility comes in clusters."
)


def max_drawdowns(returns: np.ndarray) -> np.ndarray:
    """Largest fall from a peak, 0 or negative, of each column of simple returns ``(n_bars, n_columns)``."""
    growth = np.cumprod(1 + returns, axis=0)
    peak = np.maximum(np.maximum.accumulate(growth, axis=0), 1)
    return np.min(growth / peak, axis=0) - 1


def resampled_drawdowns(returns: np.ndarray, drifts: np.ndarray) -> np.ndarray:
    """Maximum drawdowns of resamples of the bars, drawn with a fixed seed, the same bars for all strategies.

    Parameters
    ----------
    returns
        Simple returns ``(n_bars, n_strategies)``.
    drifts
        ``(n_resamples, n_strategies)``, added to the return of each bar.

    Returns
    -------
    numpy.ndarray
        ``(n_resamples, n_strategies)``.
    """
    drawdowns = np.zeros_like(drifts)
    bars = np.ascontiguousarray(1 + returns)
    compiled(_draw_drawdowns)(bars, drifts, 1 / _block_length(returns), np.random.default_rng(0), drawdowns)
    return drawdowns


def _draw_drawdowns(
    factors: np.ndarray, drifts: np.ndarray, restart: float, random: np.random.Generator, drawdowns: np.ndarray
) -> None:
    """Write the maximum drawdown of each resample; ``factors`` of growth are ``(n_bars, n_strategies)``.

    At each bar a new block begins with the probability ``restart``.
    """
    n_bars, n_strategies = factors.shape
    growth, peak, lowest = np.empty((3, n_strategies))
    for resample in range(len(drifts)):
        growth[:], peak[:], lowest[:] = 1.0, 1.0, 0.0
        drift, row = drifts[resample], 0
        for bar in range(n_bars):
            row = 0 if row == n_bars - 1 else row + 1
            if bar == 0 or random.random() < restart:
                row = int(random.random() * n_bars)
            for strategy in range(n_strategies):
                now = growth[strategy] * max(factors[row, strategy] + drift[strategy], 0.0)
                high = max(peak[strategy], now)
                growth[strategy], peak[strategy] = now, high
                lowest[strategy] = min(lowest[strategy], now / high - 1)
        drawdowns[resample] = lowest


def _block_length(returns: np.ndarray) -> float:
    """Mean block length: the longest optimal one of all columns, from 1 to the root of the number of bars."""
    varying = returns[:, np.ptp(returns, axis=0) > 0]
    longest = max(map(optimal_block_length, varying.T), default=1.0)
    return float(np.clip(longest, 1, math.sqrt(len(returns))))


def optimal_block_length(returns: np.ndarray) -> float:
    """Block length of the stationary bootstrap of returns ``(n_bars,)``, which must vary.

    Politis and White (2004), "Automatic block-length selection for the dependent bootstrap", sections 3.2 and 3.3, with
    the correction of Patton, Politis and White (2009). The package ``arch`` has it, too, but takes a second to import.
    """
    n_bars = len(returns)
    deviation = returns - returns.mean()
    in_a_row = max(5, int(math.log10(n_bars)))  # lags whose correlation must be insignificant
    lags = np.arange(math.ceil(math.sqrt(n_bars)) + in_a_row + 1)
    products = np.array([deviation[lag:] @ deviation[: n_bars - lag] for lag in lags])
    squares = np.cumsum(deviation**2)
    scale = np.sqrt((squares[-1] - squares[lags]) * squares[n_bars - lags - 2])
    insignificant = np.abs(products) < 2 * math.sqrt(math.log10(n_bars) / n_bars) * scale
    first = np.flatnonzero(windows(insignificant[:-1], in_a_row).all(axis=1))
    most = min(2 * max(int(first[0]), 1), lags[-1]) if len(first) else lags[-1]
    weights = np.clip(2 - 2 * lags / most, 0, 1)  # a flat-top window
    weights[0] = 0.5  # lag 0 counts once
    variance, slope = 2 * np.sum(weights * products), 2 * np.sum(weights * lags * products)
    return float(((slope / variance) ** 2 * n_bars) ** (1 / 3)) if variance else 1.0
