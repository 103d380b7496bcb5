"""Compares runs over their common bars and tests the differences."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import reduce
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from data.candles import time_text
from data.errors import DataError
from data.intervals import bars_per_year
from data.settings import flat_settings
from models.forecaster import member_forecasts
from runners.backtesting.metrics import Metrics, equity_before, metrics_of_part, simple_returns
from runners.backtesting.runs import Run
from runners.backtesting.trials import read_trials, trials_of
from runners.backtesting.yardsticks import AccountFigures
from training.resampling import Difference, Resamples, Returns, resample, superior_predictive_ability
from training.sharpe import FEWEST_BARS

SeedLuck = Literal["own", "borrowed", "unknown"]


@dataclass(frozen=True)
class Compared:
    """One run over the common bars.

    Attributes
    ----------
    deflated_sharpe
        Over all bars of the run, with all trials on them.
    members
        AccountFigures of each member traded alone; none for runs of earlier versions.
    sharpe_difference, drawdown_difference
        This run's figure minus that of the first run; None for the first run, and if it cannot be tested.
    seed_luck
        What is known about the luck of the seed: ``own`` members, ``borrowed`` from another run's members, or
        ``unknown``.
    growth
        ``(n_bars,)`` equity divided by the equity before the first common bar.
    """

    label: str
    run: Run
    metrics: Metrics
    deflated_sharpe: float | None
    members: list[AccountFigures]
    sharpe_difference: Difference | None
    drawdown_difference: Difference | None
    seed_luck: SeedLuck
    growth: pd.Series


@dataclass(frozen=True)
class Comparison:
    """Runs over their common bars.

    Attributes
    ----------
    partly
        Labels of the runs that have other bars, too.
    superior
        p value of Hansen's test of "no run earns more than buy and hold"; None if it cannot be computed.
    holding
        ``(n_bars,)`` equity of buy and hold with the first run's settings, divided by that before the first common bar.
    differing
        Differences in data, models and settings: a name, and the value of each run.
    warnings
        One for each earlier result that cannot be read, and so is missing in the deflated Sharpe ratios.
    """

    title: str
    runs: list[Compared]
    first_bar: pd.Timestamp
    last_bar: pd.Timestamp
    bars: int
    partly: list[str]
    superior: float | None
    holding: pd.Series
    differing: list[tuple[str, list[str]]]
    warnings: list[str]

    def to_dict(self) -> dict[str, Any]:
        """All but the curves, for JSON."""
        return {
            "title": self.title,
            "first_bar": self.first_bar.isoformat(),
            "last_bar": self.last_bar.isoformat(),
            "bars": self.bars,
            "superior_to_holding_p": self.superior,
            "differing": dict(self.differing),
            "runs": [
                {
                    "label": one.label,
                    "dataset": one.run.dataset,
                    "run": one.run.id,
                    "note": one.run.note,
                    "mark": one.run.mark,
                    "deflated_sharpe": one.deflated_sharpe,
                    "members": [vars(member) for member in one.members],
                    "seed_luck": one.seed_luck,
                    "sharpe_difference": vars(one.sharpe_difference) if one.sharpe_difference else None,
                    "drawdown_difference": vars(one.drawdown_difference) if one.drawdown_difference else None,
                    **one.metrics.to_dict(),
                }
                for one in self.runs
            ],
        }


def compare(runs: Sequence[Run], title: str | None = None) -> Comparison:
    """Compare each run with the first one, over the bars that all have in common.

    Parameters
    ----------
    runs
        From `runners.backtesting.runs.find_run`.
    title
        Default: the names of the datasets.

    Returns
    -------
    Comparison
        A notebook shows it as a table.

    Raises
    ------
    DataError
        If they have fewer than 20 bars in common.
    """
    tables = [run.equity() for run in runs]
    indexes = (pd.DatetimeIndex(table.index) for table in tables)
    common = reduce(lambda one, other: pd.DatetimeIndex(one.intersection(other)), indexes)
    if len(common) < FEWEST_BARS:
        spans = "; ".join(f"{run.dataset}/{run.id} {run.first_bar:%Y-%m-%d} to {run.last_bar:%Y-%m-%d}" for run in runs)
        raise DataError(f"these runs have {len(common)} bars in common, {FEWEST_BARS} are needed: {spans}.")
    trials = {results: read_trials(results) for results in {run.folder.parent.parent for run in runs}}
    traded = _borrowed_spread([_returns(run, table, common) for run, table in zip(runs, tables, strict=True)])
    resamples = resample(traded, bars_per_year(common))
    compared = [
        _compared(
            number,
            run,
            table,
            common,
            resamples,
            traded[number],
            trials_of(run, trials[run.folder.parent.parent]).deflated_sharpe(run.metrics),
        )
        for number, (run, table) in enumerate(zip(runs, tables, strict=True))
    ]
    holding = _part(tables[0]["holding"], common, runs[0].cash)
    return Comparison(
        title=title or ", ".join(dict.fromkeys(run.dataset for run in runs)),
        runs=compared,
        first_bar=common[0],
        last_bar=common[-1],
        bars=len(common),
        partly=[one.label for one, table in zip(compared, tables, strict=True) if len(table) > len(common)],
        superior=superior_predictive_ability([one.total for one in traded], holding),
        holding=tables[0].loc[common, "holding"] / equity_before(tables[0]["holding"], common[0], runs[0].cash),
        differing=_differing(runs),
        warnings=[warning for read in trials.values() for warning in read.warnings],
    )


def _compared(
    number: int,
    run: Run,
    table: pd.DataFrame,
    common: pd.DatetimeIndex,
    resamples: Resamples,
    traded: Returns,
    deflated: float | None,
) -> Compared:
    whole = len(table) == len(common)
    return Compared(
        label=_label(number),
        run=run,
        metrics=run.metrics
        if whole
        else metrics_of_part(table, run.trades(), run.cash, common, resamples.uncertainty(number)),
        deflated_sharpe=deflated,
        members=run.members if whole else [],
        sharpe_difference=resamples.sharpe_difference(number, 0) if number else None,
        drawdown_difference=resamples.drawdown_difference(number, 0) if number else None,
        seed_luck="borrowed" if traded.drawn else "own" if traded.seed_luck_known else "unknown",
        growth=table.loc[common, "equity"] / equity_before(table["equity"], common[0], run.cash),
    )


def _returns(run: Run, table: pd.DataFrame, common: pd.DatetimeIndex) -> Returns:
    """Returns over the common bars, with each member's; runs of earlier versions have none."""
    members = [_part(table[name], common, run.cash) for name in table if str(name).startswith("member_")]
    return Returns(
        _part(table["equity"], common, run.cash),
        np.stack(members, axis=1) if members else np.empty((len(common), 0)),
        networks=sha256(member_forecasts(run.forecasts().loc[common]).tobytes()).hexdigest(),
    )


