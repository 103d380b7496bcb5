"""Turns a bar's forecast into an order, within risk limits."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, NamedTuple

import pandas as pd

from runners.live.bus.stream import Entry
from runners.live.settings import LimitSettings
from runners.live.trading.broker import Account, Broker, BrokerUnavailableError, Fill, Order, order_id
from runners.live.trading.risk_limits import LimitedTarget, RiskLimits, TradingDay
from strategies.account import order_waits, position_units
from strategies.settings import TradingSettings
from strategies.vote import Vote


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


class OrderedMean(NamedTuple):
    """The id of an order, and the mean of the members' states that it was made for."""

    order: str
    mean: float


@dataclass
class PositionDecider:
    """Decides on one symbol, bar by bar, as `strategies.lstm_regime.LSTMRegimeStrategy` does.

    `state` is what it and its broker must store.

    Attributes
    ----------
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
    time: pd.Timestamp | None = None
    close: float | None = None
    stopped: str | None = None
    stopping: bool = False
    version: int = 0
    _equity: float | None = field(default=None, init=False)
    _vote: Vote = field(default=Vote(), init=False)
    _ordered: OrderedMean | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        self._risk = RiskLimits(self.limits)

    def restore(self, state: dict[str, Any] | None) -> None:
        """Continue from the last committed state; None at the first start.

        A state of version 0.1 has no vote: each member's state becomes the sign of the position held.
        """
        if state is not None:
            self.version, self.close = state["version"], state["close"]
            self.stopped, self.stopping = state["stopped"], state["stopping"]
            self.time = pd.Timestamp(state["time"]) if state["time"] else None
            self._equity = state["equity"]
            self._risk = RiskLimits(self.limits, TradingDay(**state["day"]))
            if "vote" in state:
                self._vote = Vote(tuple(state["vote"]["states"]), state["vote"]["filled_mean"])
                self._ordered = OrderedMean(**state["ordered"]) if state["ordered"] else None
        self.broker.restore(state["broker"] if state else None)

    def state(self) -> dict[str, Any]:
        """State to commit; each call is a new version."""
        self.version += 1
        return {
            "version": self.version,
            "time": self.time.isoformat() if self.time is not None else None,
            "close": self.close,
            "stopped": self.stopped,
            "stopping": self.stopping,
            "day": asdict(self._risk.day),
            "equity": self._equity,
            "vote": asdict(self._vote),
            "ordered": self._ordered._asdict() if self._ordered else None,
            "broker": self.broker.state(),
        }

    def decide(self, entry: Entry) -> Decision:
        """Decide on a bar with its forecast, and submit the order, if any."""
        bar = entry.values
        self.broker.open_bar(bar["open"])
        close, until = bar["close"], entry.time + 2 * self.interval
        account, in_time = self.broker.account(close), self.broker.can_fill_by(until)
        fills = self.broker.take_fills()  # after all calls that may fail, because a repeated call would not return them
        if self._ordered and any(fill.order == self._ordered.order and fill.units for fill in fills):
            self._vote = replace(self._vote, filled_mean=self._ordered.mean)
        held = wanted = account.position
        members = _members(bar)
        votes = bool(members) and (account.equity > 0 or held != 0)
        if votes:
            self._vote = self._vote.cast(members, held, self.settings)
            if self._vote.due:
                wanted = position_units(self._vote.mean, self.settings.exposure, max(0.0, account.equity), close)
        target, reasons = self._limited(wanted, account, entry.time, close, in_time=in_time)
        units, self._ordered = 0.0, None
        if target != held and (account.equity > 0 or target == 0):  # closing is never held back
            order = Order(order_id(self.symbol, self.timeframe, entry.time), target - held, until.isoformat())
            units, reason = self.broker.submit(order, close)
            reasons = [*reasons, reason] if reason else reasons
            self._risk.count_order(held, held + units)
            self._ordered = OrderedMean(order.id, self._vote.mean) if units and votes else None
        self.time, self.close = entry.time, close
        return Decision(
            regime=bar["regime"],
            log_return=bar["log_return"] if members else None,
            models=bar["models"],
            vote=self._vote.mean if self._vote.states else None,
            order=units,
            reason=", ".join(reasons),
            position=held,
            equity=account.equity,
            fills=fills,
        )

    def _limited(
        self, wanted: float, account: Account, time: pd.Timestamp, close: float, *, in_time: bool
    ) -> LimitedTarget:
        """The units to hold of those wanted; those held if the order would be too late or too small."""
        held = account.position
        if not in_time:  # the bar is over, and the account's values are current ones
            return LimitedTarget(held, ["too late: its bar is over"] if wanted != held else [])
        self._risk.start_bar(time, account.equity if self._equity is None else self._equity, held)
        self._equity = account.equity
        target, reasons = self._risk.limit(wanted, account, close)
        if target != held and order_waits(target, held, close, self.settings.min_order):
            return LimitedTarget(held, [*reasons, "min_order"])
        return LimitedTarget(target, reasons)

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
            self._equity = self.broker.account(None).equity
        except BrokerUnavailableError:
            if self._equity is None:
                raise
        self.stopping, self._vote, self._ordered = False, Vote(), None
        return Decision(None, None, None, None, 0.0, reason, 0.0, self._equity, self.broker.take_fills())


def _members(forecast: Mapping[str, Any]) -> list[float]:
    """The members' forecasts in an entry of `Bus.forecasts`; none without a forecast, or if one is not finite."""
    members = forecast.get("members") or [forecast["log_return"]]
    return members if all(one is not None and math.isfinite(one) for one in (*members, forecast["log_return"])) else []
