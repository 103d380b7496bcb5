"""Turns a bar's forecast into an order, within risk limits."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from runners.live.bus.stream import Entry
from runners.live.settings import LimitSettings
from runners.live.trading.broker import Broker, BrokerUnavailableError, Fill, Order, order_id
from runners.live.trading.risk_limits import RiskLimits, TradingDay
from strategies.settings import TradingSettings, position_units


@dataclass(frozen=True)
class Decision:
    """Decision at a bar's close.

    Attributes
    ----------
    regime, log_return, models
        Values of the forecast; None without one.
    wanted
        Direction to hold from the next open on: 1, 0, -1.
    order
        Units that the broker accepted, negative to sell; 0 without an order.
    reason
        Why the order is smaller than the rule's: limits, or the broker's reason; usually empty.
    position, equity
        Units held and value of the account at the close, before the order.
    fills
        Fills since the previous decision.
    """

    regime: int | None
    log_return: float | None
    models: str | None
    wanted: int
    order: float
    reason: str
    position: float
    equity: float
    fills: list[Fill]


@dataclass
class PositionDecider:
    """Decides on one symbol, bar by bar; `state` is what it and its broker must store.

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

    def __post_init__(self) -> None:
        self._risk = RiskLimits(self.limits)

    def restore(self, state: dict[str, Any] | None) -> None:
        """Continue from the last committed state; None at the first start."""
        if state is not None:
            self.version, self.close = state["version"], state["close"]
            self.stopped, self.stopping = state["stopped"], state["stopping"]
            self.time = pd.Timestamp(state["time"]) if state["time"] else None
            self._equity = state["equity"]
            self._risk = RiskLimits(self.limits, TradingDay(**state["day"]))
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
            "broker": self.broker.state(),
        }

    def decide(self, entry: Entry) -> Decision:
        """Decide on a bar with its forecast, and submit the order, if any."""
        bar = entry.values
        self.broker.open_bar(bar["open"])
        close = bar["close"]
        account = self.broker.account(close)
        held = account.position
        direction = int(np.sign(held))
        forecast = bar["log_return"]
        wanted = direction if forecast is None else self.settings.direction(forecast, direction)
        target = held if wanted == direction else position_units(wanted, self.settings.exposure, account.equity, close)
        until = entry.time + 2 * self.interval
        if self.broker.can_fill_by(until):
            self._risk.start_bar(entry.time, account.equity if self._equity is None else self._equity, held)
            self._equity = account.equity
            target, reasons = self._risk.limit(target, account, close)
        else:  # the bar is over, and the account's values are current ones
            target, reasons = held, ["too late: its bar is over"] if target != held else []
        units = 0.0
        if target != held and account.equity > 0:
            order = Order(order_id(self.symbol, self.timeframe, entry.time), target - held, until.isoformat())
            units, reason = self.broker.submit(order, close)
            reasons = [*reasons, reason] if reason else reasons
            self._risk.count_order(held, held + units)
        self.time, self.close = entry.time, close
        return Decision(
            regime=bar["regime"],
            log_return=forecast,
            models=bar["models"],
            wanted=wanted,
            order=units,
            reason=", ".join(reasons),
            position=held,
            equity=account.equity,
            fills=self.broker.take_fills(),
        )

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
        self.stopping = False
        return Decision(None, None, None, 0, 0.0, reason, 0.0, self._equity, self.broker.take_fills())
