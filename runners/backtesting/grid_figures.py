"""Collects the figures of a grid of settings, and how correlated its trials are."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np
import pandas as pd

from data.errors import DataError
from runners.backtesting.grid import GridRun
from runners.backtesting.metrics import drawdown, simple_returns
from runners.backtesting.trial_files import GridSummary
from runners.backtesting.trial_records import Choice, TradedBars
from strategies.array_simulation import Simulated
from strategies.rule_settings import RuleSettings
from strategies.settings import CostSettings
from training.independence import MeanCorrelation, return_hashes
from training.sharpe import sharpe_ratio

COSTS = tuple(CostSettings.model_fields)
LISTED = 10  # number of good settings that a grid lists


class GridFigures:
    """Collects the figures of a grid part by part, and the mean correlation of its different trials."""

    def __init__(self, grid_run: GridRun) -> None:
        self._grid_run = grid_run
        self._parts: list[pd.DataFrame] = []
        self._seen: set[str] = set()
        self._correlation = MeanCorrelation(len(grid_run.bars))

    def add(self, which: slice, simulated: Simulated) -> np.ndarray:
        """Add a part of `GridRun.simulate`; returns the accounts' simple returns ``(n_bars, n)``."""
        returns = simple_returns(simulated.equity, self._grid_run.run.cash)
        part = self._figures(which, simulated, returns)
        new = part["tried"] & ~part["returns"].duplicated() & ~part["returns"].isin(self._seen)
        self._seen.update(part.loc[new, "returns"])
        self._correlation.add(returns[:, new.to_numpy()])
        self._parts.append(part)
        return returns

    def table(self) -> pd.DataFrame:
        """One row per setting: its values, and its results over the bars ``first_bar`` to ``last_bar``.

        ``orders`` counts filled orders, ``trades`` closed round trips; ``sharpe`` is annualised; ``returns`` is
        `training.independence.return_hashes`. Only settings ``at_own_costs`` (the costs of the run) can be chosen; the
        others show the effect of costs. ``tried`` are the ones of them on unseen bars: they count as trials.
        """
        return pd.concat(self._parts)

    def _figures(self, which: slice, simulated: Simulated, returns: np.ndarray) -> pd.DataFrame:
        """The part of the table for the settings ``which``."""
        grid_run, equity = self._grid_run, simulated.equity
        run, bars, table = grid_run.run, grid_run.bars, grid_run.grid.table.iloc[which]
        per_bar = sharpe_ratio(returns)
        at_own_costs = np.all([table[name] == getattr(run.settings, name) for name in COSTS], axis=0)
        return table.assign(
            first_bar=bars.index[0],
            last_bar=bars.index[-1],
            bars=len(bars),
            final_value=equity[-1],
            total_return=equity[-1] / run.cash - 1,
            sharpe_per_bar=per_bar,
            sharpe=per_bar * math.sqrt(grid_run.periods),
            max_drawdown=drawdown(equity, run.cash).min(axis=0),
            orders=simulated.fills,
            trades=simulated.round_trips,
            returns=return_hashes(returns),
            at_own_costs=at_own_costs,
            tried=at_own_costs & (not run.in_sample),
        )

    def summary(self, listed: Iterable[int]) -> GridSummary:
        """Of the whole grid; ``listed`` are the numbers of the settings that it shows as good ones."""
        run, table = self._grid_run.run, self._grid_run.grid.table[list(RuleSettings.model_fields)]
        own, *good = (RuleSettings(**table.loc[number]) for number in (self._grid_run.own, *listed))
        return GridSummary(
            bars=TradedBars.of(run.folder.parent.name, self._grid_run.bars),
            training=run.training,
            mean_correlation=self._correlation.value,
            choice=Choice(len(table), own, tuple(good)),
        )


def candidates(table: pd.DataFrame) -> pd.Series:
    """Which settings of `GridFigures.table` can be chosen: those at the run's own costs that trade.

    Raises
    ------
    DataError
        If there is none.
    """
    eligible = table["at_own_costs"] & (table["orders"] > 0)
    if not eligible.any():
        raise DataError(
            "none of these settings trades: all members' forecasts lie between the thresholds, or each order is below "
            "min_order. Use lower ones."
        )
    return eligible


def best_settings(table: pd.DataFrame) -> pd.DataFrame:
    """The candidates with the highest Sharpe ratios, best first."""
    return table[candidates(table)].sort_values("sharpe_per_bar", ascending=False, kind="stable").head(LISTED)
