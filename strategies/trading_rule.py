"""The trading rule, close by close, with what it remembers; `strategies.array_trading` is its twin over arrays."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, NamedTuple

import numpy as np

from strategies.account import position_units
from strategies.risk import (
    EXITS,
    NO_DAY,
    NO_EXIT,
    SIZINGS,
    Day,
    Held,
    RiskRule,
    after_loss,
    at_close,
    begin_bar,
    distances,
    entered,
    has_drifted,
    limited_position,
    protective_exit,
    sized_exposure,
)
from strategies.rule_settings import RuleSettings
from strategies.settings import TradingSettings
from strategies.signals import Signal
from strategies.vote import Vote

FORECAST, MAX_HOLDING, MAX_DAILY_LOSS, MAX_POSITION = "forecast", "max_holding", "max_daily_loss", "max_position"


class BarClose(NamedTuple):
    """A bar and the account at its close.

    Attributes
    ----------
    day
        Number of the UTC day in which the bar opens.
    high, low
        Of the bar.
    units, entry
        Units held, negative for short, and their average entry price.
    equity
        Value of the account.
    unit_value, unit_capital
        Value of one unit, and the equity that it takes up: more than its value only where a future's margin is.
    """

    day: int
    high: float
    low: float
    units: float
    entry: float
    equity: float
    unit_value: float
    unit_capital: float


class Target(NamedTuple):
    """Units to hold from the next open on, and why: `FORECAST`, or the name of the setting that decides."""

    units: float
    reason: str


class Exit(NamedTuple):
    """A stop or target that a bar reaches: its setting, and its price."""

    reason: str
    level: float


class Protection(NamedTuple):
    """Stops and target of the next bar: the position at the last close, and the scale of the order sent there."""

    rule: RiskRule
    held: Held
    ordered_scale: float

    def position(self, units: float, entry: float) -> Held:
        """The position in the next bar, after its first fill."""
        return entered(self.held, units, entry, self.ordered_scale)

    def exit_in(self, open_: float, high: float, low: float, units: float, entry: float) -> Exit | None:
        """What closes a position of these units in a bar; None if nothing does."""
        held = self.position(units, entry)
        if held.side == 0:
            return None
        kind, level = protective_exit(held, entry, distances(self.rule, held.scale), open_, high, low)
        return None if kind == NO_EXIT else Exit(EXITS[kind], level)


def closing_reason(reason: str) -> str:
    """Why an order with this reason closes a position: ``max_position`` only makes one smaller."""
    return reason if reason in (MAX_HOLDING, MAX_DAILY_LOSS) else FORECAST


def risk_rule(settings: RuleSettings) -> RiskRule:
    """Sizes, exits and limits as the numeric functions take them."""
    numbers = settings.model_dump(include=set(RiskRule._fields))
    in_scale = settings.stop_unit == "scale" and settings.has_stops
    return RiskRule(**{**numbers, "sizing": SIZINGS.index(settings.sizing)}, in_scale=in_scale)


class TradingRule:
    """Decides at each close on the units to hold: `update`, then, if no order is pending, `decide` and `limit`.

    `order_sent` follows if an order is made of it.

    Parameters
    ----------
    settings
        Rule and costs.
    bars_per_year
        For volatilities per year.

    Attributes
    ----------
    vote
        The members' states.
    equity
        At the last close whose target was limited; None before the first.
    """

    def __init__(self, settings: TradingSettings, bars_per_year: float) -> None:
        self.settings, self.risk = settings, risk_rule(settings)
        self.vote = Vote()
        self.equity: float | None = None
        self._annual = math.sqrt(bars_per_year)
        self._follows_position = settings.has_stops or settings.max_holding > 0
        self._limits = settings.max_daily_loss > 0 or settings.max_position > 0
        self._held, self._day = Held(), Day()
        self._ordered_mean, self._ordered_scale = 0.0, math.nan  # of the last order
        self._bar: BarClose
        self._signal: Signal | None = None

    @property
    def protection(self) -> Protection:
        """For the next bar."""
        return Protection(self.risk, self._held, self._ordered_scale)

    def update(self, bar: BarClose, signal: Signal | None, *, filled: bool) -> None:
        """Take note of a bar, the account and the forecast at its close, and of whether the last order was filled."""
        self._bar, self._signal = bar, signal
        if filled and not math.isnan(self._ordered_mean):
            self.vote = self.vote.filled(self._ordered_mean)
        if self._follows_position:
            held = entered(self._held, bar.units, bar.entry, self._ordered_scale)
            self._held = at_close(held, bar.high, bar.low, self._scale)

    def decide(self) -> Target:
        """The units that the forecast and ``max_holding`` want; those held without a forecast."""
        bar, risk, signal = self._bar, self.risk, self._signal
        if 0 < risk.max_holding <= self._held.bars:
            return Target(0.0, MAX_HOLDING)
        if signal is None:
            return Target(bar.units, FORECAST)
        least = risk.min_probability
        self.vote = self.vote.cast(
            signal.members,
            bar.units,
            self.settings,
            opens_long=least == 0 or signal.above >= least,
            opens_short=least == 0 or signal.below >= least,
        )
        if not self.vote.due and not risk.rebalance_band:
            return Target(bar.units, FORECAST)
        exposure = sized_exposure(self.settings.exposure, risk, signal.log_return, signal.scale, self._annual)
        equity = max(0.0, bar.equity)
        units = position_units(self.vote.mean, exposure, equity, bar.unit_capital)
        if self.vote.due or has_drifted(units, bar.units, bar.unit_value, equity, risk.rebalance_band):
            return Target(units, FORECAST)
        return Target(bar.units, FORECAST)

    def limit(self, target: Target) -> Target:
        """The part of the target that ``max_daily_loss`` and ``max_position`` allow."""
        bar, before = self._bar, self.equity
        if not self._limits:
            self.equity = bar.equity
            return target
        day = begin_bar(self._day, bar.day, bar.equity if before is None else before, bar.units)
        self._day, self.equity = after_loss(day, bar.equity, self.risk.max_daily_loss), bar.equity
        if self._day.lost:
            return Target(0.0, MAX_DAILY_LOSS if target.units != 0 or bar.units != 0 else target.reason)
        units = limited_position(target.units, bar.units, bar.unit_value, self.risk.max_position)
        return target if units == target.units else Target(units, MAX_POSITION)

    def order_sent(self) -> None:
        """Remember the vote and the scale that an order was made for."""
        self._ordered_mean, self._ordered_scale = self.vote.mean, self._scale

    @property
    def _scale(self) -> float:
        return self._signal.scale if self._signal else math.nan

    def forget_position(self, equity: float) -> None:
        """Begin again from flat states, after the position was closed by something else than the rule."""
        self.vote, self._held, self.equity = Vote(), Held(), equity

    def state(self) -> dict[str, Any]:
        """What it remembers, in JSON types; `restore` takes it."""
        return {
            "vote": asdict(self.vote),
            "held": {name: _or_none(value) for name, value in self._held._asdict().items()},
            "day": {
                "date": "" if self._day.number == NO_DAY else str(np.datetime64(self._day.number, "D")),
                "first_equity": self._day.first_equity,
                "lost": self._day.lost,
            },
            "equity": self.equity,
            "ordered": {"mean": _or_none(self._ordered_mean), "scale": _or_none(self._ordered_scale)},
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue from a stored state. Earlier versions stored less of it."""
        vote, held, day, ordered = (state.get(name) or {} for name in ("vote", "held", "day", "ordered"))
        if vote:
            self.vote = Vote(tuple(vote["states"]), vote["filled_mean"])
        if held:
            self._held = Held(held["side"], held["best"], _or_nan(held["scale"]), held["bars"])
        if day.get("date"):
            number = int(np.datetime64(day["date"], "D").astype(np.int64))
            self._day = Day(number, day["first_equity"], day["lost"])
        self.equity = state.get("equity")
        self._ordered_mean, self._ordered_scale = _or_nan(ordered.get("mean")), _or_nan(ordered.get("scale"))


def _or_none(number: float) -> float | None:
    return None if math.isnan(number) else number


def _or_nan(number: float | None) -> float:
    return math.nan if number is None else number
