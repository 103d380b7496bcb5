"""Intervals of Sharpe ratios, their deflation for the number of trials, and tests of their differences.

Sharpe ratios are of simple returns per bar with the risk-free rate 0: *per bar*, or *annualised* by
``sqrt(bars_per_year)`` in functions with this parameter.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

LEVEL = 0.95
_RESAMPLES = 1000
FEWEST_BARS = 20  # fewer are not enough to estimate the autocorrelation


@dataclass(frozen=True)
class Interval:
    """Confidence interval at `LEVEL`."""

    low: float
    high: float


@dataclass(frozen=True)
class SharpeDifference:
    """The first Sharpe ratio minus the second, annualised, its interval, and the two-sided p value of no difference."""

    difference: float
    low: float
    high: float
    p_value: float


@dataclass(frozen=True)
class TrackRecord:
    """Sample statistics of a series of returns, for the formulas of Bailey and López de Prado.

    Attributes
    ----------
    sharpe
        Per bar.
    bars
        Length of the series.
    skewness, kurtosis
        Of the returns; a normal distribution's are 0 and 3.
    """

    sharpe: float
    bars: int
    skewness: float = 0.0
    kurtosis: float = 3.0

    @classmethod
    def of(cls, returns: np.ndarray) -> TrackRecord | None:
        """The record of ``(n_bars,)`` returns; None if they do not vary."""
        from scipy.stats import kurtosis, skew

        if len(returns) < 3 or not returns.std() > 0:
            return None
        return cls(
            float(sharpe_ratio(returns)), len(returns), float(skew(returns)), float(kurtosis(returns, fisher=False))
        )

    def probabilistic_sharpe(self, benchmark: float = 0.0) -> float:
        """Probability that the true Sharpe ratio exceeds ``benchmark`` (per bar).

        Bailey and López de Prado (2012), "The Sharpe ratio efficient frontier", eq. 11.
        """
        from scipy.stats import norm

        return float(norm.cdf((self.sharpe - benchmark) * math.sqrt(self.bars - 1) / math.sqrt(self._variance())))

    def deflated_sharpe(self, trials: int, variance: float) -> float:
        """Probability that the true Sharpe ratio is above zero, given that it is the best of ``trials``.

        Bailey and López de Prado (2014), "The deflated Sharpe ratio", eq. 2: the probabilistic Sharpe ratio with the
        expected best of so many trials without skill as benchmark.

        Parameters
        ----------
        trials
            Number of independent trials; if trials are correlated, the result is conservative.
        variance
            Of the trials' Sharpe ratios, per bar.
        """
        return self.probabilistic_sharpe(expected_best_sharpe(trials, variance))

    def minimum_length(self, benchmark: float = 0.0) -> float | None:
        """Bars needed for a Sharpe ratio significantly above ``benchmark`` (per bar) at `LEVEL`.

        Bailey and López de Prado (2012), eq. 13; None if the ratio does not exceed the benchmark.
        """
        from scipy.stats import norm

        if self.sharpe <= benchmark:
            return None
        return 1 + self._variance() * (float(norm.ppf(LEVEL)) / (self.sharpe - benchmark)) ** 2

    def _variance(self) -> float:
        """Variance of the estimate times the number of bars (Mertens 2002); > 0 as kurtosis >= 1 + skewness^2."""
        return 1 - self.skewness * self.sharpe + (self.kurtosis - 1) / 4 * self.sharpe**2


def expected_best_sharpe(trials: int, variance: float) -> float:
    """Expected best Sharpe ratio of ``trials`` without skill (Bailey and López de Prado 2014, eq. 1); 0 for one trial.

    ``variance`` is that of the trials' ratios; the result has the unit of its square root.
    """
    from scipy.stats import norm

    if trials < 2:
        return 0.0
    euler = float(np.euler_gamma)
    quantiles = (1 - euler) * norm.ppf(1 - 1 / trials) + euler * norm.ppf(1 - 1 / (trials * math.e))
    return float(math.sqrt(variance) * quantiles)


def sharpe_interval(returns: np.ndarray, bars_per_year: float) -> Interval | None:
    """Annualised interval of the Sharpe ratio of ``(n_bars,)`` returns; None if they are fewer than 20 or do not vary.

    Percentiles of a stationary bootstrap (Politis and Romano 1994) with the block length of Politis and White (2004),
    which takes autocorrelation into account.
    """
    if len(returns) < FEWEST_BARS or not returns.std() > 0:
        return None
    resampled = _resampled_sharpes(returns[:, None])[:, 0] * math.sqrt(bars_per_year)
    tail = (1 - LEVEL) / 2
    return Interval(*(float(bound) for bound in np.quantile(resampled, [tail, 1 - tail])))


def sharpe_difference(returns: np.ndarray, reference: np.ndarray, bars_per_year: float) -> SharpeDifference | None:
    """Paired test of the difference of two Sharpe ratios, of returns ``(n_bars,)`` over the same bars.

    Both series are resampled by the same blocks of bars, which removes the noise of common moves (Ledoit and Wolf 2008,
    with the blocks of a stationary bootstrap). The p value counts resamples whose difference is as far from the
    observed one as that is from 0. None if a series does not vary, both are equal, or there are fewer than 20 bars.
    """
    pair = np.stack([returns, reference], axis=1)
    if len(pair) < FEWEST_BARS or not (pair.std(axis=0) > 0).all() or np.array_equal(returns, reference):
        return None
    scale = math.sqrt(bars_per_year)
    difference = float(np.subtract(*sharpe_ratio(pair))) * scale
    resampled = np.subtract(*_resampled_sharpes(pair).T) * scale
    as_far = int(np.sum(np.abs(resampled - difference) >= abs(difference)))
    tail = (1 - LEVEL) / 2
    low, high = np.quantile(resampled, [tail, 1 - tail])
    return SharpeDifference(difference, float(low), float(high), (1 + as_far) / (1 + len(resampled)))


def superior_predictive_ability(strategies: Sequence[np.ndarray], reference: np.ndarray) -> float | None:
    """p value of "no strategy has a higher mean return than the reference", corrected for multiple tests.

    Hansen (2005), "A test for superior predictive ability", consistent variant, on returns ``(n_bars,)`` over the same
    bars. None if no strategy differs from the reference, or with fewer than 20 bars.
    """
    from arch.bootstrap import SPA

    differing = [returns for returns in strategies if np.ptp(returns - reference) > 0]
    if not differing or len(reference) < FEWEST_BARS:
        return None
    losses = pd.DataFrame(-np.stack(differing, axis=1))
    test = SPA(-reference, losses, block_size=_block_length(losses.to_numpy()), reps=_RESAMPLES, seed=0)
    test.compute()
    return float(test.pvalues["consistent"])


def sharpe_ratio(returns: np.ndarray) -> np.ndarray:
    """Sharpe ratio per bar of ``(n_bars,)`` or of each column of ``(n_bars, n_columns)``; 0 for constant returns."""
    spread = np.asarray(returns.std(axis=0, ddof=1))
    return np.divide(returns.mean(axis=0), spread, out=np.zeros_like(spread), where=spread > 0)


def _resampled_sharpes(returns: np.ndarray) -> np.ndarray:
    """Sharpe ratios per bar ``(n_resamples, n_columns)``; the seed is fixed."""
    from arch.bootstrap import StationaryBootstrap

    return StationaryBootstrap(_block_length(returns), returns, seed=0).apply(sharpe_ratio, _RESAMPLES)


def _block_length(returns: np.ndarray) -> int:
    """Mean block length: the longest optimal one of all columns, and at least one bar."""
    from arch.bootstrap import optimal_block_length

    varying = returns[:, returns.std(axis=0) > 0]
    with np.errstate(all="ignore"):  # constant stretches give a correlation of 0 / 0
        wanted = optimal_block_length(varying)["stationary"].to_numpy()
    return math.ceil(np.clip(np.nan_to_num(wanted, posinf=0).max(), 1, math.sqrt(len(returns))))
