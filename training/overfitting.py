"""Probability of backtest overfitting, and combinatorial purged cross-validation, of many trading settings.

Both are computed from sums of the simple returns per bar of every setting that was tried (`ReturnSums`), so that the
returns of all settings need not be in memory at once. Leaving out bad settings biases the results. Sharpe ratios are
*per bar*, with the risk-free rate 0.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise
from typing import Self

import numpy as np

from data.errors import DataError, SettingsError

MOST_BLOCKS = 20  # 184,756 combinations
MOST_SPLITS = 1_000
FEWEST_BARS = 5  # of a block or group, and of the training bars of a split
_TIE = 1e-12  # smaller differences of Sharpe ratios per bar are rounding errors
_STILL = 1e-12  # a variance below this share of the squared returns is a rounding error
_CHUNK = 1 << 18  # Sharpe ratios held at once


@dataclass(frozen=True, eq=False)
class Overfitting:
    """Out-of-sample performance of the in-sample best setting, for every split of the blocks into two halves.

    Combinations are in the order of `itertools.combinations` over the in-sample blocks; the n-th from the start and the
    n-th from the end swap the same two halves.

    Attributes
    ----------
    probability
        Share of combinations whose in-sample best ranks at or below the median out of sample (logit <= 0).
    logits
        ``(n_combinations,)``; ``log(rank / (n_settings + 1 - rank))`` of the in-sample best's rank out of sample, where
        1 is the worst. Ties share the mean of their ranks: if all settings are equal, every logit is 0.
    in_sample, out_of_sample
        ``(n_combinations,)`` Sharpe ratio per bar of the in-sample best on either half.
    slope
        Of the regression of `out_of_sample` on `in_sample` ("performance degradation"); None if the latter is constant.
    probability_of_loss
        Share of combinations with `out_of_sample` below 0.
    """

    probability: float
    logits: np.ndarray
    in_sample: np.ndarray
    out_of_sample: np.ndarray
    slope: float | None
    probability_of_loss: float


@dataclass(frozen=True, eq=False)
class CrossValidated:
    """Backtests over all bars, in which each group of bars is traded by the setting that was best on other groups.

    Attributes
    ----------
    paths
        ``(n_paths, n_bars)`` simple returns per bar.
    sharpe
        ``(n_paths,)`` of each path, per bar.
    chosen
        ``(n_splits,)`` index of the setting that each split chose.
    test_groups
        ``(n_splits, n_test_groups)`` ascending indices of each split's test groups.
    path_splits
        ``(n_paths, n_groups)`` split of each group of a path; ``chosen[path_splits]`` are the settings that trade.
    bounds
        ``(n_groups + 1,)`` group ``g`` has the bars ``bounds[g]`` to ``bounds[g + 1] - 1``.
    times_chosen
        ``(n_settings,)`` number of splits that chose each setting.
    """

    paths: np.ndarray
    sharpe: np.ndarray
    chosen: np.ndarray
    test_groups: np.ndarray
    path_splits: np.ndarray
    bounds: np.ndarray
    times_chosen: np.ndarray

    def most_chosen(self, count: int) -> list[int]:
        """The settings that most splits chose, by index; not more than ``count``, and none that no split chose."""
        order = np.argsort(-self.times_chosen, kind="stable")[:count]
        return [int(setting) for setting in order if self.times_chosen[setting]]


def block_bounds(n_bars: int, blocks: int) -> np.ndarray:
    """Bounds ``(blocks + 1,)`` of consecutive blocks of bars, whose lengths differ by one bar at most.

    Raises
    ------
    SettingsError
        ``blocks`` is odd or outside 2 to `MOST_BLOCKS`.
    DataError
        Fewer than `FEWEST_BARS` bars per block.
    """
    if blocks % 2 or not 2 <= blocks <= MOST_BLOCKS:
        raise SettingsError(f"blocks = {blocks}: take an even number from 2 to {MOST_BLOCKS}, 16 for instance")
    return _bounds(n_bars, blocks, "blocks")


def probability_of_overfitting(parts: ReturnSums) -> Overfitting:
    """Probability of backtest overfitting, by combinatorially symmetric cross-validation.

    Bailey, Borwein, López de Prado and Zhu (2017), "The probability of backtest overfitting". If several settings tie
    for the best in-sample, the worst of them out of sample counts.

    All combinations halve the same bars, so they are not independent, and a setting above its average in one half is
    below it in the other. Without skill, the probability is 0.5 on average over many tables, but varies between tables
    (standard deviation 0.2 with 20 independent settings), and the slope is negative. With settings that are equally
    good over all bars it is near 1. A high probability means that the best setting is not distinguishable from the
    others, not that it loses.

    Parameters
    ----------
    parts
        Of all settings, over the blocks of `block_bounds`; half of them are in-sample.

    Raises
    ------
    DataError
        Fewer than two settings.
    """
    blocks, n_settings = len(parts.bars), _number_of_settings(parts)
    inside = np.zeros((math.comb(blocks, blocks // 2), blocks), dtype=bool)
    np.put_along_axis(inside, np.array(list(combinations(range(blocks), blocks // 2))), True, axis=1)
    ranks, in_sample, out_of_sample = np.empty((3, len(inside)))
    rows = max(1, _CHUNK // n_settings)
    for start in range(0, len(inside) // 2, rows):  # the second half of the combinations mirrors the first
        forward = np.arange(start, min(start + rows, len(inside) // 2))
        first, second = parts.sharpe(inside[forward]), parts.sharpe(~inside[forward])
        for here, seen, unseen in ((forward, first, second), (len(inside) - 1 - forward, second, first)):
            tied = seen >= seen.max(axis=1, keepdims=True) - _TIE
            best = np.where(tied, unseen, np.inf).argmin(axis=1)[:, None]
            chosen = np.take_along_axis(unseen, best, axis=1)
            below, up_to = (unseen < chosen - _TIE).sum(axis=1), (unseen <= chosen + _TIE).sum(axis=1)
            ranks[here] = (below + 1 + up_to) / 2
            in_sample[here], out_of_sample[here] = np.take_along_axis(seen, best, axis=1)[:, 0], chosen[:, 0]
    logits = np.log(ranks / (n_settings + 1 - ranks))
    slope = None
    if np.ptp(in_sample) > _TIE:
        centred = in_sample - in_sample.mean()
        slope = float(centred @ out_of_sample / (centred @ centred))
    return Overfitting(
        float(np.mean(logits <= 0)), logits, in_sample, out_of_sample, slope, float(np.mean(out_of_sample < 0))
    )


@dataclass(frozen=True, eq=False)
class Splits:
    """The splits of combinatorial purged cross-validation.

    Attributes
    ----------
    bounds
        ``(n_groups + 1,)`` group ``g`` has the bars ``bounds[g]`` to ``bounds[g + 1] - 1``.
    test_groups
        ``(n_splits, n_test_groups)`` ascending indices.
    training
        ``(n_splits, n_parts)`` which parts of the bars each split chooses on.
    part_bounds
        ``(n_parts + 1,)``
    """

    bounds: np.ndarray
    test_groups: np.ndarray
    training: np.ndarray
    part_bounds: np.ndarray

    @classmethod
    def of(cls, n_bars: int, groups: int = 10, test_groups: int = 2, embargo: int = 1) -> Self:
        """All splits of the bars.

        Parameters
        ----------
        groups, test_groups
            Number of consecutive groups of bars, equally long except for one bar, and of those that a split tests on.
        embargo
            Bars left out after each test group, in addition to the one that is always purged.

        Raises
        ------
        SettingsError
            ``test_groups`` outside 1 to ``groups - 1``, more than `MOST_SPLITS` splits, a negative embargo or one that
            leaves a split fewer than `FEWEST_BARS` training bars.
        DataError
            Fewer than `FEWEST_BARS` bars per group.
        """
        if not 1 <= test_groups < groups:
            raise SettingsError(
                f"test_groups = {test_groups} of {groups} groups: take at least 1 and leave 1 to train on"
            )
        if embargo < 0:
            raise SettingsError(f"embargo = {embargo}: take 0 bars or more")
        bounds = _bounds(n_bars, groups, "groups")  # before the number of splits, which takes long for a billion groups
        if math.comb(groups, test_groups) > MOST_SPLITS:
            raise SettingsError(
                f"{test_groups} test groups of {groups} make more than {MOST_SPLITS:,} splits: take fewer groups"
            )
        splits = np.array(list(combinations(range(groups), test_groups)))
        training = np.stack([training_bars(bounds, split, embargo) for split in splits])
        fewest = int(training.sum(axis=1).min())
        if fewest < FEWEST_BARS:
            raise SettingsError(
                f"a split keeps {fewest} bars to pick a setting on, fewer than {FEWEST_BARS}: shorten the embargo "
                f"({embargo} bars) or take fewer test groups ({test_groups} of {groups})"
            )
        starts = [0, *(np.flatnonzero((training[:, 1:] != training[:, :-1]).any(axis=0)) + 1)]
        return cls(bounds, splits, training[:, starts], np.array([*starts, n_bars]))


def combinatorial_paths(
    parts: ReturnSums, splits: Splits, returns_of: Callable[[np.ndarray], np.ndarray]
) -> CrossValidated:
    """Backtest the choice of a setting on many paths, by combinatorial purged cross-validation.

    López de Prado (2018), "Advances in Financial Machine Learning", ch. 12: each of the ``C(groups, test_groups)``
    splits chooses the setting with the best Sharpe ratio on its training bars (the first of equal ones) and trades it
    on its test groups. Every group is tested in ``C(groups - 1, test_groups - 1)`` splits, which gives as many paths
    over all bars: path p takes each group from the p-th split that tests it.

    A path changes its setting at a group's border without costs. Training bars may be later than test bars, so paths
    show the luck in choosing a setting, not a return that could have been earned.

    Parameters
    ----------
    parts
        Of all settings, over the parts of the splits.
    returns_of
        Simple returns per bar ``(n_bars, n)`` of ``n`` settings, by their numbers.

    Raises
    ------
    DataError
        Fewer than two settings.
    """
    n_settings, n_splits = _number_of_settings(parts), len(splits.training)
    chosen = np.empty(n_splits, dtype=int)
    rows = max(1, _CHUNK // n_settings)
    for start in range(0, n_splits, rows):
        sharpe = parts.sharpe(splits.training[start : start + rows])
        chosen[start : start + rows] = (sharpe >= sharpe.max(axis=1, keepdims=True) - _TIE).argmax(axis=1)
    groups = range(len(splits.bounds) - 1)
    path_splits = np.stack([np.flatnonzero((splits.test_groups == group).any(axis=1)) for group in groups], axis=1)
    settings, column = np.unique(chosen, return_inverse=True)
    trading = np.repeat(column[path_splits], np.diff(splits.bounds), axis=1)  # (n_paths, n_bars)
    n_bars = trading.shape[1]
    paths = returns_of(settings)[np.arange(n_bars), trading]
    path_sharpe = ReturnSums.of(paths.T, np.array([0, n_bars])).sharpe(np.ones((1, 1), dtype=bool))[0]
    counts = np.bincount(chosen, minlength=n_settings)
    return CrossValidated(paths, path_sharpe, chosen, splits.test_groups, path_splits, splits.bounds, counts)


def training_bars(bounds: np.ndarray, test_groups: np.ndarray, embargo: int) -> np.ndarray:
    """Mask ``(n_bars,)`` of the training bars, given the ``test_groups`` of the groups within ``bounds``.

    A bar's target needs the next bar, so the bars on either side of a test group are purged; ``embargo`` further bars
    after it are left out (López de Prado 2018, section 7.4).
    """
    training = np.ones(bounds[-1], dtype=bool)
    for group in test_groups:
        training[max(bounds[group] - 1, 0) : bounds[group + 1] + 1 + embargo] = False
    return training


@dataclass(frozen=True)
class ReturnSums:
    """Sums of returns over consecutive parts of the bars, for the Sharpe ratios of any union of parts.

    ``mean`` ``(n_settings,)`` is over all bars. The sums ``(n_parts, n_settings)`` are of deviations from it, to avoid
    cancellation in the variance.
    """

    mean: np.ndarray
    bars: np.ndarray
    sums: np.ndarray
    squares: np.ndarray

    @classmethod
    def of(cls, returns: np.ndarray, bounds: np.ndarray, first: int = 0) -> Self:
        """Sums of the simple returns ``(n_bars, n)`` of ``n`` settings, the first of which has the number ``first``.

        Raises a `DataError` if a return is not finite.
        """
        if not np.isfinite(returns).all():
            bar, setting = np.argwhere(~np.isfinite(returns))[0]
            raise DataError(
                f"the return of setting {first + setting} at bar {bar} is {returns[bar, setting]}: fill it, or leave "
                "the bar out"
            )
        mean = returns.mean(axis=0)
        sums, squares = np.empty((2, len(bounds) - 1, len(mean)))
        for part, (start, stop) in enumerate(pairwise(bounds)):
            centred = returns[start:stop] - mean
            sums[part], squares[part] = centred.sum(axis=0), np.square(centred).sum(axis=0)
        return cls(mean, np.diff(bounds).astype(float), sums, squares)

    @classmethod
    def joined(cls, sums: Sequence[ReturnSums]) -> Self:
        """The sums of all settings, given those of consecutive ones over the same parts."""
        return cls(
            np.concatenate([one.mean for one in sums]),
            sums[0].bars,
            np.concatenate([one.sums for one in sums], axis=1),
            np.concatenate([one.squares for one in sums], axis=1),
        )

    def sharpe(self, inside: np.ndarray) -> np.ndarray:
        """Sharpe ratios ``(n_unions, n_settings)`` of the parts ``inside`` ``(n_unions, n_parts)``; 0 if constant."""
        weights = inside.astype(float)
        bars = (weights @ self.bars)[:, None]
        shift, square = weights @ self.sums / bars, weights @ self.squares / bars
        mean = self.mean + shift
        variance = (square - shift**2) * (bars / (bars - 1))
        varies = variance > _STILL * (square + mean**2)
        return np.where(varies, mean / np.sqrt(np.where(varies, variance, 1.0)), 0.0)


def _bounds(n_bars: int, parts: int, name: str) -> np.ndarray:
    if n_bars < FEWEST_BARS * parts:
        raise DataError(
            f"{n_bars} bars in {parts} {name} are fewer than {FEWEST_BARS} each: add bars or take fewer {name}"
        )
    return np.arange(parts + 1) * n_bars // parts


def _number_of_settings(parts: ReturnSums) -> int:
    if len(parts.mean) < 2:
        raise DataError(f"{len(parts.mean)} setting was tried: try two or more, for there is no choice between fewer")
    return len(parts.mean)
