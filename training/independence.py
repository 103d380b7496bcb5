"""How many independent trials a group of correlated ones counts as, and which trials repeat each other."""

from __future__ import annotations

import hashlib

import numpy as np

_PROJECTIONS = 4
_ROUNDED_TO = 1e-6
_MOST_POINTS = 4_000  # of a series that is kept
_STILL = 1e-12  # a deviation below this share of the mean is a rounding error


def independent_trials(correlation: float, trials: float) -> float:
    """Number of independent trials that ``trials`` with this mean ``correlation`` count as.

    Bailey and López de Prado (2014), "The deflated Sharpe ratio", appendix A.3: ``rho + (1 - rho) * M``. Equal trials
    count as one. Opposite ones count as more than they are, because the better of two opposite results is always above
    0: two with the correlation -1 count as three.
    """
    return correlation + (1 - correlation) * trials


class MeanCorrelation:
    """The mean correlation of all pairs of series, without the matrix of the pairs.

    The squared sum of series with mean 0 and variance 1 is the sum of the correlations of all pairs, times the number
    of bars. So the result is exact, and series can be added in parts.

    Parameters
    ----------
    n_bars
        Of each series.
    """

    def __init__(self, n_bars: int) -> None:
        self._sum = np.zeros(n_bars)
        self._series = self._varying = 0

    def add(self, returns: np.ndarray) -> None:
        """Add series ``(n_bars, n)``. A constant one has the correlation 0 with all others."""
        mean, spread = returns.mean(axis=0, dtype=float), returns.std(axis=0, dtype=float)
        varies = spread > _STILL * np.abs(mean)
        weights = np.divide(1, spread, out=np.zeros_like(spread), where=varies)
        self._sum += returns @ weights - mean @ weights
        self._series += len(spread)
        self._varying += int(varies.sum())

    @property
    def value(self) -> float:
        """0 with fewer than two series."""
        if self._series < 2:
            return 0.0
        pairs = self._sum @ self._sum / len(self._sum) - self._varying
        return float(pairs / (self._series * (self._series - 1)))


def few_points(returns: np.ndarray) -> np.ndarray:
    """One series ``(n_points,)`` of float32, to be kept for its correlation with others.

    It has the returns ``(n_bars,)`` of all bars or, with more than 4,000 bars, their sums over as few bars as give at
    most 4,000 points.
    """
    each = -(-len(returns) // _MOST_POINTS)
    return np.add.reduceat(returns, np.arange(0, len(returns), each)).astype(np.float32)


def return_hashes(returns: np.ndarray) -> list[str]:
    """A hash of each series of simple returns ``(n_bars, n)``: equal hashes are repetitions of one trial.

    Four projections of a series on fixed random vectors are rounded and hashed. If each return were rounded instead,
    one of thousands would always lie so close to a boundary that a rounding error of the machine changes the hash.
    """
    directions = np.random.RandomState(0).standard_normal((_PROJECTIONS, len(returns)))  # frozen in all NumPy versions
    rounded = np.rint(directions @ returns / _ROUNDED_TO).astype(np.int64).T
    prefix = len(returns).to_bytes(8, "little")
    return [hashlib.blake2b(prefix + row.tobytes(), digest_size=8).hexdigest() for row in rounded]
