"""Simulates many trading settings, exactly as Backtrader would trade each of them with `LSTMRegimeStrategy`."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, get_args

import numpy as np
import pandas as pd

from data.compiled import compiled
from data.errors import SettingsError
from strategies.account import Costs
from strategies.array_trading import CALLED, INLINED, BarArrays, Risk, Rule, trade_all
from strategies.risk import FIXED, SIZINGS, RiskRule
from strategies.rule_settings import DISTANCES
from strategies.settings import AXES, TradingSettings, round_trip_cost
from strategies.signals import Market, mean_forecasts, require_densities

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


CHOICES = {name: get_args(TradingSettings.model_fields[name].annotation) for name in ("neutral", "sizing", "stop_unit")}
# Numbers that switch a part of the rule off where they are 0.
_SWITCHES = tuple(
    name for name in RiskRule._fields if name in AXES and TradingSettings.model_fields[name].get_default() == 0
)


@dataclass(frozen=True)
class SettingsGrid:
    """Trading settings to compare: ``table`` has one row per setting, and the columns `AXES`.

    Raises
    ------
    SettingsError
        For the first setting, by its number, that `TradingSettings` would reject.
    """

    table: pd.DataFrame

    @classmethod
    def of(cls, *settings: TradingSettings) -> SettingsGrid:
        return cls(pd.DataFrame([one.model_dump(include=set(AXES)) for one in settings]))

    def __post_init__(self) -> None:
        table = self.table
        for name in AXES:
            if name in CHOICES:
                self._refuse_first(~table[name].isin(CHOICES[name]), name, f"must be one of {CHOICES[name]}")
            else:
                within, bounds = _bounds_of(name)
                self._refuse_first(~within(self.numbers(name)), name, f"must be {bounds}")
        for name, (wrong, reason) in contradictions(table).items():
            self._refuse_first(wrong, name, reason)

    def _refuse_first(self, wrong: np.ndarray | pd.Series, name: str, reason: str) -> None:
        if wrong.any():
            number = int(np.argmax(wrong))
            value = self.table[name].iloc[number]
            raise SettingsError(
                f"setting {number}: {name} {value if name in CHOICES else format(value, 'g')} {reason}."
            )

    def __len__(self) -> int:
        return len(self.table)

    def numbers(self, name: str) -> np.ndarray:
        """The values of a setting ``(n_settings,)``.

        A copy, contiguous and writable: the functions would be compiled again for another layout.
        """
        return np.array(self.table[name], dtype=float)

    def part(self, which: slice) -> SettingsGrid:
        return SettingsGrid(self.table.iloc[which])

    @property
    def rule(self) -> Any:
        """`Rule` of arrays."""
        neutral_flat = np.array(self.table["neutral"] == "flat")
        numbers = {name: self.numbers(name) for name in Rule._fields if name in AXES}
        return Rule(**numbers, neutral_flat=neutral_flat)  # type: ignore[arg-type]

    @property
    def costs(self) -> Any:
        """`Costs` of arrays."""
        return Costs(*map(self.numbers, Costs._fields))  # type: ignore[arg-type]

    @property
    def risk(self) -> Any:
        """`RiskRule` of arrays; None if all settings trade by the plain rule."""
        sizing = np.array(self.table["sizing"].map(SIZINGS.index), dtype=int)
        if not np.any([sizing != FIXED, *(self.numbers(name) != 0 for name in _SWITCHES)]):
            return None
        has_stops = np.any([self.numbers(name) != 0 for name in DISTANCES], axis=0)
        in_scale = np.array(self.table["stop_unit"] == "scale") & has_stops
        numbers = {name: self.numbers(name) for name in RiskRule._fields if name in AXES and name != "sizing"}
        return RiskRule(**numbers, sizing=sizing, in_scale=in_scale)  # type: ignore[arg-type]


def contradictions(table: pd.DataFrame) -> dict[str, tuple[pd.Series, str]]:
    """Which settings of a table contradict each other, by the name of one, with the reason."""
    in_fractions = table["stop_unit"] == "fraction"
    return {
        "short_threshold": (table["short_threshold"] > table["long_threshold"], "lies above long_threshold"),
        "funding": ((table["funding"] != 0) & (table["borrow_rate"] != 0), "is not 0, and borrow_rate is not either"),
        "stop_loss": (in_fractions & (table["stop_loss"] >= 1), "must be below 1 with stop_unit fraction"),
        "trailing_stop": (in_fractions & (table["trailing_stop"] >= 1), "must be below 1 with stop_unit fraction"),
    }


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


def simulate(
    open_: np.ndarray,
    close: np.ndarray,
    members: np.ndarray,
    grid: SettingsGrid,
    cash: float,
    market: Market | None = None,
) -> Simulated:
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
    market
        The same bars, for settings with more than the plain rule.

    Raises
    ------
    SettingsError
        If the arrays do not have these shapes, the cash is not above 0, or a setting reads a market that is not given.
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
    risk, cost_numbers = _risk_of(grid, series[2], market)
    compiled(trade_all, CALLED, INLINED)(
        *series, known, grid.rule, grid.costs, float(cash), equity, position, fills, round_trips, risk, cost_numbers
    )
    return Simulated(equity.T, position.T, fills, round_trips)


def _risk_of(grid: SettingsGrid, members: np.ndarray, market: Market | None) -> tuple[Risk | None, np.ndarray]:
    """The grid's sizes, exits and limits with the bars they read, and each setting's row of probabilities."""
    rule, rows = grid.risk, np.zeros(len(grid), dtype=int)
    if rule is None:
        return None, rows
    if market is None:
        raise SettingsError("settings with sizes, exits or limits need the market: high, low and scale of each bar.")
    above = below = np.zeros((1, len(market.high)))
    if np.any(rule.min_probability):
        require_densities(float(np.max(rule.min_probability)), has_density=market.density is not None)
        pairs = zip(grid.numbers("commission").tolist(), grid.numbers("slippage").tolist(), strict=True)
        of_each = [round_trip_cost(*pair) for pair in pairs]
        costs = sorted(set(of_each))
        rows = np.searchsorted(costs, of_each)
        above, below = (np.stack(part) for part in zip(*map(market.probabilities, costs), strict=True))
    bars = BarArrays(
        high=np.ascontiguousarray(market.high, dtype=float),
        low=np.ascontiguousarray(market.low, dtype=float),
        mean=mean_forecasts(members),
        scale=np.ascontiguousarray(market.scale, dtype=float),
        above=above,
        below=below,
        day=market.day,
        annual=math.sqrt(market.bars_per_year),
    )
    return Risk(rule, bars), rows
