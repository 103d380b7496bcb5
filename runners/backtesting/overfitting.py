"""Estimates overfitting of the best trading settings: PBO and cross-validation on the forecasts of a run."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from runners.backtesting.grid import GridRun, candidates
from runners.backtesting.metrics import simple_returns
from runners.backtesting.runs import Run
from strategies.settings import AXES
from training.overfitting import CrossValidated, Overfitting, combinatorial_paths, probability_of_overfitting


@dataclass(frozen=True)
class OverfittingAnalysis:
    """Probability of overfitting and cross-validated paths of a grid of settings.

    Attributes
    ----------
    table
        One row per setting, see `GridRun.figures`.
    own
        Number of the run's own settings.
    blocks, embargo
        As in `training.overfitting`.
    growth
        ``(n_bars, n_paths)`` equity of each path, 1 at the start.
    annual
        Factor from a Sharpe ratio per bar to an annualised one.
    """

    run: Run
    table: pd.DataFrame
    own: int
    overfitting: Overfitting
    blocks: int
    crossed: CrossValidated
    embargo: int
    growth: pd.DataFrame
    annual: float

    @property
    def path_sharpe(self) -> np.ndarray:
        """``(n_paths,)`` annualised."""
        return self.crossed.sharpe * self.annual

    def most_chosen(self, count: int) -> list[tuple[int, int]]:
        """The settings that most splits chose: number of the setting, and count of splits."""
        times = self.crossed.times_chosen
        return [(int(at), int(times[at])) for at in np.argsort(-times, kind="stable")[:count] if times[at]]

    def to_dict(self) -> dict[str, Any]:
        """Figures for JSON; Sharpe ratios annualised."""
        overfitting, paths = self.overfitting, self.path_sharpe
        first, last = self.growth.index[0], self.growth.index[-1]
        return {
            "dataset": self.run.dataset,
            "run": self.run.id,
            "in_sample": self.run.in_sample,
            "first_bar": first.isoformat(),
            "last_bar": last.isoformat(),
            "settings": len(self.table),
            "own_sharpe": float(self.table["sharpe"].iloc[self.own]),
            "best_sharpe": float(self.table["sharpe"].max()),
            "probability_of_overfitting": overfitting.probability,
            "blocks": self.blocks,
            "combinations": len(overfitting.logits),
            "probability_of_loss": overfitting.probability_of_loss,
            "degradation_slope": overfitting.slope,
            "embargo": self.embargo,
            "path_sharpes": paths.tolist(),
            "chosen": [
                {"splits": times, **self.table.iloc[number][list(AXES)].to_dict()}
                for number, times in self.most_chosen(len(self.table))
            ],
        }


def analyse_overfitting(
    grid_run: GridRun, *, blocks: int, groups: int, test_groups: int, embargo: int
) -> OverfittingAnalysis:
    """Probability of overfitting, and combinatorial purged cross-validation, of a grid of settings.

    The options are those of `training.overfitting`.

    Raises
    ------
    DataError, SettingsError
        If no setting trades, or there are too few bars for these blocks and groups.
    """
    bars, cash = grid_run.bars, grid_run.run.cash
    returns, parts = np.empty((len(bars), len(grid_run.grid))), []
    for which, simulated in grid_run.simulate():
        returns[:, which] = simple_returns(simulated.equity, cash)
        parts.append(grid_run.figures(which, simulated))
    table = pd.concat(parts)
    candidates(table)  # raises if no setting trades
    crossed = combinatorial_paths(returns, groups, test_groups, embargo)
    return OverfittingAnalysis(
        run=grid_run.run,
        table=table,
        own=grid_run.own,
        overfitting=probability_of_overfitting(returns, blocks),
        blocks=blocks,
        crossed=crossed,
        embargo=embargo,
        growth=pd.DataFrame(np.cumprod(1 + crossed.paths.T, axis=0), index=bars.index),
        annual=math.sqrt(grid_run.periods),
    )
