"""Sweeps a grid of trading settings for the best one on the forecasts of a run."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from data.files import new_run_id
from runners.backtesting.engine import replay_run
from runners.backtesting.grid import GridRun
from runners.backtesting.grid_figures import GridFigures, best_settings
from runners.backtesting.result import Backtest
from runners.backtesting.runs import Run
from runners.backtesting.trial_files import GridSummary, grid_record
from runners.backtesting.trial_records import SWEEP, TrialRecord
from runners.backtesting.trials import Trials, read_trials


@dataclass(frozen=True)
class Sweep:
    """The result of a sweep.

    Attributes
    ----------
    table
        One row per setting, see `GridFigures.table`.
    own, best
        Numbers of the run's own setting, and of the candidate with the highest Sharpe ratio.
    confirmed
        The best setting, traded by Backtrader.
    disagreement
        Largest difference between its equity and the simulated one, relative to the larger of equity and cash.
    trials
        The settings of this sweep and all earlier trials on these bars.
    summary
        To be written with the table.
    """

    run: Run
    table: pd.DataFrame
    own: int
    best: int
    confirmed: Backtest
    disagreement: float
    trials: Trials
    summary: GridSummary


def sweep(grid_run: GridRun) -> Sweep:
    """Trade the settings of a grid, then the best one again with Backtrader.

    Raises
    ------
    DataError
        If none of the settings trades.
    """
    run, cash = grid_run.run, grid_run.run.cash
    figures = GridFigures(grid_run)
    for part in grid_run.simulate():
        figures.add(*part)
    table = figures.table()
    listed = best_settings(table).index
    best = int(listed[0])
    confirmed = replay_run(run, grid_run.candles, grid_run.grid.settings(best, run.settings), chosen_from=len(table))
    simulated = grid_run.equity_of([best])[:, 0]
    expected = confirmed.equity["equity"].to_numpy()
    summary, made, dataset = figures.summary(listed), new_run_id(), run.folder.parent
    trials = read_trials(dataset.parent).with_result(grid_record(SWEEP, made, dataset.name, table, summary))
    trials = trials.with_result(TrialRecord.of_result(made, confirmed))
    return Sweep(
        run=run,
        table=table,
        own=grid_run.own,
        best=best,
        confirmed=confirmed,
        disagreement=float(np.max(np.abs(simulated - expected) / np.maximum(np.abs(expected), cash))),
        trials=trials.on(summary.bars, len(grid_run.bars)),
        summary=summary,
    )
