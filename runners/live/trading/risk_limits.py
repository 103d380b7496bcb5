"""Limits the size of orders, and the orders per day. Limits of the position and the daily loss belong to the rule."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd

from runners.live.settings import LimitSettings


class LimitedTarget(NamedTuple):
    """Units to hold, and the names of the limits that changed them."""

    units: float
    reasons: list[str]


@dataclass
class RiskLimits:
    """Applies the limits to the position that the rule wants.

    Attributes
    ----------
    date
        The day of the last bar; a bar belongs to the day (UTC) in which it opens.
    opened
        Number of orders of this day that opened or enlarged a position.
    """

    settings: LimitSettings
    date: str = ""
    opened: int = 0

    def start_bar(self, time: pd.Timestamp) -> None:
        """Begin a new day if the bar does."""
        date = time.date().isoformat()
        if date != self.date:
            self.date, self.opened = date, 0

    def limit(self, target: float, held: float, close: float) -> LimitedTarget:
        """The part of ``target`` units that the limits allow; closing or reducing a position is always allowed."""
        limits, reasons = self.settings, []
        kept = held if held * target > 0 else 0.0  # the part of the position that the order does not close
        most = abs(target)
        if limits.max_orders_per_day and self.opened >= limits.max_orders_per_day:
            most = min(most, abs(kept))
            reasons += ["max_orders_per_day"] if most < abs(target) else []
        if limits.max_order and (abs(target) - abs(kept)) * close > limits.max_order:
            most = min(most, abs(kept) + limits.max_order / close)
            reasons.append("max_order")
        return LimitedTarget(float(np.sign(target)) * most, reasons)

    def count_order(self, held: float, target: float) -> None:
        """Count an order from ``held`` to ``target`` units if it opens or enlarges a position."""
        self.opened += target != 0 and (held * target <= 0 or abs(target) > abs(held))
