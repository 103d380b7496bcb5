"""Groups the trials of results on the same bars: different ones, and how correlated those of a group are."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np

from runners.backtesting.trial_records import BACKTEST, OVERFIT, SWEEP, TrialRecord
from training.independence import MeanCorrelation, independent_trials

STUDY = "search"  # kind of a group


@dataclass(frozen=True, eq=False)
class Group:
    """Different trials with a mean correlation.

    Attributes
    ----------
    id
        Of the grid or the study, or of the first of the backtests.
    hashes, sharpes
        ``(n_trials,)``, at least one, as in `TrialRecord`.
    """

    kind: str
    id: str
    hashes: np.ndarray
    sharpes: np.ndarray
    correlation: float = 0.0

    @property
    def effective(self) -> float:
        """Number of independent trials that they count as."""
        return independent_trials(self.correlation, len(self.hashes))


def groups_of(records: Sequence[TrialRecord]) -> list[Group]:
    """The trials of all results; one that is in several grids, or in a grid and a backtest, is in the first of them."""
    grids = _grids(records)
    seen = np.concatenate([np.empty(0, dtype=np.uint64), *(grid.hashes for grid in grids)])
    return [*grids, *_studies(records), *_backtests(records, seen)]


def _grids(records: Sequence[TrialRecord]) -> list[Group]:
    """A group for each grid, of the trials that no earlier one has."""
    groups: list[Group] = []
    seen = np.empty(0, dtype=np.uint64)
    for record in records:
        if record.kind in (SWEEP, OVERFIT):
            new = ~np.isin(record.hashes, seen)
            seen = np.union1d(seen, record.hashes)
            kept = record.hashes[new], record.sharpes[new]
            groups.append(Group(record.kind, record.made, *kept, record.correlation))
    return [group for group in groups if len(group.hashes)]


def _studies(records: Sequence[TrialRecord]) -> list[Group]:
    """A group of independent trials for each study."""
    studies = {record.study: record for record in records if record.study}
    return [Group(STUDY, study, one.hashes[1:], one.sharpes[1:]) for study, one in studies.items()]


def _backtests(records: Sequence[TrialRecord], seen: np.ndarray) -> list[Group]:
    """A group for all backtests on identical bars, and one for all others, which count as independent.

    Without those whose trial was ``seen`` in a grid.
    """
    backtests = [record for record in records if record.kind == BACKTEST and len(record.hashes)]
    own = np.array([record.hashes[0] for record in backtests], dtype=np.uint64)
    different: dict[int, TrialRecord] = {}
    for trial, new, record in zip(own.tolist(), ~np.isin(own, seen), backtests, strict=True):
        if new and (trial not in different or different[trial].series is None):
            different[trial] = record
    identical: dict[Hashable, list[TrialRecord]] = {}
    for record in different.values():
        identical.setdefault(_identity(record), []).append(record)
    groups = [group for bars, group in identical.items() if bars is not None and len(group) > 1]
    others = [record for bars, group in identical.items() if bars is None or len(group) == 1 for record in group]
    return [_group_of(group, _mean_correlation(group)) for group in groups] + ([_group_of(others)] if others else [])


def _identity(record: TrialRecord) -> Hashable:
    """Equal for backtests on identical bars, under any name if they have hashes of months; None without returns."""
    if record.series is None:
        return None
    bars = record.bars
    return bars.first_bar.value, bars.last_bar.value, bars.months or bars.dataset, len(record.series)


def _group_of(backtests: Sequence[TrialRecord], correlation: float = 0.0) -> Group:
    hashes, sharpes = zip(*((record.hashes[0], record.sharpes[0]) for record in backtests), strict=True)
    return Group(BACKTEST, backtests[0].made, np.array(hashes), np.array(sharpes), correlation)


def _mean_correlation(backtests: Sequence[TrialRecord]) -> float:
    series = [record.series for record in backtests if record.series is not None]
    mean = MeanCorrelation(len(series[0]))
    mean.add(np.stack(series, axis=1))
    return mean.value


def variance_of(groups: Sequence[Group]) -> float:
    """Variance of the Sharpe ratios over all bars, in which each group weighs as much as it counts.

    So thousands of settings that hardly differ do not lower the variance of the others.
    """
    weights = np.concatenate([np.full(len(one.hashes), one.effective / len(one.hashes)) for one in groups])
    sharpes = np.concatenate([group.sharpes for group in groups])
    weights, sharpes = weights[np.isfinite(sharpes)], sharpes[np.isfinite(sharpes)]
    if len(sharpes) < 2:
        return 0.0
    centred = sharpes - np.average(sharpes, weights=weights)
    total = weights.sum()
    return float(weights @ np.square(centred) / (total - np.square(weights).sum() / total))
