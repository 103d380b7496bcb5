"""Trading settings over a grid, and what each of them would have earned on a run's forecasts."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from data.candles import read_candles
from data.errors import DataError, SettingsError
from runners.registry import Run
from runners.settings import BacktestSettings
from strategies.array_simulation import SettingsGrid, Simulated, simulate

AXES = ("long_threshold", "short_threshold", "between", "exposure", "commission", "slippage")
_THRESHOLDS = 20  # on either side, where none are named
_LARGEST_THRESHOLD = 0.99  # quantile of the forecasts' sizes
_CELLS_AT_ONCE = 16_000_000  # bars times settings, 128 MB an array; few passes, for each costs a loop over the bars


@dataclass(frozen=True)
class Grid:
    """Every combination of some values of the trading settings; one whose short threshold lies above its long is none.

    Attributes
    ----------
    table
        ``(n_settings, 6)``, a column for each of `AXES`.
    """

    table: pd.DataFrame

    @classmethod
    def of(cls, values: Mapping[str, list[float] | list[str]]) -> Grid:
        """Of the values of each of `AXES`."""
        table = pd.DataFrame(list(itertools.product(*(values[name] for name in AXES))), columns=list(AXES))
        return cls(table[table["short_threshold"] <= table["long_threshold"]].reset_index(drop=True))

    def __len__(self) -> int:
        return len(self.table)

    def settings(self, number: int, others: BacktestSettings) -> BacktestSettings:
        """One of the settings, with what a grid does not vary taken from others."""
        return others.model_copy(update={name: self.table.loc[number, name] for name in AXES})

    def number_of(self, settings: BacktestSettings) -> int:
        """Which of them these are."""
        same = np.all([self.table[name] == getattr(settings, name) for name in AXES], axis=0)
        return int(np.flatnonzero(same)[0])

    def arrays(self) -> SettingsGrid:
        numbers = {name: self.table[name].to_numpy(dtype=float) for name in AXES if name != "between"}
        return SettingsGrid(**numbers, between_flat=(self.table["between"] == "flat").to_numpy())


def axes(given: Mapping[str, str | None], settings: BacktestSettings, forecast: np.ndarray) -> dict[str, list]:
    """The values of each axis: those given, or the run's own; thresholds evenly over the forecasts' sizes.

    The run's own value is always among them.

    Parameters
    ----------
    given
        By axis ``first:last:count``, or values between commas; None where nothing was said.
    forecast
        ``(n_bars,)`` the run's, NaN allowed.
    """
    values = {}
    for name in AXES:
        own, text = getattr(settings, name), given.get(name)
        if text is not None:
            found = _parsed(name, text)
        elif name in ("long_threshold", "short_threshold"):
            largest = float(np.nanquantile(np.abs(forecast), _LARGEST_THRESHOLD))
            side = 1 if name == "long_threshold" else -1
            found = [float(f"{side * size:.3g}") for size in np.linspace(0, largest, _THRESHOLDS)]
        else:
            found = ["hold", "flat"] if name == "between" else []
        values[name] = sorted({*found, own})
    return values


def _parsed(name: str, text: str) -> list:
    if name == "between":
        words = [word.strip() for word in text.split(",")]
        if not set(words) <= {"hold", "flat"}:
            raise SettingsError(f"--between {text}: it can be hold, flat, or both between a comma.")
        return words
    try:
        if ":" in text:
            first, last, count = text.split(":")
            return [float(f"{value:.6g}") for value in np.linspace(float(first), float(last), int(count))]
        return [float(word) for word in text.split(",")]
    except ValueError:
        flag = f"--{name.replace('_', '-')}"
        raise SettingsError(
            f"{flag} {text}: write values between commas (0.001,0.002), or first:last:count (0:0.004:20)."
        ) from None


def traded_bars(run: Run) -> pd.DataFrame:
    """The candles of the bars that a run traded.

    Raises
    ------
    DataError
        If they are not those of the run any more.
    """
    candles = read_candles(run.file)
    equity = run.equity()
    bars = candles.loc[equity.index[0] : equity.index[-1]]
    if not bars.index.equals(equity.index):
        raise DataError(f"{run.file}: its bars are not those that {run.id} traded any more; backtest again.")
    return bars


def simulate_grid(
    bars: pd.DataFrame, forecast: np.ndarray, grid: Grid, cash: float
) -> Iterator[tuple[slice, Simulated]]:
    """Trade all settings of the grid, as many at once as memory carries well."""
    arrays = grid.arrays()
    prices = bars["open"].to_numpy(), bars["close"].to_numpy()
    at_once = max(1, _CELLS_AT_ONCE // len(bars))
    for first in range(0, len(grid), at_once):
        which = slice(first, min(first + at_once, len(grid)))
        yield which, simulate(*prices, forecast, arrays.part(which), cash)


def grid_returns(equity: np.ndarray, cash: float) -> np.ndarray:
    """Simple returns a bar ``(n_bars, n_settings)`` of equity of that shape; an account loses all once, and rests."""
    before = np.vstack([np.full((1, equity.shape[1]), cash), equity[:-1]])
    if equity.min() > 0:
        return equity / before - 1
    solvent = np.logical_and.accumulate(equity > 0, axis=0)
    was_solvent = np.vstack([np.ones((1, equity.shape[1]), dtype=bool), solvent[:-1]])
    returns = equity / np.where(was_solvent, before, 1.0) - 1
    return np.where(solvent, returns, np.where(was_solvent, -1.0, 0.0))
