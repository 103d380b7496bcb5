"""Grids of trading settings, traded on a run's forecasts by the array simulator, and the sweep that picks the best."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from data.candles import read_candles
from data.errors import DataError, SettingsError
from runners.backtesting.engine import replay_run
from runners.backtesting.metrics import bars_per_year, drawdown, simple_returns
from runners.backtesting.result import Backtest
from runners.backtesting.runs import Run, Trials, read_trials, trials_of_table
from runners.backtesting.settings import BacktestSettings
from strategies.array_simulation import SettingsGrid, Simulated, simulate
from strategies.settings import AXES, CostSettings, TradingSettings
from training.sharpe import sharpe_ratio

COSTS = tuple(CostSettings.model_fields)
_THRESHOLDS = 20  # on either side, where none are named
_LARGEST_THRESHOLD = 0.99  # quantile of the forecasts' sizes
_MOST_SETTINGS = 100_000
_SAME = 1e-9  # of an equity that two ways of computing it agree on
_CELLS_AT_ONCE = 16_000_000  # bars times settings, 128 MB an array; few passes, for each costs a loop over the bars


@dataclass(frozen=True)
class Grid:
    """Every combination of some values of the trading settings; combinations with short > long are skipped.

    Attributes
    ----------
    table
        ``(n_settings, n_axes)``, a column for each of `AXES`.
    """

    table: pd.DataFrame

    @classmethod
    def of(cls, values: Mapping[str, Sequence[float] | Sequence[str]]) -> Grid:
        """Of the values of each of `AXES`."""
        table = pd.DataFrame(list(itertools.product(*(values[name] for name in AXES))), columns=list(AXES))
        return cls(table[table["short_threshold"] <= table["long_threshold"]].reset_index(drop=True))

    @classmethod
    def of_one(cls, settings: TradingSettings) -> Grid:
        return cls.of({name: [getattr(settings, name)] for name in AXES})

    def __len__(self) -> int:
        return len(self.table)

    def settings(self, number: int, others: BacktestSettings) -> BacktestSettings:
        """One of the settings, with what a grid does not vary taken from others."""
        return others.model_copy(update={name: self.table.loc[number, name] for name in AXES})

    def number_of(self, settings: TradingSettings) -> int:
        """The number of these settings in the grid, which must hold them."""
        same = np.all([self.table[name] == getattr(settings, name) for name in AXES], axis=0)
        return int(np.flatnonzero(same)[0])


def _axes(given: Mapping[str, str | None], settings: BacktestSettings, forecast: np.ndarray) -> dict[str, list]:
    """The values of each axis: those given, or the run's own; thresholds evenly over the forecasts' sizes.

    The run's own value is always among them.

    Parameters
    ----------
    given
        By axis ``first:last:count``, or values separated by commas; None where nothing was given.
    forecast
        ``(n_bars,)`` the run's, NaN allowed.

    Raises
    ------
    SettingsError
        If a text cannot be read, or they make too many settings.
    """
    values: dict[str, list] = {}
    for name in AXES:
        own, text = getattr(settings, name), given.get(name)
        if text is not None:
            chosen = _parsed(name, text)
        elif name in ("long_threshold", "short_threshold"):
            largest = float(np.nanquantile(np.abs(forecast), _LARGEST_THRESHOLD))
            side = 1 if name == "long_threshold" else -1
            chosen = [float(f"{side * size:.3g}") for size in np.linspace(0, largest, _THRESHOLDS)]
        else:
            chosen = ["hold", "flat"] if name == "neutral" else []
        values[name] = sorted({*chosen, own})
    count = math.prod(len(of_axis) for of_axis in values.values())
    if count > _MOST_SETTINGS:
        raise SettingsError(f"the grid has {count:,} settings; {_MOST_SETTINGS:,} are the most. Name fewer values.")
    return values


def _parsed(name: str, text: str) -> list:
    if name == "neutral":
        words = [word.strip() for word in text.split(",")]
        if not set(words) <= {"hold", "flat"}:
            raise SettingsError(f"--neutral {text}: it can be hold, flat, or hold,flat.")
        return words
    try:
        if ":" in text:
            first, last, count = text.split(":")
            numbers = [float(f"{value:.6g}") for value in np.linspace(float(first), float(last), int(count))]
        else:
            numbers = [float(word) for word in text.split(",")]
    except ValueError:
        numbers = []
    if not numbers or not np.isfinite(numbers).all():
        flag = f"--{name.replace('_', '-')}"
        raise SettingsError(
            f"{flag} {text}: write values separated by commas (0.001,0.002), or first:last:count (0:0.004:20)."
        )
    return numbers


def simulate_grid(
    bars: pd.DataFrame, forecast: np.ndarray, grid: Grid, cash: float
) -> Iterator[tuple[slice, Simulated]]:
    """Trade all settings of the grid, as many at once as memory carries well."""
    arrays = SettingsGrid.from_table(grid.table)
    prices = bars["open"].to_numpy(), bars["close"].to_numpy()
    at_once = max(1, _CELLS_AT_ONCE // len(bars))
    for first in range(0, len(grid), at_once):
        which = slice(first, min(first + at_once, len(grid)))
        yield which, simulate(*prices, forecast, arrays.part(which), cash)


def traded_candles(run: Run) -> pd.DataFrame:
    """The candles that a run traded: all of their file, with whatever came after its bars.

    Raises
    ------
    DataError
        If they have changed since: the run's own settings give another equity on them.
    """
    candles, equity = read_candles(run.file, sort=True), run.equity()
    bars = candles.loc[equity.index[0] : equity.index[-1]]
    if bars.index.equals(equity.index):
        own = Grid.of_one(run.settings)
        (_, simulated), *_ = simulate_grid(bars, equity["forecast"].to_numpy(), own, run.cash)
        if np.allclose(simulated.equity[:, 0], equity["equity"], rtol=_SAME, atol=0):
            return candles
    raise DataError(f"{run.file}: its bars are not those that {run.id} traded any more; backtest again.")


@dataclass(frozen=True)
class GridRun:
    """A grid of settings on the forecasts of a run, and on the bars that it traded."""

    run: Run
    candles: pd.DataFrame
    bars: pd.DataFrame
    forecast: np.ndarray
    grid: Grid

    @classmethod
    def of(cls, run: Run, given: Mapping[str, str | None]) -> GridRun:
        """With the values given for each of `AXES`.

        A text is ``first:last:count``, or values separated by commas. Without one the axis has the run's own value,
        thresholds span the size of the run's forecasts, and both rules are tried. The run's own values are always
        in the grid.

        Raises
        ------
        DataError, SettingsError
            If the candles have changed since the run, or values cannot be read.
        """
        candles, equity = traded_candles(run), run.equity()
        bars, forecast = candles.loc[equity.index[0] : equity.index[-1]], equity["forecast"].to_numpy()
        return cls(run, candles, bars, forecast, Grid.of(_axes(given, run.settings, forecast)))

    @property
    def own(self) -> int:
        """Number of the run's own setting."""
        return self.grid.number_of(self.run.settings)

    @property
    def periods(self) -> float:
        """Bars per year."""
        return bars_per_year(pd.DatetimeIndex(self.bars.index))

    def simulate(self) -> Iterator[tuple[slice, Simulated]]:
        """Each part of the settings, and what their accounts did."""
        return simulate_grid(self.bars, self.forecast, self.grid, self.run.cash)

    def equity_of(self, number: int) -> np.ndarray:
        """Equity ``(n_bars,)`` of one setting."""
        alone = Grid(self.grid.table.iloc[[number]])
        (_, simulated), *_ = simulate_grid(self.bars, self.forecast, alone, self.run.cash)
        return simulated.equity[:, 0]

    def figures(self, which: slice, simulated: Simulated) -> pd.DataFrame:
        """One row per setting.

        Its settings; over the bars ``first_bar`` to ``last_bar`` its ``final_value``, ``total_return``,
        ``sharpe_per_bar``, ``sharpe`` (annualised), ``max_drawdown``, ``orders`` filled and ``trades`` (closed round
        trips). Only settings ``at_own_costs``, the run's, can be chosen: the others show what costs would change. Of
        those ``tried`` are the ones on unseen bars.
        """
        settings, equity, cash = self.run.settings, simulated.equity, self.run.cash
        table = self.grid.table.iloc[which]
        per_bar = sharpe_ratio(simple_returns(equity, cash))
        at_own_costs = np.all([table[name] == getattr(settings, name) for name in COSTS], axis=0)
        return table.assign(
            first_bar=self.bars.index[0],
            last_bar=self.bars.index[-1],
            bars=len(self.bars),
            final_value=equity[-1],
            total_return=equity[-1] / cash - 1,
            sharpe_per_bar=per_bar,
            sharpe=per_bar * math.sqrt(self.periods),
            max_drawdown=drawdown(equity, cash).min(axis=0),
            orders=simulated.fills,
            trades=simulated.round_trips,
            at_own_costs=at_own_costs,
            tried=at_own_costs & (not self.run.in_sample),
        )


