"""Counts the trials on the bars of a result, for its deflated Sharpe ratio."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from runners.backtesting.metrics import Metrics
from runners.backtesting.trial_groups import STUDY, groups_of, variance_of
from runners.backtesting.trial_index import read_records
from runners.backtesting.trial_records import BACKTEST, EVALUATION, OVERFIT, SWEEP, TradedBars, TrialRecord
from strategies.rule_settings import RuleSettings

if TYPE_CHECKING:
    from runners.backtesting.runs import Run


class TrialSource(NamedTuple):
    """A number of trials, and where they come from: the kind of the result, and its id (or that of a study)."""

    kind: str
    id: str
    trials: int


@dataclass(frozen=True)
class Trials:
    """The different results on the same bars, and how many independent ones they count as.

    Attributes
    ----------
    count
        Number of different results: backtests, settings of grids, trials of searches, and evaluations of models that
        no backtest traded.
    effective
        Number of independent trials that they count as, at least 1.
    variance
        Of the trials' Sharpe ratios per bar; at least that of luck alone, one over the number of bars.
    sources
        Where the trials come from.
    warnings
        One for each result that cannot be read, and so is not counted.
    """

    count: int
    effective: float
    variance: float
    sources: tuple[TrialSource, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def count_text(self) -> str:
        """The number of trials, with "at least" if a result cannot be read."""
        return f"at least {self.count:,}" if self.warnings else f"{self.count:,}"

    @property
    def effective_text(self) -> str:
        return f"{self.effective:,.0f}" if self.effective >= 10 else f"{self.effective:.1f}".removesuffix(".0")

    def deflated_sharpe(self, metrics: Metrics) -> float | None:
        """Probability that the true Sharpe ratio is above 0, given that it is the best of these trials."""
        record = metrics.track_record()
        return record.deflated_sharpe(self.effective, self.variance) if record else None

    def to_dict(self) -> dict[str, float]:
        """The numbers, for JSON."""
        return {"trials": self.count, "effective_trials": self.effective}

    def sentence(self) -> str:
        """The number of trials, where they come from, and how many independent ones they count as."""
        parts = [_text(kind, [one for one in self.sources if one.kind == kind]) for kind in _NAMES]
        number, plural = self.count_text, "" if self.count == 1 else "s"
        begin = f"{number[0].upper()}{number[1:]} trial{plural} on these bars"
        independent = f"they count as {self.effective_text} independent one{'' if self.effective == 1 else 's'}"
        return f"{begin}: {', '.join(part for part in parts if part)}; {independent}."


ALONE = Trials(1, 1.0, 0.0)  # a result of which no others are known

_NAMES = {
    SWEEP: ("sweep", "sweeps"),
    OVERFIT: ("overfitting analysis", "overfitting analyses"),
    STUDY: ("search", "searches"),
    BACKTEST: ("backtest", "backtests"),
    EVALUATION: ("evaluation", "evaluations"),
}


def _text(kind: str, sources: Sequence[TrialSource]) -> str:
    """Such as "345 from the sweep of 2026-11-27" or "4 backtests"; empty without sources."""
    number, (one, more) = sum(source.trials for source in sources), _NAMES[kind]
    if not number:
        return ""
    if kind in (BACKTEST, EVALUATION):
        return f"{number:,} {one if number == 1 else more}"
    return f"{number:,} from {f'the {one} of {_day(sources[0].id)}' if len(sources) == 1 else f'{len(sources)} {more}'}"


def _day(made: str) -> str:
    return f"{made[:4]}-{made[4:6]}-{made[6:8]}"


@dataclass(frozen=True)
class TrialsRead:
    """The records of a workspace, and a warning for each result that cannot be read, and so is not among them."""

    records: Sequence[TrialRecord] = ()
    warnings: Sequence[str] = ()
    _counted: dict[tuple[TradedBars, int], Trials] = field(default_factory=dict, repr=False, compare=False)

    def with_result(self, record: TrialRecord) -> TrialsRead:
        """With one more result, such as one that is not written yet."""
        return TrialsRead([*self.records, record], self.warnings)

    def on(self, bars: TradedBars, n_bars: int) -> Trials:
        """The trials on these bars, for a result with ``n_bars`` bars."""
        if (bars, n_bars) not in self._counted:
            shared = [record for record in self.records if record.bars.shared_with(bars)]
            self._counted[bars, n_bars] = _count(shared, n_bars, tuple(self.warnings))
        return self._counted[bars, n_bars]

    def chosen_from(self, bars: TradedBars, rule: RuleSettings) -> int:
        """Number of settings of the grid on these bars that listed this rule as a good one; 0 if there is none.

        A rule from which this or an earlier grid began was known before, and does not come from the grid.
        """
        grids = [record for record in self.records if record.choice and record.bars.shared_with(bars)]
        choices = [grid.choice for grid in sorted(grids, key=lambda grid: grid.made) if grid.choice]
        for choice in choices:
            if choice.is_own(rule):
                return 0
            if choice.lists(rule):
                return choice.settings
        return 0


def read_trials(results: Path) -> TrialsRead:
    """The trials in a workspace's folder of results: runs, removed and recorded ones, grids and evaluations.

    A damaged run counts if its figures can be read.
    """
    return TrialsRead(*read_records(results))


def trials_of(run: Run, read: TrialsRead) -> Trials:
    """The trials on the bars of a run, given those of its workspace."""
    bars = TradedBars(run.folder.parent.name, run.first_bar, run.last_bar, run.months)
    if run.in_sample:
        read = read.with_result(TrialRecord.of_backtest(run.id, bars, run.training, run.metrics, returns=run.returns))
    return read.on(bars, run.metrics.bars)


def _count(records: Sequence[TrialRecord], n_bars: int, warnings: tuple[str, ...]) -> Trials:
    """Count the trials of results on the same bars; the count of each group is added up.

    So trials of two groups count as independent. In fact they are often correlated, and then the number is too high,
    which makes the deflated ratio lower: it is conservative.
    """
    groups = groups_of(records)
    traded = {record.training for record in records if len(record.hashes)}
    looks = {one.training: one for one in records if one.kind == EVALUATION and one.training not in {*traded, ""}}
    sources = [TrialSource(group.kind, group.id, len(group.hashes)) for group in groups]
    sources += [TrialSource(EVALUATION, one.made, 1) for one in looks.values()]
    count = sum(source.trials for source in sources)
    if count <= 1:
        return Trials(1, 1.0, 0.0, tuple(sources), warnings)
    effective = sum(group.effective for group in groups) + len(looks)
    variance = max(variance_of(groups) / n_bars, 1 / (n_bars - 1))
    return Trials(count, max(effective, 1.0), variance, tuple(sources), warnings)
