"""Simulates many trading settings, exactly as Backtrader would trade each of them with `LSTMRegimeStrategy`."""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import pandas as pd

from data.compiled import compiled
from data.errors import SettingsError
from strategies import account
from strategies.account import Costs, Rule
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
    min_order: np.ndarray
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
        ``(n_settings,)`` numbers of filled orders, and of round trips: from flat, or a turn, to flat or a turn.
    """

    equity: np.ndarray
    position: np.ndarray
    fills: np.ndarray
    round_trips: np.ndarray


def simulate(open_: np.ndarray, close: np.ndarray, members: np.ndarray, grid: SettingsGrid, cash: float) -> Simulated:
    """Trade each setting over the same bars, each with its own account.

    Parameters
    ----------
    open_, close
        ``(n_bars,)`` prices.
    members
        ``(n_bars, n_members)``: at each close, the members' forecasts of the next log return; a bar with a NaN gives no
        order. The first bar may give an order; an order of the last bar is not filled.
    cash
        Equity at the start.

    Raises
    ------
    SettingsError
        If the arrays do not have these shapes, or the cash is not above 0.
    """
    shapes = np.shape(open_), np.shape(close), np.shape(members)
    if shapes[0] != shapes[1] or len(shapes[0]) != 1 or len(shapes[2]) != 2 or shapes[2][0] != shapes[0][0]:
        raise SettingsError(
            f"open and close have one entry per bar, and members one row per bar, but their shapes are {shapes}."
        )
    if not cash > 0:
        raise SettingsError(f"cash is {cash:g}; the initial equity must be above 0.")
    series = [np.ascontiguousarray(array, dtype=float) for array in (open_, close, members)]
    known = np.isfinite(series[2]).all(axis=1)
    equity, position = (np.empty((len(grid), len(close))) for _ in range(2))
    fills, round_trips = np.zeros((2, len(grid)), dtype=int)
    rule = Rule(*(getattr(grid, name) for name in Rule._fields))
    costs = Costs(*(getattr(grid, name) for name in Costs._fields))
    trade_all = compiled(account.trade_all, account.CALLED, account.INLINED)
    trade_all(*series, known, rule, costs, float(cash), equity, position, fills, round_trips)
    return Simulated(equity.T, position.T, fills, round_trips)