def candidates(table: pd.DataFrame) -> pd.Series:
    """Which settings of `GridRun.figures` can be the best: those at the run's own costs that trade.

    Raises
    ------
    DataError
        If there is none.
    """
    chosen_from = table["at_own_costs"] & (table["orders"] > 0)
    if not chosen_from.any():
        raise DataError("none of these settings trades: all forecasts lie between the thresholds. Lower them.")
    return chosen_from


@dataclass(frozen=True)
class Sweep:
    """The result of a sweep.

    Attributes
    ----------
    table
        One row per setting, see `GridRun.figures`.
    own, best
        Numbers of the run's own setting, and of the one with the highest Sharpe ratio, at the run's costs, that trades.
    confirmed
        The best, traded by Backtrader.
    disagreement
        Largest difference at any bar of its equity to the simulated one, relative to the larger of equity and cash.
    trials
        The settings of this sweep and all earlier trials on these bars.
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
    confirmed = replay_run(run, grid_run.candles, grid_run.grid.settings(best, run.settings), chosen_from=len(table))
    simulated = grid_run.equity_of(best)
    expected = confirmed.equity["equity"].to_numpy()
    index, trials = grid_run.bars.index, [*read_trials(run.folder.parent), *trials_of_table(table)]
    return Sweep(
        run=run,
        table=table,
        own=grid_run.own,
        best=best,
        confirmed=confirmed,
        disagreement=float(np.max(np.abs(simulated - expected) / np.maximum(np.abs(expected), cash))),
        trials=Trials.of(trials, confirmed.metrics, run.training.study, index[0], index[-1]),
    )
