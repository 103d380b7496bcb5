"""Defines the broker interface and the paper broker."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
import pandas as pd

from strategies.array_simulation import Accounts, SettingsGrid
from strategies.settings import TradingSettings


@dataclass(frozen=True)
class Account:
    """State of the account at a bar's close.

    Attributes
    ----------
    equity
        Value in the symbol's quote currency.
    position
        Units held, negative for short.
    """

    equity: float
    position: float


@dataclass(frozen=True)
class Order:
    """A market order.

    Attributes
    ----------
    id
        Client id, made from the symbol and the bar of the decision, so it is the same whenever the order is sent.
    units
        Negative to sell.
    until
        End of the bar in which the order must be sent, ISO 8601; empty for no limit.
    closes
        Whether the order may only reduce a position.
    held
        Units held when the order was made. It is not sent if the position has changed since. None: not checked.
    """

    id: str
    units: float
    until: str
    closes: bool = False
    held: float | None = None


@dataclass(frozen=True)
class Fill:
    """Result of an order; ``units`` 0 and a ``reason`` if nothing was filled."""

    order: str
    units: float
    price: float
    commission: float
    reason: str = ""


class Acceptance(NamedTuple):
    """Units that the broker accepts of an order, and the reason if it does not accept all."""

    units: float
    reason: str = ""


class BrokerUnavailableError(Exception):
    """The broker cannot be reached now; a retry may help."""


class NotExecutedError(BrokerUnavailableError):
    """The broker cannot be reached now, and has certainly not executed the last request."""


class BrokerRejectedError(BrokerUnavailableError):
    """The broker rejects requests for a lasting reason, such as invalid credentials."""


class Broker(Protocol):
    """Accepts orders and reports the account.

    The trader commits `state` after `submit` or `flatten`, and before the call that sends the order: `process_order` or
    `flatten` again. So the state has every order that was sent, whenever the trader is killed. Any call may raise
    `BrokerUnavailableError`, and then changes nothing.
    """

    def open_bar(self, open_: float) -> None:
        """Start a bar that opens at this price."""

    def can_fill_by(self, until: pd.Timestamp) -> bool:
        """Whether an order can still be filled before ``until``."""

    def account(self, close: float | None) -> Account:
        """Account at this price, or with None at the current price; an amount too small to trade counts as 0."""

    def submit(self, order: Order, close: float) -> Acceptance:
        """Accept an order at a bar's close, or its tradable part."""

    def process_order(self) -> None:
        """Send the accepted order, or request its result."""

    def flatten(self, name: str, close: float | None) -> bool:
        """Drop the accepted order and close the position, by orders whose ids begin with ``name``.

        Returns True when there is neither an order nor a position. Otherwise commit the state and call it again.
        """

    def take_fills(self) -> list[Fill]:
        """Fills since the last call."""

    def state(self) -> dict[str, Any]:
        """State to store, in JSON types."""

    def restore(self, state: dict[str, Any] | None) -> None:
        """Continue from a stored state, or from none, and update it from the account."""

    def require_exclusive(self) -> None:
        """Raise LiveError if the account has other open orders of this symbol."""


class PaperBroker:
    """Fills each order at the next bar's open, with an account that equals Backtrader's to the last bit."""

    def __init__(self, settings: TradingSettings) -> None:
        self._grid = SettingsGrid.of(settings)
        self._accounts = Accounts(self._grid, settings.cash)
        self._order = ""
        self._fills: list[Fill] = []

    def open_bar(self, open_: float) -> None:
        self._accounts.charge(open_)
        self._fill(open_)

    def can_fill_by(self, until: pd.Timestamp) -> bool:
        return True  # simulated time is that of the bars

    def account(self, close: float | None) -> Account:
        equity = self._accounts.value(close or 0.0)  # without a price there was no bar yet, and all is cash
        self._accounts.close_bankrupt(equity)
        return Account(float(equity[0]), float(self._accounts.size[0]))

    def submit(self, order: Order, close: float) -> Acceptance:
        self._accounts.submit(np.array([0]), np.array([order.units]), close)
        self._order = order.id
        return Acceptance(order.units) if self._accounts.order.size else Acceptance(0.0, "not enough cash")

    def process_order(self) -> None:
        """Do nothing: orders fill at the next bar's open."""

    def flatten(self, name: str, close: float | None) -> bool:
        held = self._accounts.size != 0
        self._accounts.ordering, self._accounts.order = np.array([0])[held], -self._accounts.size[held]
        self._order = name
        self._fill(close or 0.0)
        return True

    def take_fills(self) -> list[Fill]:
        fills, self._fills = self._fills, []
        return fills

    def state(self) -> dict[str, Any]:
        accounts = self._accounts
        return {
            "cash": float(accounts.cash[0]),
            "size": float(accounts.size[0]),
            "entry": float(accounts.entry[0]),
            "order": float(accounts.order[0]) if accounts.order.size else None,
            "order_id": self._order,
            "fills": [asdict(fill) for fill in self._fills],
        }

    def restore(self, state: dict[str, Any] | None) -> None:
        if state is None:
            return
        accounts = self._accounts
        accounts.cash, accounts.size, accounts.entry = (np.array([state[name]]) for name in ("cash", "size", "entry"))
        if state["order"] is not None:
            accounts.ordering, accounts.order = np.array([0]), np.array([state["order"]])
        self._order = state["order_id"]
        self._fills = [Fill(**fill) for fill in state["fills"]]

    def require_exclusive(self) -> None:
        """Do nothing: a paper account has no other orders."""

    def _fill(self, open_: float) -> None:
        if not self._accounts.order.size:
            return
        before, ordered = float(self._accounts.size[0]), float(self._accounts.order[0])
        self._accounts.fill(open_)
        units = float(self._accounts.size[0]) - before
        slippage, commission = float(self._grid.slippage[0]), float(self._grid.commission[0])
        price = open_ * (1 + slippage if ordered > 0 else 1 - slippage)
        reason = "" if abs(units - ordered) <= 1e-9 * abs(ordered) else "not enough cash at the open"
        self._fills.append(Fill(self._order, units, price, abs(units) * commission * price, reason))


def order_id(symbol: str, timeframe: str, time: pd.Timestamp, suffix: str = "") -> str:
    """Client id of the order decided at the bar ``time``: at most 36 letters, digits and dashes."""
    plain = "".join(letter for letter in symbol if letter.isascii() and letter.isalnum())[:12]
    return f"{plain}-{timeframe}-{int(time.timestamp())}{suffix}"
