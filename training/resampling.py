"""Intervals and paired tests of Sharpe ratios and drawdowns, with the luck of the seed; Hansen's test.

Sharpe ratios: the error of an estimate is that of the mean of its influence function (the delta method of Ledoit and
Wolf 2008), with the standard error and the degrees of freedom of `training.long_run`. Differences are paired: the
influences are subtracted bar by bar, so that common moves of the market cancel.

Drawdowns: 1,000 resamples of the bars (a stationary bootstrap, Politis and Romano 1994, with the block length of
Politis and White 2004), the same ones for all strategies.

The luck of the seed (`training.seed_luck`) widens all intervals of ensembles. docs/statistics.md has the measured
coverage.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.special import stdtr, stdtrit

from training.drawdowns import RESAMPLES, max_drawdowns, resampled_drawdowns
from training.long_run import cosine_coefficients, degrees_of_freedom, standard_error
from training.seed_luck import SeedLuck, between_seeds, drifts, seed_luck
from training.sharpe import FEWEST_BARS, LEVEL, SIGNIFICANT_PROBABILITY, sharpe_ratio

_SAME = 1e-9  # figures that differ by less, relative to their size, are the same but for rounding


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
        Strategies with the same name here trade the same networks, so they have the same luck of the seed.
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

    ``seed_error`` is the part of the Sharpe ratio's standard error (annualised) that comes from the luck of the seed;
    None if it is unknown, 0 without networks.
    """

    sharpe: Interval | None = None
    max_drawdown: Interval | None = None
    seed_error: float | None = None


@dataclass(frozen=True)
class Resamples:
    """Figures of some strategies over the same bars, and what their intervals need; made by `resample`.

    Attributes
    ----------
    total
        ``(n_bars, n_strategies)`` simple returns.
    sharpe
        ``(n_strategies,)``: annualised.
    influence
        ``(n_bars, n_strategies)``: the error of each annualised Sharpe ratio is that of the mean over the bars.
    varies
        Whether each strategy's returns vary.
    seeds
        One entry per strategy; None if the luck of the seed is not known.
    seed_errors
        Of each strategy, see `Uncertainty`.
    """

    total: np.ndarray
    sharpe: np.ndarray
    influence: np.ndarray
    varies: np.ndarray
    seeds: tuple[SeedLuck | None, ...]
    seed_errors: tuple[float | None, ...]

    def uncertainty(self, strategy: int = 0) -> Uncertainty:
        return Uncertainty(self.sharpe_interval(strategy), self.drawdown_interval(strategy), self.seed_errors[strategy])

    @cached_property
    def max_drawdown(self) -> np.ndarray:
        """``(n_strategies,)``: fractions, 0 or negative."""
        return max_drawdowns(self.total)

    @cached_property
    def max_drawdowns(self) -> np.ndarray:
        """Of each resample: ``(n_resamples, n_strategies)``; no rows if there are fewer than 20 bars."""
        if len(self.total) < FEWEST_BARS:
            return np.empty((0, self.total.shape[1]))
        return resampled_drawdowns(self.total, drifts(self.seeds))

    def sharpe_interval(self, strategy: int = 0) -> Interval | None:
        """Interval of the Sharpe ratio; None with fewer than 20 bars, or if the returns do not vary."""
        if len(self.influence) < FEWEST_BARS or not self.varies[strategy]:
            return None
        seeds = self.seeds[strategy]
        error, degrees = _error(self.influence[:, strategy], [seeds.of_sharpe] if seeds else [])
        margin = _quantile(degrees) * error
        return Interval(float(self.sharpe[strategy] - margin), float(self.sharpe[strategy] + margin))

    def drawdown_interval(self, strategy: int = 0) -> Interval | None:
        """Interval of the median of the maximum drawdown over so many bars; None as in `sharpe_interval`.

        It is the percentile interval of the resamples.
        """
        if not len(self.max_drawdowns) or not self.varies[strategy]:
            return None
        tail = (1 - LEVEL) / 2
        return Interval(*(float(end) for end in np.quantile(self.max_drawdowns[:, strategy], [tail, 1 - tail])))

    def sharpe_difference(self, one: int, other: int) -> Difference | None:
        """Paired test of two Sharpe ratios.

        None with fewer than 20 bars, if the returns of one do not vary, or if both have the same figures.
        """
        influence = self.influence[:, one] - self.influence[:, other]
        if len(influence) < FEWEST_BARS or not self.varies[[one, other]].all():
            return None
        if np.abs(influence).max() <= _SAME * np.abs(self.influence[:, one]).max():
            return None
        error, degrees = _error(influence, self._seeds_of_difference(one, other))
        difference = float(self.sharpe[one] - self.sharpe[other])
        margin = _quantile(degrees) * error
        p_value = float(2 * stdtr(degrees, -abs(difference) / error))
        return Difference(difference, difference - margin, difference + margin, p_value)

    def drawdown_difference(self, one: int, other: int) -> Difference | None:
        """Paired test of two maximum drawdowns, positive if the first is smaller; None as in `sharpe_difference`.

        The p value counts resamples whose difference is as far from their mean as the observed one is from 0: the
        largest fall over a resample is not centred on the observed one.
        """
        differences = self.max_drawdowns[:, one] - self.max_drawdowns[:, other]
        if not len(differences) or not self.varies[[one, other]].all() or not np.ptp(differences) > _SAME:
            return None
        difference = float(self.max_drawdown[one] - self.max_drawdown[other])
        distances = np.abs(differences - differences.mean())
        p_value = (1 + int(np.sum(distances >= abs(difference)))) / (1 + len(distances))
        margin = float(np.quantile(distances, LEVEL, method="higher"))  # so that interval and p value agree
        return Difference(difference, difference - margin, difference + margin, p_value)

    def _seeds_of_difference(self, one: int, other: int) -> list[np.ndarray]:
        """The effects for `_error`; the same draw moves both strategies if they trade the same networks."""
        seeds, others = self.seeds[one], self.seeds[other]
        if seeds and others and seeds.networks == others.networks:
            return [seeds.of_sharpe - others.of_sharpe]
        return [each.of_sharpe for each in (seeds, others) if each]


