"""A trade of the record: a round trip of the position."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field, replace

TRADE_COLUMNS = [
    "opened", "closed", "direction", "size", "orders", "entry_price", "exit_price", "pnl", "commission", "borrowing",
    "net_pnl", "bars", "regime", "forecast", "closed_by",
]  # fmt: skip


@dataclass
class Fills:
    """Units and value of the fills that enlarge, or that reduce, a position."""

    units: float = 0.0
    value: float = 0.0

    def add(self, units: float, price: float) -> None:
        self.units += abs(units)
        self.value += abs(units) * price

    @property
    def price(self) -> float:
        """Average over the units."""
        return self.value / self.units


@dataclass
class RoundTrip:
    """A trade: from flat, or a turn, to flat or a turn.

    Attributes
    ----------
    opened, bar
        Time and number of the bar of its first fill.
    decision
        Regime and forecast of the bar before.
    borrowed
        Borrowing fees that the account had paid before.
    size, largest
        Units held now, and at most; negative for short.
    orders
        References of the orders that took part.
    """

    opened: dt.datetime
    bar: int
    decision: tuple[float, float]
    borrowed: float
    size: float = 0.0
    largest: float = 0.0
    pnl: float = 0.0
    commission: float = 0.0
    orders: set[int] = field(default_factory=set)
    enlarging: Fills = field(default_factory=Fills)
    reducing: Fills = field(default_factory=Fills)

    def enlarge(self, units: float, price: float) -> None:
        self.enlarging.add(units, price)
        self.size += units
        self.largest = max(self.largest, self.size, key=abs)

    def reduce(self, units: float, price: float, pnl: float) -> None:
        self.reducing.add(units, price)
        self.size += units
        self.pnl += pnl

    def pay(self, order: int, commission: float) -> None:
        self.orders.add(order)
        self.commission += commission

    def closed(self, price: float, pnl: float) -> RoundTrip:
        """The trade, with the units that are still held sold at this price for this profit."""
        whole = replace(self, reducing=replace(self.reducing))
        whole.reduce(-self.size, price, pnl)
        return whole

    def row(self, closed: dt.datetime, bar: int, borrowed: float) -> dict[str, object]:
        """The values of `TRADE_COLUMNS` but ``closed_by``."""
        borrowing = borrowed - self.borrowed
        return {
            "opened": self.opened,
            "closed": closed,
            "direction": "long" if self.largest > 0 else "short",
            "size": abs(self.largest),
            "orders": len(self.orders),
            "entry_price": self.enlarging.price,
            "exit_price": self.reducing.price,
            "pnl": self.pnl,
            "commission": self.commission,
            "borrowing": borrowing,
            "net_pnl": self.pnl - self.commission - borrowing,
            "bars": bar - self.bar,
            "regime": self.decision[0],
            "forecast": self.decision[1],
        }