def _part(equity: pd.Series, bars: pd.DatetimeIndex, cash: float) -> np.ndarray:
    """Simple returns ``(n_bars,)`` of a part of an equity curve that began with ``cash``."""
    return simple_returns(equity.loc[bars].to_numpy(), equity_before(equity, bars[0], cash))


def _borrowed_spread(traded: list[Returns]) -> list[Returns]:
    """Give runs of one network the spread of the members of the first run that has several.

    Each of these members is one network, too, so they show how much one seed changes the result.
    """
    several = next((one.members for one in traded if one.seed_luck_known), None)
    return [one if one.seed_luck_known or several is None else replace(one, members=several, drawn=1) for one in traded]


def _label(number: int) -> str:
    """A, B, ... Z, A1, B1, ..."""
    return chr(ord("A") + number % 26) + (str(number // 26) if number >= 26 else "")


def _differing(runs: Sequence[Run]) -> list[tuple[str, list[str]]]:
    identities = [_identity(run) for run in runs]
    names = list(dict.fromkeys(name for identity in identities for name in identity))
    rows = [(name, [identity.get(name, "default") for identity in identities]) for name in names]
    return [(name, values) for name, values in rows if len(set(values)) > 1]


def _identity(run: Run) -> dict[str, str]:
    """Data, models and settings of a run by name."""
    data = {
        "dataset": run.dataset,
        "candles": f"{Path(run.config['file']).name} (sha256 {run.config['fingerprint'][:8]})",
        "first bar": time_text(run.first_bar),
        "last bar": time_text(run.last_bar),
        "models": run.models,
        "study": run.training.study.id if run.training.study else "none",
        "trained on": f"sha256 {run.training.fingerprint[:8]}",
    }
    trained = flat_settings("train", run.training.settings)
    retrained = flat_settings("walk-forward", run.config.get("walk_forward", {}))
    return {**data, **trained, **retrained, **flat_settings("backtest", run.config["backtest"])}