def resample(strategies: Sequence[Returns], bars_per_year: float) -> Resamples:
    """Figures of strategies over the same bars; the resamples have a fixed seed, and are drawn when they are needed."""
    total = np.stack([strategy.total for strategy in strategies], axis=1)
    scale = math.sqrt(bars_per_year)
    sharpe, varies = sharpe_ratio(total), np.ptp(total, axis=0) > 0
    deviation = np.where(varies, total.std(axis=0), 1)
    standardised = (total - total.mean(axis=0)) / deviation
    slopes = scale * (1 - sharpe * standardised) / deviation  # of the annualised Sharpe ratio in each bar's return
    seeds = tuple(
        seed_luck(one.members, one.drawn, slope, one.networks or f"#{number}")
        for number, (one, slope) in enumerate(zip(strategies, slopes.T, strict=True))
    )
    return Resamples(
        total=total,
        sharpe=sharpe * scale,
        influence=scale * (standardised - sharpe / 2 * (standardised**2 - 1)),
        varies=varies,
        seeds=seeds,
        seed_errors=tuple(
            0.0 if one.members is None else None if luck is None else math.sqrt(_variance(luck.of_sharpe))
            for one, luck in zip(strategies, seeds, strict=True)
        ),
    )


def _error(influence: np.ndarray, seeds: Sequence[np.ndarray]) -> tuple[float, float]:
    """Standard error from bars and independent ensembles, and its degrees of freedom (Satterthwaite 1946).

    ``seeds`` has `SeedLuck.of_sharpe` of each ensemble, or a difference of two.
    """
    variances = [float(standard_error(influence)) ** 2, *map(_variance, seeds)]
    degrees = [degrees_of_freedom(len(influence)), *(effects.shape[1] - 1 for effects in seeds)]
    total = sum(variances)
    spread = sum(variance**2 / free for variance, free in zip(variances, degrees, strict=True))
    return math.sqrt(total), total**2 / spread if spread > 0 else degrees[0]


def _variance(effects: np.ndarray) -> float:
    """Variance over seeds of `SeedLuck.of_sharpe`."""
    return max(float(between_seeds(effects[:, :, None]).item()), 0.0)


def _quantile(degrees: float) -> float:
    return float(stdtrit(degrees, SIGNIFICANT_PROBABILITY))


def superior_predictive_ability(strategies: Sequence[np.ndarray], reference: np.ndarray) -> float | None:
    """p value of "no strategy has a higher mean return than the reference", corrected for multiple tests.

    Hansen (2005), "A test for superior predictive ability": the largest t statistic, without the strategies that are
    clearly worse than the reference. If there is no difference, the cosine coefficients of `training.long_run` have the
    same distribution after any rotation of the coefficients, so the statistic is compared with 1,000 random rotations
    (Langsrud 2005, "Rotation tests"). On returns ``(n_bars,)`` over the same bars. None if no strategy differs from the
    reference, or with fewer than 20 bars.
    """
    differing = [returns - reference for returns in strategies if np.ptp(returns - reference) > 0]
    if not differing or len(reference) < FEWEST_BARS:
        return None
    coefficients = cosine_coefficients(np.stack(differing, axis=1))
    statistics = _t_statistics(coefficients[0], coefficients)
    largest = float(statistics.max())
    if largest <= 0:
        return 1.0
    kept = coefficients[:, statistics > -math.sqrt(2 * math.log(math.log(len(reference))))]
    directions = np.random.default_rng(0).standard_normal((RESAMPLES, len(kept)))
    directions /= np.sqrt(np.sum(directions**2, axis=1, keepdims=True))
    rotated = _t_statistics(np.einsum("ij,jk->ik", directions, kept), kept)
    return (1 + int(np.sum(rotated.max(axis=1) >= largest))) / (1 + RESAMPLES)


def _t_statistics(first: np.ndarray, coefficients: np.ndarray) -> np.ndarray:
    """t statistics of the first coefficients; the other ones have the rest of the sum of squares."""
    rest = np.sum(coefficients**2, axis=0) - first**2
    return first / np.sqrt(rest / (len(coefficients) - 1))
