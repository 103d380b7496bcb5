"""Backtests of many settings at once, as arrays: what Backtrader would do with each of them.

`simulate` repeats, operation by operation in floating point, what Backtrader's ``BackBroker`` does with the orders of
`LSTMRegimeStrategy`. Equity is the same to the last bit, and must be: the broker asks whether cash is below 0 to the
last bit, and another answer is another run.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
import pandas as pd

from data.errors import SettingsError
from strategies.settings import AXES, TradingSettings, bounds_of


@dataclass(frozen=True)
class SettingsGrid:
    """Settings to run side by side: those of `TradingSettings` that an account trades by, as arrays ``(n_settings,)``.

    Attributes
    ----------
    neutral_flat
        Whether ``neutral`` is ``flat``.

    Raises
    ------
    SettingsError
        Naming the first setting that `TradingSettings` would refuse, by its number.
    """

    long_threshold: np.ndarray
    short_threshold: np.ndarray
    exposure: np.ndarray
    commission: np.ndarray
    slippage: np.ndarray
    borrow_rate: np.ndarray
    neutral_flat: np.ndarray

    @classmethod
    def of(cls, *settings: TradingSettings) -> SettingsGrid:
        """A grid of these settings."""
        return cls.from_table(pd.DataFrame([one.model_dump(include=set(AXES)) for one in settings]))

    @classmethod
    def from_table(cls, table: pd.DataFrame) -> SettingsGrid:
        """A grid of a table's rows, with a column for each of `AXES`."""
        numbers = {name: table[name].to_numpy(dtype=float) for name in AXES if name != "neutral"}
        return cls(**numbers, neutral_flat=(table["neutral"] == "flat").to_numpy())

    def __post_init__(self) -> None:
        shapes = {field.name: np.shape(getattr(self, field.name)) for field in fields(self)}
        if len(set(shapes.values())) > 1 or len(shapes["exposure"]) != 1:
            raise SettingsError(f"the arrays of a grid have one entry per setting, but their shapes are {shapes}.")
        if self.neutral_flat.dtype != bool:
            raise SettingsError(f"neutral_flat has the type {self.neutral_flat.dtype}; it must be bool.")
        for name in AXES:
            if name != "neutral":
                within, bounds = bounds_of(name)
                self._refuse_first(~within(getattr(self, name)), name, f"must be {bounds}")
        self._refuse_first(self.short_threshold > self.long_threshold, "short_threshold", "lies above long_threshold")

    def _refuse_first(self, wrong: np.ndarray, name: str, reason: str) -> None:
        if wrong.any():
            number = int(wrong.argmax())
            raise SettingsError(f"setting {number}: {name} {getattr(self, name)[number]:g} {reason}.")

    def __len__(self) -> int:
        return len(self.exposure)

    def part(self, which: slice) -> SettingsGrid:
        """A few of the settings."""
        return SettingsGrid(**{field.name: getattr(self, field.name)[which] for field in fields(self)})


@dataclass(frozen=True)
class Simulated:
    """What each setting's account did.

    Attributes
    ----------
    equity, position
        ``(n_bars, n_settings)`` at each bar's close, in currency and in units, negative for short. An account whose
        equity is 0 or below there is bankrupt: it is closed at that close, and its equity stays as it is.
    fills, round_trips
        ``(n_settings,)`` orders that were filled, and positions that were closed or turned.
    """

    equity: np.ndarray
    position: np.ndarray
    fills: np.ndarray
    round_trips: np.ndarray


def simulate(open_: np.ndarray, close: np.ndarray, forecast: np.ndarray, grid: SettingsGrid, cash: float) -> Simulated:
    """Trade each setting over the same bars, each with an account of its own.

    Parameters
    ----------
    open_, close, forecast
        ``(n_bars,)`` prices of the bars that trade, and the next bar's log return forecast at each close; nothing is
        decided where the forecast is NaN. The first bar decides already; what the last one decides is never filled.
    cash
        Equity at the start.

    Raises
    ------
    SettingsError
        If the arrays are not one-dimensional and of one length, or there is no cash.
    """
    shapes = np.shape(open_), np.shape(close), np.shape(forecast)
    if len(set(shapes)) > 1 or len(shapes[0]) != 1:
        raise SettingsError(f"open, close and forecast have one entry a bar, but their shapes are {shapes}.")
    if not cash > 0:
        raise SettingsError(f"cash is {cash:g}; it is the equity at the start, above 0.")
    equity, position = np.empty((len(close), len(grid))), np.empty((len(close), len(grid)))
    accounts = Accounts(grid, cash)
    for bar, (opened_at, closed_at, known) in enumerate(zip(open_, close, forecast, strict=True)):
        accounts.charge(opened_at)
        accounts.fill(opened_at)
        equity[bar] = accounts.value(closed_at)
        accounts.close_bankrupt(equity[bar])
        position[bar] = accounts.size
        accounts.decide(known, equity[bar], closed_at)
    return Simulated(equity, position, accounts.fills, accounts.round_trips)


