"""Simulates many trading settings at once, as arrays, exactly as Backtrader would trade each of them.

`simulate` repeats every floating-point operation of Backtrader's ``BackBroker`` on the orders of `LSTMRegimeStrategy`.
Equity must be equal to the last bit, because the broker rejects orders by the sign of the remaining cash.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import pandas as pd

from data.errors import SettingsError
from strategies.settings import AXES, TradingSettings

_COMPARISONS: dict[str, tuple[Callable[[Any, Any], Any], str]] = {
    "gt": (operator.gt, "above"),
    "ge": (operator.ge, "at least"),
    "lt": (operator.lt, "below"),
    "le": (operator.le, "at most"),
}


def _bounds_of(name: str) -> tuple[Callable[[np.ndarray], np.ndarray], str]:
    """A function that checks many values of one setting against its bounds, and the bounds in words."""
    bounds = [
        (holds, getattr(bound, comparison), words)
        for bound in TradingSettings.model_fields[name].metadata
        for comparison, (holds, words) in _COMPARISONS.items()
        if hasattr(bound, comparison)
    ]

    def within(values: np.ndarray) -> np.ndarray:
        return np.logical_and.reduce([np.isfinite(values), *(holds(values, limit) for holds, limit, _ in bounds)])

    return within, " and ".join(f"{words} {limit:g}" for _, limit, words in bounds) or "a finite number"


@dataclass(frozen=True)
class SettingsGrid:
    """Trading settings to compare: the fields of `TradingSettings` in `AXES`, as arrays ``(n_settings,)``.

    Attributes
    ----------
    neutral_flat
        Whether ``neutral`` is ``flat``.

    Raises
    ------
    SettingsError
        For the first setting, by its number, that `TradingSettings` would reject.
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
        return cls.from_table(pd.DataFrame([one.model_dump(include=set(AXES)) for one in settings]))

    @classmethod
    def from_table(cls, table: pd.DataFrame) -> SettingsGrid:
        """One setting per row of a table that has the columns `AXES`."""
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
                within, bounds = _bounds_of(name)
                self._refuse_first(~within(getattr(self, name)), name, f"must be {bounds}")
        self._refuse_first(self.short_threshold > self.long_threshold, "short_threshold", "lies above long_threshold")

    def _refuse_first(self, wrong: np.ndarray, name: str, reason: str) -> None:
        if wrong.any():
            number = int(wrong.argmax())
            raise SettingsError(f"setting {number}: {name} {getattr(self, name)[number]:g} {reason}.")

    def __len__(self) -> int:
        return len(self.exposure)

    def part(self, which: slice) -> SettingsGrid:
        return SettingsGrid(**{field.name: getattr(self, field.name)[which] for field in fields(self)})


@dataclass(frozen=True)
class Simulated:
    """The account of each setting.

    Attributes
    ----------
    equity, position
        ``(n_bars, n_settings)`` at each bar's close, in currency and in units, negative for short. An account with an
        equity of 0 or below is bankrupt: its position is closed at that close, and its equity no longer changes.
    fills, round_trips
        ``(n_settings,)`` numbers of filled orders, and of positions closed or reversed.
    """

    equity: np.ndarray
    position: np.ndarray
    fills: np.ndarray
    round_trips: np.ndarray


