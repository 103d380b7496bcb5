"""Compares runs over their common bars and tests the differences."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from data.candles import time_text
from data.errors import DataError
from data.settings import flat_settings
from runners.backtesting.metrics import Metrics, equity_before, equity_returns, metrics_of_part
from runners.backtesting.runs import Run, deflated_sharpe, read_trials
from training.sharpe import FEWEST_BARS, SharpeDifference, sharpe_difference, superior_predictive_ability


@dataclass(frozen=True)
class Compared:
    """One run over the common bars.

    Attributes
    ----------
    deflated_sharpe
        Over all bars of the run, with all trials on them.
    difference
        Sharpe ratio minus that of the first run; None for the first run, and if it cannot be tested.
    growth
        ``(n_bars,)`` equity divided by the equity before the first common bar.
    """

    label: str
    run: Run
    metrics: Metrics
    deflated_sharpe: float | None
    difference: SharpeDifference | None
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
                    "deflated_sharpe": one.deflated_sharpe,
                    "sharpe_difference": vars(one.difference) if one.difference else None,
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
    trials = {folder: read_trials(folder) for folder in {run.folder.parent for run in runs}}
    compared: list[Compared] = []
    returns: list[np.ndarray] = []
    partly = []
    for number, (run, table) in enumerate(zip(runs, tables, strict=True)):
        whole = len(table) == len(common)
        equity, cash = table.loc[common, "equity"], equity_before(table["equity"], common[0], run.cash)
        metrics = run.metrics if whole else metrics_of_part(table, run.trades(), run.cash, common)
        returns.append(equity_returns(equity, cash).to_numpy())
        compared.append(
            Compared(
                label=_label(number),
                run=run,
                metrics=metrics,
                deflated_sharpe=deflated_sharpe(run, trials[run.folder.parent]),
                difference=sharpe_difference(returns[-1], returns[0], metrics.bars_per_year) if number else None,
                growth=equity / cash,
            )
        )
        partly += [] if whole else [_label(number)]
    holding = equity_returns(
        tables[0].loc[common, "holding"], equity_before(tables[0]["holding"], common[0], runs[0].cash)
    )
    return Comparison(
        title=title or ", ".join(dict.fromkeys(run.dataset for run in runs)),
        runs=compared,
        first_bar=common[0],
        last_bar=common[-1],
        bars=len(common),
        partly=partly,
        superior=superior_predictive_ability(returns, holding.to_numpy()),
        differing=_differing(runs),
        warnings=[warning for read in trials.values() for warning in read.warnings],
    )


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