class Accounts:
    """All accounts between two bars: cash, units held and their average price, each ``(n_settings,)``.

    ``ordering`` are the numbers of the settings with an order in the market, ``order`` its units, negative to sell. No
    order outlives the next bar. (The broker would keep the remainder of an order to turn if its closing and its opening
    part did not add up to it in floating point, but they always do.)
    """

    def __init__(self, grid: SettingsGrid, cash: float) -> None:
        self.grid, self.borrowing = grid, bool(grid.borrow_rate.any())
        self.cash = np.full(len(grid), float(cash))
        self.size, self.entry = np.zeros((2, len(grid)))
        self.fills, self.round_trips = np.zeros((2, len(grid)), dtype=int)
        self.ordering, self.order = np.zeros(0, dtype=int), np.zeros(0)

    def value(self, close: float) -> np.ndarray:
        """Equity, added up as the broker does it: a long position's profit apart from what was paid for it."""
        worth, profit = self.size * close, self.size * (close - self.entry)
        return self.cash + np.where(worth > 0, (worth - profit) + profit, worth)

    def close_bankrupt(self, equity: np.ndarray) -> None:
        """Turn the positions of accounts that have lost all into what they are worth."""
        bankrupt = equity <= 0
        if not bankrupt.any():
            return
        self.round_trips += bankrupt & (self.size != 0)
        self.cash, self.size = np.where(bankrupt, equity, self.cash), np.where(bankrupt, 0.0, self.size)

    def decide(self, forecast: float, equity: np.ndarray, close: float) -> None:
        """Order what `RuleSettings.direction` wants and is not held, in the size of `target_size`, where cash allows.

        The broker's first look drops an order that would leave cash below 0 at this close, without slippage; one to
        close, too: an account without the cash to buy its short back stays short. The strategy decides afresh then.
        """
        held = np.sign(self.size)
        wanted = held if np.isnan(forecast) else np.where(self.grid.neutral_flat, 0.0, held)
        wanted = np.where(forecast < self.grid.short_threshold, -1.0, wanted)
        wanted = np.where(forecast > self.grid.long_threshold, 1.0, wanted)
        at = np.flatnonzero((wanted != held) & (equity > 0))
        self.submit(at, wanted[at] * self.grid.exposure[at] * equity[at] / close - self.size[at], close)

    def submit(self, at: np.ndarray, order: np.ndarray, close: float) -> None:
        """Order these units for the settings numbered ``at``; see `decide` for what is dropped."""
        closed, opened = _closed_and_opened(self.size[at], order)
        _, cash = _cash_after(self.cash[at], closed, opened, close, close, self.grid.commission[at])
        self.ordering, self.order = at[cash >= 0], order[cash >= 0]

    def charge(self, open_: float) -> None:
        """Take the fee for short positions held into the bar that opens at this price."""
        if self.borrowing:
            self.cash = self.cash - self.grid.borrow_rate * np.maximum(-self.size, 0.0) * open_

    def fill(self, open_: float) -> None:
        """Fill the orders at a bar's open, with slippage.

        The broker looks at cash a second time, at the price of the fill: what closes a position is filled even if cash
        falls below 0 by it, but not what opens one, so that an order to turn may end flat. Either way the order is done
        with, and the strategy decides afresh at this bar's close.
        """
        if not self.order.size:
            return
        at, order = self.ordering, self.order
        size, entry = self.size[at], self.entry[at]
        commission, slippage = self.grid.commission[at], self.grid.slippage[at]
        closed, opened = _closed_and_opened(size, order)
        price = open_ * np.where(order > 0, 1 + slippage, 1 - slippage)
        cash_closed, cash = _cash_after(self.cash[at], closed, opened, entry, price, commission)
        refused = cash < 0  # where nothing opens, what closes is the whole order anyway
        traded = np.where(refused, closed, order)
        new_size = size + traded

        side, new_side = np.sign(size), np.sign(new_size)
        self.cash[at] = np.where(refused, cash_closed, cash)
        self.size[at], self.entry[at] = new_size, np.where(new_side == side, entry, price)
        self.fills[at] += traded != 0
        self.round_trips[at] += (side != 0) & (new_side != side)
        self.ordering, self.order = at[:0], order[:0]


def _closed_and_opened(size: np.ndarray, order: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The units of an order that close a position of ``size``, and those that open or enlarge one."""
    new_size = size + order
    side = np.sign(size)
    closes, turns = side * np.sign(order) < 0, side * np.sign(new_size) < 0
    closed = np.where(turns, -size, np.where(closes, order, 0.0))
    return closed, np.where(turns, new_size, np.where(closes, 0.0, order))


def _cash_after(
    cash: np.ndarray,
    closed: np.ndarray,
    opened: np.ndarray,
    entry: np.ndarray | float,
    price: np.ndarray | float,
    commission: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Cash once the closing part is filled, and once the opening part is too; selling short brings cash in.

    The sums are the broker's: closing gives back what the units cost, and their profit.
    """
    cash_closed = cash + (-closed * entry + -closed * (price - entry)) - np.abs(closed) * commission * price
    return cash_closed, cash_closed - opened * price - np.abs(opened) * commission * price
