"""Limits the size of positions and orders, the orders per day and the daily loss."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import pandas as pd

from runners.live.settings import LimitSettings
from runners.live.trading.broker import Account


class LimitedTarget(NamedTuple):
    """Units to hold, and the names of the limits that changed them."""

    units: float
    reasons: list[str]


@dataclass
class TradingDay:
    """State of one day's limits; a bar belongs to the day (UTC) in which it opens.

    Attributes
    ----------
    first_equity
        Equity at the previous day's last close; on the first day at the first close.
    opened
        Number of orders so far that opened or enlarged a position.
    lost
        Whether ``max_daily_loss`` was reached.
    """

    date: str = ""
    first_equity: float = 0.0
    opened: int = 0
    lost: bool = False


@dataclass
class RiskLimits:
    """Applies the limits to the position that the vote wants; ``day`` is its state."""

    settings: LimitSettings
    day: TradingDay = field(default_factory=TradingDay)

    def start_bar(self, time: pd.Timestamp, previous_equity: float, held: float) -> None:
        """Begin a new day if the bar does; a loss of the previous day counts until its position is closed."""
        date = time.date().isoformat()
        if date != self.day.date:
            self.day = TradingDay(date, previous_equity, lost=self.day.lost and held != 0)

    def limit(self, target: float, account: Account, close: float) -> LimitedTarget:
        """The part of ``target`` units that the limits allow; closing or reducing a position is always allowed."""
        limits, day, held, reasons = self.settings, self.day, account.position, []
        if limits.max_daily_loss and account.equity <= day.first_equity * (1 - limits.max_daily_loss):
            day.lost = True
        if day.lost:
            return LimitedTarget(0.0, ["max_daily_loss"] if target != 0 or held != 0 else [])
        kept = held if held * target > 0 else 0.0  # the part of the position that the order does not close
        most = abs(target)
        if limits.max_orders_per_day and day.opened >= limits.max_orders_per_day:
            most = min(most, abs(kept))
            reasons += ["max_orders_per_day"] if most < abs(target) else []
        if limits.max_order and (abs(target) - abs(kept)) * close > limits.max_order:
            most = min(most, abs(kept) + limits.max_order / close)
            reasons.append("max_order")
        if limits.max_position and abs(target) > abs(kept) and abs(target) * close > limits.max_position:
            most = min(most, max(abs(kept), limits.max_position / close))
            reasons.append("max_position")
        return LimitedTarget(float(np.sign(target)) * most, reasons)

    def count_order(self, held: float, target: float) -> None:
        """Count an order from ``held`` to ``target`` units if it opens or enlarges a position."""
        self.day.opened += target != 0 and (held * target <= 0 or abs(target) > abs(held))
