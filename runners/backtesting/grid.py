"""Trades grids of settings on the forecasts of a run."""

from __future__ import annotations

import itertools
import math
import os
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import pandas as pd

from data.candles import read_candles
from data.errors import DataError, SettingsError
from data.intervals import bars_per_year
from models.forecaster import member_forecasts
from runners.backtesting.runs import Run
from runners.backtesting.settings import BacktestSettings
from strategies.array_simulation import CHOICES, SettingsGrid, Simulated, contradictions, simulate
from strategies.settings import AXES, TradingSettings
from strategies.signals import Market

_THRESHOLDS = 20  # default number on each side
_LARGEST_THRESHOLD = 0.99  # quantile of the members' absolute forecasts
_MOST_SETTINGS = 100_000
_TOLERANCE = 1e-9  # relative difference between equities of the array simulator and of Backtrader
_CELLS_AT_ONCE = 2_000_000  # bars times settings, 16 MB per array


@dataclass(frozen=True)
class Grid:
    """Combinations of trading settings: ``table`` is ``(n_settings, n_axes)``, one column for each of `AXES`."""

    table: pd.DataFrame

    @classmethod
    def of(cls, values: Mapping[str, Sequence[float] | Sequence[str]]) -> Grid:
        """All combinations of the values of each axis but those that contradict each other, such as short > long."""
        table = pd.DataFrame(list(itertools.product(*(values[name] for name in AXES))), columns=list(AXES))
        wrong = np.any([mask for mask, _ in contradictions(table).values()], axis=0)
        return cls(table[~wrong].reset_index(drop=True))

    @classmethod
    def of_one(cls, settings: TradingSettings) -> Grid:
        return cls.of({name: [getattr(settings, name)] for name in AXES})

    def __len__(self) -> int:
        return len(self.table)

    def settings(self, number: int, others: BacktestSettings) -> BacktestSettings:
        """Settings by number; ``others`` has the values that a grid does not vary."""
        (values,) = self.table.loc[[number], list(AXES)].to_dict("records")
        return others.model_copy(update={name: values[name] for name in AXES})

    def number_of(self, settings: TradingSettings) -> int:
        """The number of these settings, which must be in the grid."""
        same = np.all([self.table[name] == getattr(settings, name) for name in AXES], axis=0)
        return int(np.flatnonzero(same)[0])


def _axes(given: Mapping[str, str | None], settings: BacktestSettings, members: np.ndarray) -> dict[str, list]:
    """The values of each axis, as in `GridRun.of`; ``members`` are forecasts ``(n_bars, n_members)``, NaN allowed."""
    values: dict[str, list] = {}
    for name in AXES:
        own, text = getattr(settings, name), given.get(name)
        if text is not None:
            added = _parse(name, text)
        elif name in ("long_threshold", "short_threshold"):
            largest = float(np.nanquantile(np.abs(members), _LARGEST_THRESHOLD))
            side = 1 if name == "long_threshold" else -1
            added = [float(f"{side * size:.3g}") for size in np.linspace(0, largest, _THRESHOLDS)]
        else:
            added = list(CHOICES[name]) if name == "neutral" else []
        values[name] = sorted({*added, own})
    _require_size(math.prod(map(len, values.values())))
    return values


def _require_size(n_settings: int) -> None:
    """Raise a `SettingsError` if a grid has too many settings, before memory is allocated for them."""
    if n_settings > _MOST_SETTINGS:
        raise SettingsError(
            f"the grid has {n_settings:,} settings; at most {_MOST_SETTINGS:,} are allowed. Give fewer values."
        )


def _parse(name: str, text: str) -> list:
    flag = f"--{name.replace('_', '-')}"
    if name in CHOICES:
        words, known = [word.strip() for word in text.split(",")], CHOICES[name]
        if not set(words) <= set(known):
            raise SettingsError(f"{flag} {text}: write one or several of {', '.join(known)}, separated by commas.")
        return words
    try:
        if ":" in text:
            first, last, count = text.split(":")
            _require_size(int(count))
            numbers = [float(f"{value:.6g}") for value in np.linspace(float(first), float(last), int(count))]
        else:
            numbers = [float(word) for word in text.split(",")]
    except ValueError:
        numbers = []
    if not numbers or not np.isfinite(numbers).all():
        raise SettingsError(
            f"{flag} {text}: write values separated by commas (0.001,0.002), or first:last:count (0:0.004:20)."
        )
    if TradingSettings.model_fields[name].annotation is int:
        if not all(number.is_integer() for number in numbers):
            raise SettingsError(f"{flag} {text}: write whole numbers.")
        return [int(number) for number in numbers]
    return numbers


