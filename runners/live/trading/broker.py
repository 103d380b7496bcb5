"""Defines the broker interface and the paper broker."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, NamedTuple, Protocol

import pandas as pd

from strategies import account as simulated
from strategies.risk import EXITS, NO_EXIT, exit_of_bar
from strategies.settings import CostSettings, TradingSettings
from strategies.trading_rule import Protection


@dataclass(frozen=True)
class Account:
    """State of the account at a bar's close.

    Attributes
    ----------
    equity
        Value in the symbol's quote currency.
    position
        Units held, negative for short.
    entry
        Their average entry price; 0 without a position, and at brokers where no rule reads it.
    """

    equity: float
    position: float
    entry: float = 0.0


class Bar(NamedTuple):
    """Prices of a closed bar."""

    open: float
    high: float
    low: float
    close: float


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
    `flatten` again. So the state has every order that was sent, whenever the trader is killed. Any call except `submit`
    and `take_fills` may raise `BrokerUnavailableError`, and then changes nothing.
    """

    def take_bar(self, bar: Bar, protection: Protection) -> None:
        """Take note of a closed bar, in which the accepted order and these stops were due."""

    def can_fill_by(self, until: pd.Timestamp) -> bool:
        """Whether an order can still be filled before ``until``."""

    def account(self, close: float | None) -> Account:
        """Account at this price, or with None at the current price; an amount too small to trade counts as 0."""

    def submit(self, order: Order, close: float) -> Acceptance:
        """Accept an order at a bar's close, or its tradable part."""

    def process_order(self) -> bool:
        """Send the accepted order, or request its result; returns whether there is a new one, for `take_fills`."""

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
        """Raise LiveError if the account has other open orders of this symbol, or is in hedge mode."""


class PaperBroker:
    """Fills orders at the next open and stops within the bar; its account equals Backtrader's to the last bit."""

    def __init__(self, settings: TradingSettings) -> None:
        self._costs = simulated.Costs(**settings.model_dump(include=set(CostSettings.model_fields)))
        self._account = simulated.Account(settings.cash)
        self._order = ""
        self._fills: list[Fill] = []

    def take_bar(self, bar: Bar, protection: Protection) -> None:
        before, self._account = self._account, simulated.open_bar(self._account, bar.open, self._costs)
        if before.order:
            self._note_fill(before, bar.open)
        held = protection.position(self._account.size, self._account.entry)
        kind, price = exit_of_bar(self._account, held, protection.rule, bar[:3], self._costs)
        if kind != NO_EXIT:
            units = -self._account.size
            self._account = simulated.executed(self._account, units, price, self._costs.commission)
            commission = abs(units) * self._costs.commission * price
            self._fills.append(Fill(f"{self._order}-{EXITS[kind]}", units, price, commission))

    def can_fill_by(self, until: pd.Timestamp) -> bool:
        return True  # simulated time is that of the bars

    def account(self, close: float | None) -> Account:
        equity = simulated.value(self._account, close or 0.0)  # without a price there was no bar yet, and all is cash
        self._account = simulated.close_bankrupt(self._account, equity)
        return Account(equity, self._account.size, self._account.entry)

    def submit(self, order: Order, close: float) -> Acceptance:
        self._account = simulated.submit(self._account, order.units, close, self._costs)
        self._order = order.id
        return Acceptance(order.units) if self._account.order else Acceptance(0.0, "not enough cash")

    def process_order(self) -> bool:
        """Do nothing: orders fill at the next bar's open."""
        return False

    def flatten(self, name: str, close: float | None) -> bool:
        self._order = name
        before = self._account._replace(order=-self._account.size)
        self._account = simulated.fill(before, close or 0.0, self._costs)
        if before.order:
            self._note_fill(before, close or 0.0)
        return True

    def take_fills(self) -> list[Fill]:
        fills, self._fills = self._fills, []
        return fills

    def state(self) -> dict[str, Any]:
        account = self._account._asdict()
        return {
            **account,
            "order": account["order"] or None,
            "order_id": self._order,
            "fills": [asdict(fill) for fill in self._fills],
        }

    def restore(self, state: dict[str, Any] | None) -> None:
        if state is None:
            return
        self._account = simulated.Account(state["cash"], state["size"], state["entry"], state["order"] or 0.0)
        self._order = state["order_id"]
        self._fills = [Fill(**fill) for fill in state["fills"]]

    def require_exclusive(self) -> None:
        """Do nothing: a paper account has no other orders."""

    def _note_fill(self, before: simulated.Account, open_: float) -> None:
        """Keep what became of the order of the account before."""
        units = self._account.size - before.size
        price = simulated.fill_price(before.order, open_, self._costs)
        reason = "" if abs(units - before.order) <= 1e-9 * abs(before.order) else "not enough cash at the open"
        commission = abs(units) * self._costs.commission * price
        self._fills.append(Fill(self._order, units, price, commission, reason))


def order_id(symbol: str, timeframe: str, time: pd.Timestamp, suffix: str = "") -> str:
    """Client id of the order decided at the bar ``time``: at most 36 letters, digits and dashes."""
    plain = "".join(letter for letter in symbol if letter.isascii() and letter.isalnum())[:12]
    return f"{plain}-{timeframe}-{int(time.timestamp())}{suffix}"
