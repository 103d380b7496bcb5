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

LEVEL = 0.95  # of all intervals; a Sharpe ratio is significantly different from 0 if its interval does not contain 0
SIGNIFICANT_PROBABILITY = (1 + LEVEL) / 2  # that a true ratio is above 0, if the lower end of its interval is 0
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
    """A Sharpe ratio with its interval at `LEVEL`, per bar, and its number of bars.

    The formulas of Bailey and López de Prado need a standard error. It is the distance from the ratio to the end of the
    interval, divided by the normal quantile of `LEVEL`; so all answers agree with the interval. For independent returns
    it is close to the paper's standard error; if returns are autocorrelated, it takes this into account.
    """

    sharpe: float
    low: float
    high: float
    bars: int

    @property
    def significant(self) -> bool:
        """Whether the ratio is significantly different from 0: its interval does not contain 0."""
        return self.low > 0 or self.high < 0

    def probabilistic_sharpe(self, benchmark: float = 0.0) -> float:
        """Probability that the true Sharpe ratio exceeds ``benchmark`` (per bar).

        Bailey and López de Prado (2012), "The Sharpe ratio efficient frontier", eq. 11. Above `SIGNIFICANT_PROBABILITY`
        if the whole interval lies above the benchmark.
        """
        from scipy.stats import norm

        distance = self.sharpe - benchmark
        margin = self.sharpe - self.low if distance > 0 else self.high - self.sharpe
        if margin <= 0:  # all resamples lie on one side of the ratio
            return 0.5 + 0.5 * float(np.sign(distance))
        return float(norm.cdf(_quantile() * distance / margin))

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
        """Bars after which the interval of a ratio of this size lies above ``benchmark`` (per bar).

        Bailey and López de Prado (2012), eq. 13: the interval shrinks with the root of the number of bars. None if the
        ratio does not exceed the benchmark.
        """
        if self.sharpe <= benchmark:
            return None
        return self.bars * (max(self.sharpe - self.low, 0.0) / (self.sharpe - benchmark)) ** 2


def _quantile() -> float:
    """The standard errors from an estimate to an end of its interval at `LEVEL`: 1.96."""
    from scipy.stats import norm

    return float(norm.ppf(SIGNIFICANT_PROBABILITY))


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
    observed one as that is from 0. The interval is symmetric, and contains 0 unless the p value is below 1 - `LEVEL`.
    None if a series does not vary, both are equal, or there are fewer than 20 bars.
    """
    pair = np.stack([returns, reference], axis=1)
    if len(pair) < FEWEST_BARS or not (pair.std(axis=0) > 0).all() or np.array_equal(returns, reference):
        return None
    scale = math.sqrt(bars_per_year)
    difference = float(np.subtract(*sharpe_ratio(pair))) * scale
    resampled = np.subtract(*_resampled_sharpes(pair).T) * scale
    distances = np.abs(resampled - difference)
    p_value = (1 + int(np.sum(distances >= abs(difference)))) / (1 + len(distances))
    margin = float(np.quantile(distances, LEVEL, method="higher"))  # so that interval and p value agree
    return SharpeDifference(difference, difference - margin, difference + margin, p_value)


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
