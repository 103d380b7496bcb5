"""Estimates overfitting of the best trading settings: PBO and cross-validation on the forecasts of a run."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from data.errors import SettingsError
from runners.backtesting.grid import GridRun
from runners.backtesting.grid_figures import LISTED, GridFigures, best_settings
from runners.backtesting.metrics import simple_returns
from runners.backtesting.runs import Run
from runners.backtesting.trial_files import GridSummary
from strategies.settings import AXES
from training.overfitting import (
    CrossValidated,
    Overfitting,
    ReturnSums,
    Splits,
    block_bounds,
    combinatorial_paths,
    probability_of_overfitting,
)

_MOST_SUMS = 25_000_000  # parts of the bars times settings, 200 MB per array


@dataclass(frozen=True)
class OverfittingAnalysis:
    """Probability of overfitting and cross-validated paths of a grid of settings.

    Attributes
    ----------
    table
        One row per setting, see `GridFigures.table`.
    own
        Number of the run's own settings.
    blocks, embargo
        As in `training.overfitting`.
    growth
        ``(n_bars, n_paths)`` equity of each path, 1 at the start.
    annual
        Factor from a Sharpe ratio per bar to an annualised one.
    summary
        To be written with the table.
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
    summary: GridSummary

    @property
    def path_sharpe(self) -> np.ndarray:
        """``(n_paths,)`` annualised."""
        return self.crossed.sharpe * self.annual

    def most_chosen(self, count: int) -> list[tuple[int, int]]:
        """The settings that most splits chose: number of the setting, and count of splits."""
        return [(number, int(self.crossed.times_chosen[number])) for number in self.crossed.most_chosen(count)]

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
        If no setting trades, there are too few bars for these blocks and groups, or too many groups and settings.
    """
    bars, cash, n_settings = grid_run.bars, grid_run.run.cash, len(grid_run.grid)
    halves, splits = block_bounds(len(bars), blocks), Splits.of(len(bars), groups, test_groups, embargo)
    if (len(splits.part_bounds) - 1) * n_settings > _MOST_SUMS:
        raise SettingsError(f"{groups} groups of {n_settings:,} settings are too many: take fewer of either")
    figures, by_block, by_split = GridFigures(grid_run), [], []
    for which, simulated in grid_run.simulate():
        returns = figures.add(which, simulated)
        by_block.append(ReturnSums.of(returns, halves, which.start))
        by_split.append(ReturnSums.of(returns, splits.part_bounds, which.start))
    best = best_settings(figures.table())  # raises if no setting trades
    crossed = combinatorial_paths(
        ReturnSums.joined(by_split), splits, lambda numbers: simple_returns(grid_run.equity_of(numbers), cash)
    )
    return OverfittingAnalysis(
        run=grid_run.run,
        table=figures.table(),
        own=grid_run.own,
        overfitting=probability_of_overfitting(ReturnSums.joined(by_block)),
        blocks=blocks,
        crossed=crossed,
        embargo=embargo,
        growth=pd.DataFrame(np.cumprod(1 + crossed.paths.T, axis=0), index=bars.index),
        annual=math.sqrt(grid_run.periods),
        summary=figures.summary([*best.index, *crossed.most_chosen(LISTED)]),
    )
