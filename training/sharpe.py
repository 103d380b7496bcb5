"""Sharpe ratios, and their deflation for the number of trials.

Sharpe ratios are of simple returns per bar with the risk-free rate 0: *per bar*, or *annualised* by
``sqrt(bars_per_year)`` in functions with this parameter.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr, ndtri

LEVEL = 0.95  # of all intervals; a Sharpe ratio is significantly different from 0 if its interval does not contain 0
SIGNIFICANT_PROBABILITY = (1 + LEVEL) / 2  # that a true ratio is above 0, if the lower end of its interval is 0
FEWEST_BARS = 20  # fewer are not enough to estimate the autocorrelation
FEWEST_TRADES = 30  # closed trades from which on the interval of a Sharpe ratio nearly keeps its level
OFTEN_IN_MARKET = 0.5  # share of bars with a position from which on any number of trades is enough


@dataclass(frozen=True)
class TrackRecord:
    """A Sharpe ratio with its interval at `LEVEL`, per bar, and its number of bars.

    The formulas of Bailey and López de Prado need a standard error. It is the distance from the ratio to the end of the
    interval, divided by the normal quantile of `LEVEL`; so all answers agree with the interval. For independent returns
    it is close to the paper's standard error; it takes autocorrelation into account, and the luck of the seed if the
    interval does. ``seed_error`` is the standard error from the seed alone, per bar.
    """

    sharpe: float
    low: float
    high: float
    bars: int
    seed_error: float = 0.0

    @property
    def significant(self) -> bool:
        """Whether the ratio is significantly different from 0: its interval does not contain 0."""
        return self.low > 0 or self.high < 0

    def probabilistic_sharpe(self, benchmark: float = 0.0) -> float:
        """Probability that the true Sharpe ratio exceeds ``benchmark`` (per bar).

        Bailey and López de Prado (2012), "The Sharpe ratio efficient frontier", eq. 11. Above `SIGNIFICANT_PROBABILITY`
        if the whole interval lies above the benchmark.
        """
        distance = self.sharpe - benchmark
        margin = self.sharpe - self.low if distance > 0 else self.high - self.sharpe
        if margin <= 0:  # intervals of runs of earlier versions may not contain the ratio
            return 0.5 + 0.5 * float(np.sign(distance))
        return float(ndtr(_quantile() * distance / margin))

    def deflated_sharpe(self, trials: float, variance: float) -> float:
        """Probability that the true Sharpe ratio is above zero, given that it is the best of ``trials``.

        Bailey and López de Prado (2014), "The deflated Sharpe ratio", eq. 2: the probabilistic Sharpe ratio with the
        expected best of so many trials without skill as benchmark.

        Parameters
        ----------
        trials
            Number of independent trials, which may be fractional.
        variance
            Of the trials' Sharpe ratios, per bar.
        """
        return self.probabilistic_sharpe(expected_best_sharpe(trials, variance))

    def minimum_length(self, benchmark: float = 0.0) -> float | None:
        """Bars after which the interval of a ratio of this size lies above ``benchmark`` (per bar).

        Bailey and López de Prado (2012), eq. 13: the part of the interval that comes from the bars shrinks with the
        root of their number. The luck of the seed does not shrink. None if the ratio does not exceed the benchmark, or
        not by more than the luck of the seed.
        """
        seed = (_quantile() * self.seed_error) ** 2
        distance = (self.sharpe - benchmark) ** 2 - seed
        if self.sharpe <= benchmark or distance <= 0:
            return None
        return self.bars * max((self.sharpe - self.low) ** 2 - seed, 0.0) / distance


def too_few_trades(trades: int, time_in_market: float) -> bool:
    """Whether the interval of a Sharpe ratio does not keep its level (docs/statistics.md).

    Parameters
    ----------
    trades
        Number of closed trades.
    time_in_market
        Share of bars with a position.
    """
    return trades < FEWEST_TRADES and time_in_market < OFTEN_IN_MARKET


def _quantile() -> float:
    """The standard errors from an estimate to an end of its interval at `LEVEL`: 1.96."""
    return float(ndtri(SIGNIFICANT_PROBABILITY))


def expected_best_sharpe(trials: float, variance: float) -> float:
    """Expected best Sharpe ratio of ``trials`` without skill, whose ratios have this ``variance``; 0 for one trial.

    Bailey and López de Prado (2014), eq. 1, which is an approximation for many trials. Between one and two it falls
    below 0. There the exact answer for two trials with the correlation ``2 - trials`` takes its place, because these
    count as so many (`training.independence.independent_trials`).

    Parameters
    ----------
    trials
        Number of independent trials, at least 1; may be fractional.
    variance
        The result has the unit of its square root.
    """
    euler = float(np.euler_gamma)
    quantiles = (1 - euler) * ndtri(1 - 1 / trials) + euler * ndtri(1 - 1 / (trials * math.e))
    of_two = math.sqrt((min(trials, 2) - 1) / math.pi)
    return math.sqrt(variance) * max(float(quantiles), of_two)


def sharpe_ratio(returns: np.ndarray) -> np.ndarray:
    """Sharpe ratio per bar of ``(n_bars,)`` or of each column of ``(n_bars, n_columns)``; 0 for constant returns."""
    spread = np.asarray(returns.std(axis=0, ddof=1))
    return np.divide(returns.mean(axis=0), spread, out=np.zeros_like(spread), where=spread > 0)
