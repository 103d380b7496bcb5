"""A sweep: thousands of trading settings on a run's forecasts, and the best of them, traded by Backtrader."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from data.candles import read_candles
from data.errors import DataError
from runners.backtest import replay
from runners.registry import Run, Trials, read_tries, sweep_tries
from runners.report.metrics import bars_per_year
from runners.settings import BacktestSettings
from runners.simulation import Backtest
from runners.trading_grid import Grid, axes, grid_returns, simulate_grid, traded_bars
from training.sharpe import sharpe_ratio


@dataclass(frozen=True)
class Sweep:
    """What a sweep found.

    Attributes
    ----------
    table
        A row a setting: `runners.trading_grid.AXES`; over the bars ``first_bar`` to ``last_bar`` its ``final_value``,
        ``total_return``, ``sharpe_per_bar``, ``sharpe`` (annualised), ``max_drawdown``, ``orders`` filled and
        ``trades`` (closed round trips); and ``tried``: whether it could be chosen on unseen bars. Only those with the
        run's own costs can: costs are not for choosing, the others show what they would change.
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


def sweep(run: Run, given: Mapping[str, str | None]) -> Sweep:
    """Trade a grid of settings on a run's recorded forecasts.

    Parameters
    ----------
    given
        Values by axis as text, see `runners.trading_grid.axes`.

    Raises
    ------
    DataError, SettingsError
        If the candles have changed since the run, or values cannot be read or traded.
    """
    settings, equity = BacktestSettings(**run.config["backtest"]), run.equity()
    bars, forecast = traded_bars(run), equity["forecast"].to_numpy()
    grid = Grid.of(axes(given, settings, forecast))
    periods = bars_per_year(pd.DatetimeIndex(bars.index))
    table = _figures(bars, forecast, grid, settings.cash, periods)
    at_own_costs = (table["commission"] == settings.commission) & (table["slippage"] == settings.slippage)
    table["tried"] = at_own_costs & (not run.in_sample)
    candidates = at_own_costs & (table["orders"] > 0)
    if not candidates.any():
        raise DataError("none of these settings trades: all forecasts lie between the thresholds. Lower them.")
    best = int(np.where(candidates, table["sharpe_per_bar"], -np.inf).argmax())

    confirmed = replay(run, read_candles(run.file), grid.settings(best, settings))
    (_, simulated), *_ = simulate_grid(bars, forecast, Grid(grid.table.iloc[[best]]), settings.cash)
    found, expected = simulated.equity[:, 0], confirmed.equity["equity"].to_numpy()
    tries = [*read_tries(run.folder.parent), *sweep_tries(table)]
    return Sweep(
        run=run,
        table=table,
        own=grid.number_of(settings),
        best=best,
        confirmed=confirmed,
        disagreement=float(np.max(np.abs(found - expected) / np.maximum(np.abs(expected), settings.cash))),
        trials=Trials.of(tries, confirmed.metrics, run.training, bars.index[0], bars.index[-1]),
    )


def _figures(bars: pd.DataFrame, forecast: np.ndarray, grid: Grid, cash: float, periods: float) -> pd.DataFrame:
    parts = []
    for which, simulated in simulate_grid(bars, forecast, grid, cash):
        equity = simulated.equity
        peak = np.maximum(np.maximum.accumulate(equity, axis=0), cash)
        per_bar = sharpe_ratio(grid_returns(equity, cash))
        parts.append(
            grid.table.iloc[which].assign(
                final_value=equity[-1],
                total_return=equity[-1] / cash - 1,
                sharpe_per_bar=per_bar,
                sharpe=per_bar * math.sqrt(periods),
                max_drawdown=(equity / peak).min(axis=0) - 1,
                orders=simulated.fills,
                trades=simulated.round_trips,
            )
        )
    table = pd.concat(parts)
    return table.assign(first_bar=bars.index[0], last_bar=bars.index[-1])
