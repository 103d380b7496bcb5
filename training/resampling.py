"""Bootstraps returns: intervals and paired tests of Sharpe ratios and drawdowns, with the luck of the seed.

Sharpe ratios and drawdowns of all strategies come from the same resamples of bars (a stationary bootstrap, Politis and
Romano 1994, with the block length of Politis and White 2004), so their differences are free of the noise of common
moves (Ledoit and Wolf 2008). With each resample, members are drawn, too: as many as the ensemble has, with replacement.
Their differences to the members' mean are added to the ensemble's returns, times sqrt(K / (K - 1)) for K members,
because the variance of a sample of K is too small by (K - 1) / K.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from training.sharpe import FEWEST_BARS, LEVEL, sharpe_ratio

_RESAMPLES = 1000


@dataclass(frozen=True)
class Returns:
    """Simple returns per bar of one strategy.

    Attributes
    ----------
    total
        ``(n_bars,)`` of the strategy.
    members
        ``(n_bars, n_members)`` of each member traded alone; None without networks. The luck of the seed needs two.
    drawn
        Number of members that the strategy consists of; None: all ``members``. Less if ``members`` are another
        ensemble's, from which the spread is borrowed.
    networks
        Strategies with the same name here trade the same networks, so their members are drawn together.
    """

    total: np.ndarray
    members: np.ndarray | None = None
    drawn: int | None = None
    networks: str | None = None

    @property
    def seed_luck_known(self) -> bool:
        return self.members is not None and self.members.shape[1] > 1


@dataclass(frozen=True)
class Interval:
    """Confidence interval at `LEVEL`."""

    low: float
    high: float


@dataclass(frozen=True)
class Difference:
    """The first figure minus the second, its interval, and the two-sided p value of no difference."""

    difference: float
    low: float
    high: float
    p_value: float


@dataclass(frozen=True)
class Uncertainty:
    """The intervals of a strategy's Sharpe ratio and maximum drawdown; None if there are none.

    ``seed_error`` is the standard deviation of the Sharpe ratio (annualised) from the luck of the seed alone, which the
    intervals include; None if it is unknown, 0 without networks.
    """

    sharpe: Interval | None = None
    max_drawdown: Interval | None = None
    seed_error: float | None = None


@dataclass(frozen=True)
class Resamples:
    """Figures of some strategies over the same bars, and over each resample; made by `resample`.

    Attributes
    ----------
    sharpe, max_drawdown
        ``(n_strategies,)``: annualised; and a fraction, 0 or negative.
    sharpes, max_drawdowns
        ``(n_resamples, n_strategies)``; no rows if there are fewer than 20 bars.
    varies
        Whether each strategy's returns vary.
    seed_errors
        Of each strategy, see `Uncertainty`.
    """

    sharpe: np.ndarray
    max_drawdown: np.ndarray
    sharpes: np.ndarray
    max_drawdowns: np.ndarray
    varies: np.ndarray
    seed_errors: tuple[float | None, ...]

    def uncertainty(self, strategy: int = 0) -> Uncertainty:
        return Uncertainty(self.sharpe_interval(strategy), self.drawdown_interval(strategy), self.seed_errors[strategy])

    def sharpe_interval(self, strategy: int = 0) -> Interval | None:
        """Percentile interval; None with fewer than 20 bars, or if the returns do not vary."""
        return self._interval(self.sharpes, strategy)

    def drawdown_interval(self, strategy: int = 0) -> Interval | None:
        """Percentile interval of the maximum drawdown over so many bars; None as in `sharpe_interval`."""
        return self._interval(self.max_drawdowns, strategy)

    def sharpe_difference(self, one: int, other: int) -> Difference | None:
        """Paired test of two Sharpe ratios (Ledoit and Wolf 2008).

        The p value counts resamples whose difference is as far from the observed one as that is from 0. None with fewer
        than 20 bars, if the returns of one do not vary, or if both have the same figures.
        """
        return self._difference(self.sharpe, self.sharpes, one, other, float(self.sharpe[one] - self.sharpe[other]))

    def drawdown_difference(self, one: int, other: int) -> Difference | None:
        """Paired test of two maximum drawdowns, positive if the first is smaller; None as in `sharpe_difference`.

        The largest fall over a resample is not centred on the observed one. So resamples count whose difference is as
        far from their mean as the observed one is from 0.
        """
        centre = float(np.mean(self.max_drawdowns[:, one] - self.max_drawdowns[:, other])) if len(self.sharpes) else 0.0
        return self._difference(self.max_drawdown, self.max_drawdowns, one, other, centre)

    def _interval(self, resampled: np.ndarray, strategy: int) -> Interval | None:
        if not len(resampled) or not self.varies[strategy]:
            return None
        tail = (1 - LEVEL) / 2
        return Interval(*(float(bound) for bound in np.quantile(resampled[:, strategy], [tail, 1 - tail])))

    def _difference(
        self, observed: np.ndarray, resampled: np.ndarray, one: int, other: int, centre: float
    ) -> Difference | None:
        differences = resampled[:, one] - resampled[:, other]
        if not len(resampled) or not self.varies[[one, other]].all() or not np.ptp(differences) > 0:
            return None
        difference, distances = float(observed[one] - observed[other]), np.abs(differences - centre)
        p_value = (1 + int(np.sum(distances >= abs(difference)))) / (1 + len(distances))
        margin = float(np.quantile(distances, LEVEL, method="higher"))  # so that interval and p value agree
        return Difference(difference, difference - margin, difference + margin, p_value)


def resample(strategies: Sequence[Returns], bars_per_year: float) -> Resamples:
    """Resample the returns of strategies over the same bars, 1,000 times with a fixed seed."""
    from arch.bootstrap import StationaryBootstrap

    total = np.stack([strategy.total for strategy in strategies], axis=1)
    sharpe, max_drawdown = sharpe_ratio(total), max_drawdowns(total)
    varies = np.ptp(total, axis=0) > 0
    scale = math.sqrt(bars_per_year)
    figures = np.empty((2, _RESAMPLES if len(total) >= FEWEST_BARS and varies.any() else 0, total.shape[1]))
    if figures.size:
        members = [strategy.members for strategy in strategies if strategy.members is not None]
        columns = np.column_stack([total, *members])
        bootstrap = StationaryBootstrap(_block_length(total), columns, seed=0)
        weights = _weights(strategies)
        for number, ((sample,), _) in enumerate(bootstrap.bootstrap(_RESAMPLES)):
            drawn = np.maximum(sample @ weights[number], -1)
            figures[0, number], figures[1, number] = sharpe_ratio(drawn) * scale, max_drawdowns(drawn)
    seed_errors = tuple(_seed_error(strategy, scale) for strategy in strategies)
    return Resamples(sharpe * scale, max_drawdown, figures[0], figures[1], varies, seed_errors)


def _seed_error(strategy: Returns, scale: float) -> float | None:
    """Standard deviation of the Sharpe ratio over draws of the members, at the bars as they were."""
    if strategy.members is None:
        return 0.0
    if not strategy.seed_luck_known:
        return None
    weights = _weights([strategy])[:, :, 0]
    columns = np.column_stack([strategy.total, strategy.members])
    means, covariance = columns.mean(axis=0), np.cov(columns, rowvar=False)
    spreads = np.sqrt(np.einsum("ri,ij,rj->r", weights, covariance, weights))
    drawn = np.divide(weights @ means, spreads, out=np.zeros(len(weights)), where=spreads > 0)
    return float(drawn.std(ddof=1)) * scale


def _weights(strategies: Sequence[Returns]) -> np.ndarray:
    """Weights ``(n_resamples, n_columns, n_strategies)`` of all totals and then all members in each resample."""
    random, n_strategies = np.random.default_rng(1), len(strategies)
    draws: dict[str, np.ndarray] = {}
    blocks = [np.broadcast_to(np.eye(n_strategies), (_RESAMPLES, n_strategies, n_strategies))]
    for position, strategy in enumerate(strategies):
        if strategy.members is None:
            continue
        n_members = strategy.members.shape[1]
        drawn = strategy.drawn or n_members
        name = f"{strategy.networks or position} {n_members} {drawn}"
        if name not in draws:
            counts = random.multinomial(drawn, np.full(n_members, 1 / n_members), size=_RESAMPLES)
            draws[name] = math.sqrt(n_members / max(n_members - 1, 1)) * (counts / drawn - 1 / n_members)
        block = np.zeros((_RESAMPLES, n_members, n_strategies))
        block[:, :, position] = draws[name]
        blocks.append(block)
    return np.concatenate(blocks, axis=1)


def max_drawdowns(returns: np.ndarray) -> np.ndarray:
    """Largest fall from a peak, 0 or negative, of each column of simple returns ``(n_bars, n_columns)``."""
    growth = np.cumprod(1 + returns, axis=0)
    peak = np.maximum(np.maximum.accumulate(growth, axis=0), 1)
    return np.min(growth / peak, axis=0) - 1


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


def _block_length(returns: np.ndarray) -> int:
    """Mean block length: the longest optimal one of all columns, and at least one bar."""
    from arch.bootstrap import optimal_block_length

    varying = returns[:, returns.std(axis=0) > 0]
    with np.errstate(all="ignore"):  # constant stretches give a correlation of 0 / 0
        wanted = optimal_block_length(varying)["stationary"].to_numpy()
    return math.ceil(np.clip(np.nan_to_num(wanted, posinf=0).max(), 1, math.sqrt(len(returns))))
