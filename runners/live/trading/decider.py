"""The trader's head: from a bar's forecast and what is owned to an order, within limits."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from runners.live.bus.bus import Entry
from runners.live.settings import LimitSettings
from runners.live.trading.broker import Account, Broker, BrokerAwayError, Fill, Order, order_id
from strategies.rules import ThresholdRule
from strategies.settings import TradingSettings


@dataclass(frozen=True)
class Decision:
    """What a bar's close led to.

    Attributes
    ----------
    regime, log_return, models
        Of the forecast, None where nothing was known.
    wanted
        Direction to hold from the next open on: 1, 0, -1.
    order
        Units ordered, as the broker took them, negative to sell; 0 for none.
    reason
        What made the order smaller than the rule would have it: limits, or the broker; empty mostly.
    position, equity
        Units held and what the account is worth at the close, before the order.
    fills
        What became of earlier orders, since the decision before.
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


class Limited(NamedTuple):
    """Units to hold, and the names of the limits that changed them."""

    units: float
    reasons: list[str]


@dataclass
class Day:
    """What counts towards a day's limits; a bar belongs to the day (UTC) in which it opens.

    Attributes
    ----------
    first_equity
        At the last close of the day before; on the very first day, at the first close.
    opened
        Orders so far that opened a position.
    lost
        Whether ``max_daily_loss`` was reached.
    """

    date: str = ""
    first_equity: float = 0.0
    opened: int = 0
    lost: bool = False

    def go_to(self, time: pd.Timestamp, previous_equity: float, held: float) -> None:
        """Begin another day if it is one; a loss of the day before counts as long as its position is not closed."""
        date = time.date().isoformat()
        if date != self.date:
            self.date, self.first_equity, self.opened = date, previous_equity, 0
            self.lost = self.lost and held != 0

    def limit(self, target: float, account: Account, close: float, limits: LimitSettings) -> Limited:
        """What of ``target`` units may be held, given what is held; closing is always allowed."""
        reasons = []
        held = account.position
        if limits.max_daily_loss and account.equity <= self.first_equity * (1 - limits.max_daily_loss):
            self.lost = True
        if self.lost:
            return Limited(0.0, ["max_daily_loss"] if target != 0 or held != 0 else [])
        kept = held if held * target > 0 else 0.0  # what of the position the order leaves
        most = abs(target)
        if limits.max_orders_per_day and self.opened >= limits.max_orders_per_day:
            most = min(most, abs(kept))
            reasons += ["max_orders_per_day"] if most < abs(target) else []
        if limits.max_order and (abs(target) - abs(kept)) * close > limits.max_order:
            most = min(most, abs(kept) + limits.max_order / close)
            reasons.append("max_order")
        if limits.max_position and abs(target) > abs(kept) and abs(target) * close > limits.max_position:
            most = min(most, max(abs(kept), limits.max_position / close))
            reasons.append("max_position")
        return Limited(float(np.sign(target)) * most, reasons)

    def count(self, held: float, target: float) -> None:
        """Remember an order that takes the position from ``held`` to ``target`` units."""
        self.opened += target != 0 and (held * target <= 0 or abs(target) > abs(held))


@dataclass
class Desk:
    """Decides on one symbol, bar by bar; `state` is all that it and its broker must remember.

    Attributes
    ----------
    time, close
        Of the last bar that was decided on; None before the first.
    stopped
        Why it trades no more, or None; it is ``stopping`` until its position is closed.
    version
        How often its state was given.
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
    day: Day = field(default_factory=Day)
    _equity: float | None = None

    def __post_init__(self) -> None:
        settings = self.settings
        self._rule = ThresholdRule(settings.long_threshold, settings.short_threshold, settings.between)

    def restore(self, state: dict[str, Any] | None) -> None:
        """Go on from what was committed last, None at the very first start."""
        if state is not None:
            self.version, self.close = state["version"], state["close"]
            self.stopped, self.stopping = state["stopped"], state["stopping"]
            self.time = pd.Timestamp(state["time"]) if state["time"] else None
            self.day, self._equity = Day(**state["day"]), state["equity"]
        self.broker.restore(state["broker"] if state else None)

    def state(self) -> dict[str, Any]:
        """To be committed; each call is the next version."""
        self.version += 1
        return {
            "version": self.version,
            "time": self.time.isoformat() if self.time is not None else None,
            "close": self.close,
            "stopped": self.stopped,
            "stopping": self.stopping,
            "day": asdict(self.day),
            "equity": self._equity,
            "broker": self.broker.state(),
        }

    def decide(self, entry: Entry) -> Decision:
        """Take in a bar with its forecast, and submit the order that follows from it, if one does."""
        bar = entry.values
        self.broker.open_bar(bar["open"])
        close = bar["close"]
        account = self.broker.account(close)
        held = account.position
        direction = int(np.sign(held))
        forecast = bar["log_return"]
        wanted = direction if forecast is None else self._rule.target(forecast, direction)
        target = held if wanted == direction else wanted * self.settings.exposure * account.equity / close
        until = entry.time + 2 * self.interval
        if self.broker.in_time(until):
            self.day.go_to(entry.time, account.equity if self._equity is None else self._equity, held)
            self._equity = account.equity
            target, reasons = self.day.limit(target, account, close, self.limits)
        else:  # it is of a bar long gone, while what is owned is of now
            target, reasons = held, ["too late: its bar is over"] if target != held else []
        units = 0.0
        if target != held and account.equity > 0:
            order = Order(order_id(self.symbol, self.timeframe, entry.time), target - held, until.isoformat())
            units, why = self.broker.submit(order, close)
            reasons = [*reasons, why] if why else reasons
            self.day.count(held, held + units)
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

    def begin_to_stop(self, why: str) -> None:
        """What is to be known of it before anything is closed."""
        self.stopped, self.stopping = why, True

    def stop(self, why: str, now: pd.Timestamp) -> Decision | None:
        """Drop what is ordered, close the position at once, whoever opened it, and trade no more.

        None as long as something is ordered or held: to be called again once the state is committed. ``now`` names the
        orders where no bar was decided on yet.
        """
        self.begin_to_stop(why)
        if not self.broker.flatten(order_id(self.symbol, self.timeframe, self.time or now, "-stop"), self.close):
            return None
        try:
            self._equity = self.broker.account(None).equity
        except BrokerAwayError:
            if self._equity is None:
                raise
        self.stopping = False
        return Decision(None, None, None, 0, 0.0, why, 0.0, self._equity, self.broker.take_fills())
