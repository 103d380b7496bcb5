"""What the count of trials keeps of each result: its bars, its trials, and the models and settings in it."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import numpy as np
import pandas as pd

from data.candles import month_hashes
from data.settings import upgraded
from models.provenance import Training
from runners.backtesting.metrics import Metrics, simple_returns
from strategies.rule_settings import RuleSettings
from training.independence import few_points, return_hashes

if TYPE_CHECKING:
    from runners.backtesting.result import Backtest

BACKTEST, SWEEP, OVERFIT, EVALUATION = "backtest", "sweep", "overfit", "evaluation"  # kinds of results
_SAME_THRESHOLD = 1e-6  # the last digit of a threshold that a sweep shows, 0.01 basis points


class TradedBars(NamedTuple):
    """The bars of a result.

    Attributes
    ----------
    months
        `data.candles.month_hashes`; none for results of earlier versions.
    """

    dataset: str
    first_bar: pd.Timestamp
    last_bar: pd.Timestamp
    months: tuple[str, ...]

    @classmethod
    def of(cls, dataset: str, candles: pd.DataFrame) -> Self:
        return cls(dataset, candles.index[0], candles.index[-1], tuple(month_hashes(candles)))

    def shared_with(self, other: TradedBars) -> bool:
        """Whether both have a month in common, or the same name of the dataset and overlapping time.

        The second rule is for results of earlier versions, and for bars that do not fill a month.
        """
        if self.dataset == other.dataset and self.first_bar <= other.last_bar and self.last_bar >= other.first_bar:
            return True
        return not set(self.months).isdisjoint(other.months)


@dataclass(frozen=True)
class Choice:
    """What a grid of settings offers to choose from.

    Attributes
    ----------
    settings
        Number of settings.
    own
        The rule of the run that the grid is made from.
    listed
        The rules that it showed as good ones.
    """

    settings: int
    own: RuleSettings
    listed: tuple[RuleSettings, ...]

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Self:
        own, *listed = (RuleSettings(**upgraded("backtest", one)) for one in [content["own"], *content["listed"]])
        return cls(int(content["settings"]), own, tuple(listed))

    def to_dict(self) -> dict[str, Any]:
        listed = [one.model_dump() for one in self.listed]
        return {"settings": self.settings, "own": self.own.model_dump(), "listed": listed}

    def is_own(self, rule: RuleSettings) -> bool:
        return _same_rule(rule, self.own)

    def lists(self, rule: RuleSettings) -> bool:
        """Whether a rule is one of the listed ones, to the digits that a sweep prints."""
        return any(_same_rule(rule, one) for one in self.listed)


def _same_rule(one: RuleSettings, other: RuleSettings) -> bool:
    return all(_same(getattr(one, name), getattr(other, name)) for name in RuleSettings.model_fields)


def _same(one: str | float, other: str | float) -> bool:
    if isinstance(one, str) or isinstance(other, str):
        return one == other
    return math.isclose(one, other, rel_tol=1e-9, abs_tol=_SAME_THRESHOLD)


@dataclass(frozen=True, eq=False)
class TrialRecord:
    """What the count of trials keeps of one result.

    Attributes
    ----------
    kind
        `BACKTEST`, `SWEEP`, `OVERFIT` or `EVALUATION`. An evaluation has no trials.
    made
        Its id, which begins with the date.
    training
        Equal for results of the same training; empty if not known.
    hashes
        ``(n_trials,)`` uint64 of the trials on unseen bars, equal for repetitions of the same trial. In a backtest the
        first is its own; those of the study of its models follow.
    sharpes
        ``(n_trials,)`` Sharpe ratio per bar, times the root of its number of bars; NaN if not defined.
    series
        ``(n_points,)`` of a backtest, see `training.independence.few_points`; None if not known.
    correlation
        Mean correlation of the trials of a grid; 0 if not known.
    study
        Id of the study of a backtest's models; empty if there is none.
    choice
        Of a grid; None if not known.
    """

    kind: str
    made: str
    bars: TradedBars
    training: str = ""
    hashes: np.ndarray = field(default_factory=lambda: np.empty(0, dtype=np.uint64))
    sharpes: np.ndarray = field(default_factory=lambda: np.empty(0))
    series: np.ndarray | None = None
    correlation: float = 0.0
    study: str = ""
    choice: Choice | None = None

    @classmethod
    def of_backtest(
        cls,
        made: str,
        bars: TradedBars,
        training: Training,
        metrics: Metrics,
        *,
        returns: str | None = None,
        equity: np.ndarray | None = None,
    ) -> Self:
        """The record of a backtest.

        ``returns`` is the hash of its returns, ``equity`` ``(n_bars,)`` its equity. Without the first, backtests with
        equal Sharpe ratios count as repetitions.
        """
        record, study = metrics.track_record(), training.study
        sharpe = record.sharpe if record else 0.0 if metrics.sharpe is None else None
        values = {returns or hash_of_figure(metrics.bars, sharpe): _over_all_bars(sharpe, metrics.bars)}
        if study:
            for network, sharpes in study.sharpes.items():
                for number, value in enumerate(sharpes):
                    values[_hash(f"{study.id} {network} {number}")] = _over_all_bars(value, study.bars)
        return cls(
            BACKTEST,
            made,
            bars,
            training_key(training),
            as_numbers(values),
            np.array(list(values.values())),
            None if returns is None or equity is None else few_points(simple_returns(equity, equity[0])),
            study=study.id if study else "",
        )

    @classmethod
    def of_result(cls, made: str, result: Backtest) -> Self:
        """The record of a backtest that is not written yet."""
        bars = TradedBars.of(result.source.dataset, result.candles)
        equity = result.equity["equity"].to_numpy()
        returns = hash_of_equity(equity, result.settings.cash)
        return cls.of_backtest(made, bars, result.source.training, result.metrics, returns=returns, equity=equity)


def training_key(training: Training) -> str:
    """Equal for results of the same training: the same candles, settings, seed and study."""
    return _hash(json.dumps(Training.to_dict(training), sort_keys=True))


def hash_of_equity(equity: np.ndarray, cash: float) -> str:
    """`training.independence.return_hashes` of one equity curve ``(n_bars,)``."""
    (returns,) = return_hashes(simple_returns(equity[:, None], cash))
    return returns


def hash_of_figure(bars: int, sharpe: float | None) -> str:
    """The hash of a trial whose returns are not known: of its number of bars and its Sharpe ratio per bar."""
    return _hash(f"{bars} bars, {'too short' if sharpe is None else f'{sharpe + 0.0:.9f}'}")


def as_numbers(hashes: Iterable[str]) -> np.ndarray:
    """Hashes as uint64; raises a ValueError if one is no hexadecimal number."""
    return np.array([int(one, 16) for one in hashes], dtype=np.uint64)


def _over_all_bars(sharpe: float | None, bars: int) -> float:
    return math.nan if sharpe is None else sharpe * math.sqrt(bars)


def _hash(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
