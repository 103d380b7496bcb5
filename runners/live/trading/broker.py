"""Where the trader's orders go: what every broker does, and the one that only keeps accounts."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
import pandas as pd

from strategies.array_simulation import Accounts, SettingsGrid
from strategies.settings import TradingSettings


@dataclass(frozen=True)
class Account:
    """What is owned at a bar's close.

    Attributes
    ----------
    equity
        In the currency that the symbol is priced in.
    position
        Units, negative for short.
    """

    equity: float
    position: float


@dataclass(frozen=True)
class Order:
    """A market order.

    Attributes
    ----------
    id
        The client's, made of the symbol and the bar that decided it: the same order has the same one, however often it
        is sent.
    units
        Negative to sell.
    until
        The end of the bar in which it is to be filled, ISO 8601; it is not sent after that. Empty: whenever it can be.
    closes
        Whether it must only make a position smaller.
    held
        Units for which it was made, if it must not be sent once something else is held.
    """

    id: str
    units: float
    until: str
    closes: bool = False
    held: float | None = None


@dataclass(frozen=True)
class Fill:
    """What became of an order; ``units`` 0 and a ``reason`` where nothing was filled."""

    order: str
    units: float
    price: float
    commission: float
    reason: str = ""


class Taken(NamedTuple):
    """Units of an order that were taken, 0 for none of it, and why they are not all that was asked for."""

    units: float
    why: str = ""


class BrokerAwayError(Exception):
    """The broker cannot be reached now; ask again."""


class NotDoneError(BrokerAwayError):
    """The broker cannot be reached now, and what it was told last was not done."""


class BrokerRefusesError(BrokerAwayError):
    """The broker answers, but with a refusal that does not go away by itself, such as of the credentials."""


class Broker(Protocol):
    """Takes orders and says what is owned. All that it must remember it gives as ``state`` and takes back.

    An order is taken with `submit` or `flatten`, then the trader commits the state, then calls `work` or `flatten`
    again: so what was sent is known, whenever the trader is killed. Any call may raise `BrokerAwayError`, and leaves
    all as it was.
    """

    def open_bar(self, open_: float) -> None:
        """A bar has opened at this price."""

    def in_time(self, until: pd.Timestamp) -> bool:
        """Whether an order that is to be filled by then can be."""

    def account(self, close: float | None) -> Account:
        """What is owned at this price, or, without one, at that of the moment; a rest that cannot be traded is none."""

    def submit(self, order: Order, close: float) -> Taken:
        """Take an order at a bar's close, or what of it can be traded."""

    def work(self) -> None:
        """Carry out what was taken and is not done yet, as far as that is possible now."""

    def flatten(self, name: str, close: float | None) -> bool:
        """Drop what was taken and close the position at once, by orders whose ids begin with ``name``.

        False to be called again, once the state is committed; True if nothing is ordered and held any more.
        """

    def take_fills(self) -> list[Fill]:
        """What was filled since this was asked last."""

    def state(self) -> dict[str, Any]:
        """In JSON's types."""

    def restore(self, state: dict[str, Any] | None) -> None:
        """Go on from a state, or from none, and find out what happened since."""

    def require_alone(self) -> None:
        """Make sure that nobody else has ordered there.

        Raises
        ------
        LiveError
            If somebody has.
        """


class PaperBroker:
    """Fills each order at the next bar's open, with the costs and by the rules of the backtest's broker.

    The accounts are those of `strategies.array_simulation`, which are Backtrader's to the last bit.
    """

    def __init__(self, settings: TradingSettings) -> None:
        self._grid = _grid_of_one(settings)
        self._accounts = Accounts(self._grid, settings.cash)
        self._order = ""
        self._fills: list[Fill] = []

    def open_bar(self, open_: float) -> None:
        self._accounts.charge(open_)
        self._fill(open_)

    def in_time(self, until: pd.Timestamp) -> bool:
        return True  # it goes by the bars, whenever they come

    def account(self, close: float | None) -> Account:
        equity = self._accounts.value(close or 0.0)  # without a price there was no bar: all is cash
        self._accounts.close_bankrupt(equity)
        return Account(float(equity[0]), float(self._accounts.size[0]))

    def submit(self, order: Order, close: float) -> Taken:
        self._accounts.submit(np.array([0]), np.array([order.units]), close)
        self._order = order.id
        return Taken(order.units) if self._accounts.order.size else Taken(0.0, "not enough cash")

    def work(self) -> None:
        """Nothing: it takes the next bar's open to fill an order."""

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

    def require_alone(self) -> None:
        """Nothing: nobody else has this account."""

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


def order_id(symbol: str, timeframe: str, time: pd.Timestamp, mark: str = "") -> str:
    """The client's id of the order that the bar at ``time`` decides: at most 36 letters, digits and dashes."""
    plain = "".join(letter for letter in symbol if letter.isascii() and letter.isalnum())[:12]
    return f"{plain}-{timeframe}-{int(time.timestamp())}{mark}"


def _grid_of_one(settings: TradingSettings) -> SettingsGrid:
    names = ("long_threshold", "short_threshold", "exposure", "commission", "slippage", "borrow_rate")
    values = {name: np.array([float(getattr(settings, name))]) for name in names}
    return SettingsGrid(**values, between_flat=np.array([settings.between == "flat"]))
