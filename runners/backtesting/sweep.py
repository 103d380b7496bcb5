"""A sweep: thousands of trading settings on a run's forecasts, and the best of them, traded by Backtrader."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from runners.backtesting.engine import Backtest
from runners.backtesting.grid import GridRun, candidates
from runners.backtesting.replay import replay
from runners.backtesting.runs import Run, Trials, read_tries, tries_of_table


@dataclass(frozen=True)
class Sweep:
    """What a sweep found.

    Attributes
    ----------
    table
        A row a setting, see `runners.backtesting.grid.GridRun.figures`.
    own, best
        Numbers of the run's own setting, and of the one with the highest Sharpe ratio, at the run's costs, that trades.
    confirmed
        The best, traded by Backtrader.
    disagreement
        Largest difference at any bar of its equity to the simulated one, relative to the larger of equity and cash.
    trials
        What the best is the best of: the settings of this sweep and all that was tried on these bars before.
    """

    run: Run
    table: pd.DataFrame
    own: int
    best: int
    confirmed: Backtest
    disagreement: float
    trials: Trials


def sweep(grid_run: GridRun) -> Sweep:
    """Trade the settings of a grid, and the best of them by Backtrader.

    Raises
    ------
    DataError
        If none of them trades.
    """
    run, cash = grid_run.run, grid_run.run.cash
    table = pd.concat([grid_run.figures(which, simulated) for which, simulated in grid_run.simulate()])
    best = int(np.where(candidates(table), table["sharpe_per_bar"], -np.inf).argmax())
    confirmed = replay(run, grid_run.candles, grid_run.grid.settings(best, run.settings), chosen_from=len(table))
    found = grid_run.equity_of(best)
    expected = confirmed.equity["equity"].to_numpy()
    index, tries = grid_run.bars.index, [*read_tries(run.folder.parent), *tries_of_table(table)]
    return Sweep(
        run=run,
        table=table,
        own=grid_run.own,
        best=best,
        confirmed=confirmed,
        disagreement=float(np.max(np.abs(found - expected) / np.maximum(np.abs(expected), cash))),
        trials=Trials.of(tries, confirmed.metrics, run.training, index[0], index[-1]),
    )
