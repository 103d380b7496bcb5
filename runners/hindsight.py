"""What picking the best of many trading settings in hindsight is worth, on a run's own forecasts."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from runners.registry import Run
from runners.report.metrics import bars_per_year
from runners.settings import BacktestSettings
from runners.trading_grid import Grid, axes, grid_returns, simulate_grid, traded_bars
from training.overfitting import CrossValidated, Overfitting, combinatorial_paths, probability_of_overfitting
from training.sharpe import sharpe_ratio


@dataclass(frozen=True)
class Hindsight:
    """Both answers, and what they are about.

    Attributes
    ----------
    sharpe
        ``(n_settings,)`` annualised, of each setting over all bars.
    own
        Number of the run's own setting.
    blocks, embargo
        As in `training.overfitting`.
    growth
        ``(n_bars, n_paths)`` equity of each path, 1 at the start.
    annual
        What turns a Sharpe ratio per bar into an annualised one.
    """

    run: Run
    grid: Grid
    sharpe: np.ndarray
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
        """Numbers of the settings that most splits picked, and how many picked each."""
        times = self.crossed.times_chosen
        return [(int(at), int(times[at])) for at in np.argsort(-times, kind="stable")[:count] if times[at]]

    def to_dict(self) -> dict[str, Any]:
        """Figures for JSON; Sharpe ratios annualised."""
        found, paths = self.overfitting, self.path_sharpe
        first, last = self.growth.index[0], self.growth.index[-1]
        return {
            "dataset": self.run.dataset,
            "run": self.run.id,
            "in_sample": self.run.in_sample,
            "first_bar": first.isoformat(),
            "last_bar": last.isoformat(),
            "settings": len(self.grid),
            "own_sharpe": float(self.sharpe[self.own]),
            "best_sharpe": float(self.sharpe.max()),
            "probability_of_overfitting": found.probability,
            "blocks": self.blocks,
            "combinations": len(found.logits),
            "probability_of_loss": found.probability_of_loss,
            "degradation_slope": found.slope,
            "embargo": self.embargo,
            "path_sharpes": paths.tolist(),
            "chosen": [
                {"splits": times, **self.grid.table.loc[number].to_dict()}
                for number, times in self.most_chosen(len(self.grid))
            ],
        }


def hindsight(
    run: Run, given: Mapping[str, str | None], *, blocks: int, groups: int, test_groups: int, embargo: int
) -> Hindsight:
    """Probability of overfitting, and combinatorial purged cross-validation, of a grid of settings at the run's costs.

    Parameters
    ----------
    given
        Values by axis as text, see `runners.trading_grid.axes`.
    blocks, groups, test_groups, embargo
        As in `training.overfitting`.

    Raises
    ------
    DataError, SettingsError
        If the candles have changed since the run, there are too few bars, or values cannot be read.
    """
    settings, equity = BacktestSettings(**run.config["backtest"]), run.equity()
    bars, forecast = traded_bars(run), equity["forecast"].to_numpy()
    grid = Grid.of(axes(given, settings, forecast))
    returns = np.empty((len(bars), len(grid)))
    for which, simulated in simulate_grid(bars, forecast, grid, settings.cash):
        returns[:, which] = grid_returns(simulated.equity, settings.cash)
    crossed = combinatorial_paths(returns, groups, test_groups, embargo)
    annual = math.sqrt(bars_per_year(pd.DatetimeIndex(bars.index)))
    return Hindsight(
        run=run,
        grid=grid,
        sharpe=sharpe_ratio(returns) * annual,
        own=grid.number_of(settings),
        overfitting=probability_of_overfitting(returns, blocks),
        blocks=blocks,
        crossed=crossed,
        embargo=embargo,
        growth=pd.DataFrame(np.cumprod(1 + crossed.paths.T, axis=0), index=bars.index),
        annual=annual,
    )