def simulate_grid(
    bars: pd.DataFrame, members: np.ndarray, grid: Grid, cash: float, market: Market | None = None
) -> Iterator[tuple[slice, Simulated]]:
    """Trade all settings of the grid in parts that fit into memory, the next parts in threads."""
    arrays = SettingsGrid(grid.table)
    prices = bars["open"].to_numpy(), bars["close"].to_numpy()
    at_once = max(1, _CELLS_AT_ONCE // len(bars))
    cores = os.cpu_count() or 1
    with ThreadPoolExecutor(cores) as pool:  # compiled code releases Python's lock
        waiting: deque[tuple[slice, Future[Simulated]]] = deque()
        for first in range(0, len(grid), at_once):
            which = slice(first, min(first + at_once, len(grid)))
            waiting.append((which, pool.submit(simulate, *prices, members, arrays.part(which), cash, market)))
            if len(waiting) > cores:
                done, simulated = waiting.popleft()
                yield done, simulated.result()
        for which, simulated in waiting:
            yield which, simulated.result()


def traded_candles(run: Run) -> pd.DataFrame:
    """All candles in the file that a run traded.

    Raises
    ------
    DataError
        If they have changed: the settings of the run no longer give its equity.
    """
    candles, equity = read_candles(run.file), run.equity()
    bars = candles.loc[equity.index[0] : equity.index[-1]]
    if bars.index.equals(equity.index):
        own, forecasts = Grid.of_one(run.settings), run.forecasts()
        market = Market.of(candles, forecasts)
        (_, simulated), *_ = simulate_grid(bars, member_forecasts(forecasts), own, run.cash, market)
        if np.allclose(simulated.equity[:, 0], equity["equity"], rtol=_TOLERANCE, atol=0):
            return candles
    raise DataError(f"{run.file}: its bars have changed since {run.id}. Backtest again.")


@dataclass(frozen=True)
class GridRun:
    """A grid of settings on the bars of a run and its members' forecasts ``(n_bars, n_members)``."""

    run: Run
    candles: pd.DataFrame
    bars: pd.DataFrame
    members: np.ndarray
    market: Market
    grid: Grid

    @classmethod
    def of(cls, run: Run, given: Mapping[str, str | None]) -> GridRun:
        """A grid of the values given by axis, as ``first:last:count`` or separated by commas.

        Defaults: thresholds evenly over the size of the members' forecasts, both neutral rules, and the run's own value
        of each other axis. The run's own values are always in the grid.

        Raises
        ------
        DataError
            If the candles have changed since the run.
        SettingsError
            If a text cannot be read, or the grid is too large.
        """
        candles, forecasts = traded_candles(run), run.forecasts()
        bars, members = candles.loc[forecasts.index[0] : forecasts.index[-1]], member_forecasts(forecasts)
        grid = Grid.of(_axes(given, run.settings, members))
        return cls(run, candles, bars, members, Market.of(candles, forecasts), grid)

    @property
    def own(self) -> int:
        """Number of the run's own settings."""
        return self.grid.number_of(self.run.settings)

    @property
    def periods(self) -> float:
        """Bars per year."""
        return bars_per_year(pd.DatetimeIndex(self.bars.index))

    def simulate(self) -> Iterator[tuple[slice, Simulated]]:
        """Each part of the settings and its results."""
        return simulate_grid(self.bars, self.members, self.grid, self.run.cash, self.market)

    def equity_of(self, numbers: list[int] | np.ndarray) -> np.ndarray:
        """Equity ``(n_bars, n)`` of ``n`` settings, by their numbers."""
        some = Grid(self.grid.table.iloc[numbers])
        parts = simulate_grid(self.bars, self.members, some, self.run.cash, self.market)
        return np.concatenate([simulated.equity for _, simulated in parts], axis=1)
