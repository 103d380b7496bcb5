"""Turns a bar's forecast into an order, within risk limits."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from models.forecaster import Forecast
from models.student import StudentMixture
from runners.live.bus.stream import Entry
from runners.live.settings import LimitSettings
from runners.live.trading.broker import Bar, Broker, BrokerUnavailableError, Fill, Order, order_id
from runners.live.trading.risk_limits import LimitedTarget, RiskLimits
from strategies.account import order_waits
from strategies.settings import TradingSettings
from strategies.signals import Signal, day_numbers
from strategies.trading_rule import FORECAST, BarClose, Target, TradingRule


@dataclass(frozen=True)
class Decision:
    """Decision at a bar's close.

    Attributes
    ----------
    regime, log_return, models
        Values of the forecast; None without one.
    vote
        Mean of the members' states: the fraction of ``exposure`` to hold, negative for short. None before the first
        vote.
    order
        Units that the broker accepted, negative to sell; 0 without an order.
    reason
        Why the order is smaller than the vote's: names of limits, or the broker's reason; usually empty.
    position, equity
        Units held and value of the account at the close, before the order.
    fills
        Fills since the previous decision.
    """

    regime: int | None
    log_return: float | None
    models: str | None
    vote: float | None
    order: float
    reason: str
    position: float
    equity: float
    fills: list[Fill]


@dataclass
class PositionDecider:
    """Decides on one symbol, bar by bar, as `strategies.lstm_regime.LSTMRegimeStrategy` does.

    `state` is what it and its broker must store.

    Attributes
    ----------
    settings, limits
        The rule and its costs, and the limits, two of which replace the rule's.
    bars_per_year
        For volatilities per year.
    time, close
        Open time and close of the last bar with a decision; None before the first.
    stopped
        Why trading has stopped, or None; ``stopping`` until the position is closed.
    version
        Number of calls of `state` so far.
    """

    settings: TradingSettings
    limits: LimitSettings
    broker: Broker
    symbol: str
    timeframe: str
    interval: pd.Timedelta
    bars_per_year: float
    time: pd.Timestamp | None = None
    close: float | None = None
    stopped: str | None = None
    stopping: bool = False
    version: int = 0
    _ordered: str | None = field(default=None, init=False)  # id of the last decision's order

    def __post_init__(self) -> None:
        self._risk = RiskLimits(self.limits)
        self._rule = TradingRule(self.limits.applied_to(self.settings), self.bars_per_year)

    def restore(self, state: dict[str, Any] | None) -> None:
        """Continue from the last committed state; None at the first start.

        A state of version 0.1 has no vote: each member's state becomes the sign of the position held.
        """
        if state is not None:
            self.version, self.close = state["version"], state["close"]
            self.stopped, self.stopping = state["stopped"], state["stopping"]
            self.time = pd.Timestamp(state["time"]) if state["time"] else None
            self._risk = RiskLimits(self.limits, state["day"]["date"], state["day"]["opened"])
            self._rule.restore(state)
            self._ordered = (state.get("ordered") or {}).get("order")
        self.broker.restore(state["broker"] if state else None)

    def state(self) -> dict[str, Any]:
        """State to commit; each call is a new version."""
        self.version += 1
        rule = self._rule.state()
        return {
            "version": self.version,
            "time": self.time.isoformat() if self.time is not None else None,
            "close": self.close,
            "stopped": self.stopped,
            "stopping": self.stopping,
            **rule,
            "day": {**rule["day"], "date": self._risk.date, "opened": self._risk.opened},
            "ordered": {**rule["ordered"], "order": self._ordered} if self._ordered else None,
            "broker": self.broker.state(),
        }

    def decide(self, entry: Entry) -> Decision:
        """Decide on a bar with its forecast, and submit the order, if any."""
        bar, until = _bar(entry.values), entry.time + 2 * self.interval
        self.broker.take_bar(bar, self._rule.protection)
        account, in_time = self.broker.account(bar.close), self.broker.can_fill_by(until)
        fills = self.broker.take_fills()  # after all calls that may fail, because a repeated call would not return them
        held, forecast = account.position, _forecast(entry)
        signal = self._signal(forecast, entry.values) if account.equity > 0 or held != 0 else None
        (day,) = day_numbers(pd.DatetimeIndex([entry.time])).tolist()
        close = BarClose(day, bar.high, bar.low, held, account.entry, account.equity, bar.close, bar.close)
        filled = self._ordered is not None and any(fill.order == self._ordered and fill.units for fill in fills)
        self._rule.update(close, signal, filled=filled)
        target, reasons = self._limited(self._rule.decide(), held, entry.time, bar.close, in_time=in_time)
        units, self._ordered = 0.0, None
        if target != held and (account.equity > 0 or target == 0):  # closing is never held back
            order = Order(order_id(self.symbol, self.timeframe, entry.time), target - held, until.isoformat())
            units, reason = self.broker.submit(order, bar.close)
            reasons = [*reasons, reason] if reason else reasons
            self._risk.count_order(held, held + units)
            if units:
                self._ordered = order.id
                self._rule.order_sent()
        self.time, self.close = entry.time, bar.close
        return Decision(
            regime=entry.values["regime"],
            log_return=forecast.log_return if forecast else None,
            models=entry.values["models"],
            vote=self._rule.vote.mean if self._rule.vote.states else None,
            order=units,
            reason=", ".join(reasons),
            position=held,
            equity=account.equity,
            fills=fills,
        )

    def _signal(self, forecast: Forecast | None, values: Mapping[str, Any]) -> Signal | None:
        if forecast is None:
            return None
        volatility = values.get("volatility")
        past = math.nan if volatility is None else volatility
        return Signal.of(forecast, past, self.settings.round_trip, self.settings)

    def _limited(
        self, target: Target, held: float, time: pd.Timestamp, close: float, *, in_time: bool
    ) -> LimitedTarget:
        """The units to hold of those wanted; those held if the order would be too late or too small."""
        if not in_time:  # the bar is over, and the account's values are current ones
            return LimitedTarget(held, ["too late: its bar is over"] if target.units != held else [])
        self._risk.start_bar(time)
        limited = self._rule.limit(target)
        units, reasons = self._risk.limit(limited.units, held, close)
        if limited.reason != FORECAST:
            reasons = [limited.reason, *reasons]
        if units != held and order_waits(units, held, close, self.settings.min_order):
            return LimitedTarget(held, [*reasons, "min_order"])
        return LimitedTarget(units, reasons)

    def begin_to_stop(self, reason: str) -> None:
        """Mark as stopping; commit this before the position is closed."""
        self.stopped, self.stopping = reason, True

    def stop(self, reason: str, now: pd.Timestamp) -> Decision | None:
        """Drop the order, close the position, whoever opened it, and stop trading.

        Returns None while there is an order or a position: then commit the state and call it again. ``now`` is for the
        orders' ids if no bar has a decision yet.
        """
        self.begin_to_stop(reason)
        if not self.broker.flatten(order_id(self.symbol, self.timeframe, self.time or now, "-stop"), self.close):
            return None
        try:
            equity = self.broker.account(None).equity
        except BrokerUnavailableError:
            if self._rule.equity is None:
                raise
            equity = self._rule.equity
        self._rule.forget_position(equity)
        self.stopping, self._ordered = False, None
        return Decision(None, None, None, None, 0.0, reason, 0.0, equity, self.broker.take_fills())


def _bar(values: Mapping[str, Any]) -> Bar:
    """The prices of an entry of `Bus.forecasts`; one of an earlier version has no high and low."""
    open_, close = values["open"], values["close"]
    return Bar(open_, values.get("high", max(open_, close)), values.get("low", min(open_, close)), close)


def _forecast(entry: Entry) -> Forecast | None:
    """The forecast in an entry of `Bus.forecasts`; None without one, or if a member's is not finite."""
    values = entry.values
    members = values.get("members") or [values["log_return"]]
    if not all(one is not None and math.isfinite(one) for one in (*members, values["log_return"])):
        return None
    components = values.get("density")
    density = StudentMixture.from_dict(components) if components else None
    return Forecast(entry.time, values["regime"], tuple(members), {}, density)