def simulate(open_: np.ndarray, close: np.ndarray, forecast: np.ndarray, grid: SettingsGrid, cash: float) -> Simulated:
    """Trade each setting over the same bars, each with its own account.

    Parameters
    ----------
    open_, close, forecast
        ``(n_bars,)`` prices, and at each close the forecast of the next log return; NaN gives no order. The first bar
        may give an order; an order of the last bar is not filled.
    cash
        Equity at the start.

    Raises
    ------
    SettingsError
        If the arrays are not one-dimensional and of equal length, or the cash is not above 0.
    """
    shapes = np.shape(open_), np.shape(close), np.shape(forecast)
    if len(set(shapes)) > 1 or len(shapes[0]) != 1:
        raise SettingsError(f"open, close and forecast have one entry per bar, but their shapes are {shapes}.")
    if not cash > 0:
        raise SettingsError(f"cash is {cash:g}; the initial equity must be above 0.")
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
    """State of all accounts between two bars: cash, units held and their average price, each ``(n_settings,)``.

    ``ordering`` are the numbers of the settings with a pending order, ``order`` its units, negative to sell. An order
    is filled or rejected at the next bar. (The broker would keep a remainder of a reversing order if its two parts did
    not add up to it in floating point, but they always do.)
    """

    def __init__(self, grid: SettingsGrid, cash: float) -> None:
        self.grid, self.borrowing = grid, bool(grid.borrow_rate.any())
        self.cash = np.full(len(grid), float(cash))
        self.size, self.entry = np.zeros((2, len(grid)))
        self.fills, self.round_trips = np.zeros((2, len(grid)), dtype=int)
        self.ordering, self.order = np.zeros(0, dtype=int), np.zeros(0)

    def value(self, close: float) -> np.ndarray:
        """Equity, summed in the broker's order: for a long position, cost and profit separately."""
        worth, profit = self.size * close, self.size * (close - self.entry)
        return self.cash + np.where(worth > 0, (worth - profit) + profit, worth)

    def close_bankrupt(self, equity: np.ndarray) -> None:
        """Close the positions of bankrupt accounts at this equity."""
        bankrupt = equity <= 0
        if not bankrupt.any():
            return
        self.round_trips += bankrupt & (self.size != 0)
        self.cash, self.size = np.where(bankrupt, equity, self.cash), np.where(bankrupt, 0.0, self.size)

    def decide(self, forecast: float, equity: np.ndarray, close: float) -> None:
        """Submit an order where `RuleSettings.direction` differs from the position, sized by `target_size`.

        The broker rejects an order that would leave cash below 0 at this close, without slippage, even one that closes
        a position: an account without the cash to buy its short back stays short.
        """
        held = np.sign(self.size)
        wanted = held if np.isnan(forecast) else np.where(self.grid.neutral_flat, 0.0, held)
        wanted = np.where(forecast < self.grid.short_threshold, -1.0, wanted)
        wanted = np.where(forecast > self.grid.long_threshold, 1.0, wanted)
        at = np.flatnonzero((wanted != held) & (equity > 0))
        self.submit(at, wanted[at] * self.grid.exposure[at] * equity[at] / close - self.size[at], close)

    def submit(self, at: np.ndarray, order: np.ndarray, close: float) -> None:
        """Submit orders of these units for the settings numbered ``at``; see `decide` for rejected ones."""
        closed, opened = _closed_and_opened(self.size[at], order)
        _, cash = _cash_after(self.cash[at], closed, opened, close, close, self.grid.commission[at])
        self.ordering, self.order = at[cash >= 0], order[cash >= 0]

    def charge(self, open_: float) -> None:
        """Charge the borrow fee for short positions at a bar's open."""
        if self.borrowing:
            self.cash = self.cash - self.grid.borrow_rate * np.maximum(-self.size, 0.0) * open_

    def fill(self, open_: float) -> None:
        """Fill the orders at a bar's open, with slippage.

        The broker checks cash again at the fill price: the part that closes a position is filled even if cash falls
        below 0, the part that opens one is not, so a reversing order may end flat. No order remains pending.
        """
        if not self.order.size:
            return
        at, order = self.ordering, self.order
        size, entry = self.size[at], self.entry[at]
        commission, slippage = self.grid.commission[at], self.grid.slippage[at]
        closed, opened = _closed_and_opened(size, order)
        price = open_ * np.where(order > 0, 1 + slippage, 1 - slippage)
        cash_closed, cash = _cash_after(self.cash[at], closed, opened, entry, price, commission)
        refused = cash < 0  # without an opening part, the closing part is the whole order
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
    """Cash after the closing part of an order, and after its opening part too, summed in the broker's order."""
    cash_closed = cash + (-closed * entry + -closed * (price - entry)) - np.abs(closed) * commission * price
    return cash_closed, cash_closed - opened * price - np.abs(opened) * commission * price
