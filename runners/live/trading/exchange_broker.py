"""Trades on an exchange, and sends each order once even if answers are lost or the process dies."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import asdict, replace
from typing import Any

import pandas as pd
import structlog

from data.errors import LiveError
from runners.live.trading.broker import (
    Acceptance,
    Account,
    Bar,
    BrokerRejectedError,
    BrokerUnavailableError,
    Fill,
    NotExecutedError,
    Order,
)
from runners.live.trading.exchange_account import ExchangeAccount, OrderStatus
from runners.live.trading.exchange_client import VALID_SECONDS
from strategies.trading_rule import Protection

_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 30.0  # seconds between two attempts to send an order, or two checks of it
_SETTLE_SECONDS = VALID_SECONDS + 15.0  # how long an exchange may not find an order that it has received
_DUST_REFUSALS = 3  # of the same order, after which a spot position near the minimum counts as too small to sell
_RECHECK_SECONDS = 3.0  # before a flat account is checked again, because a fill may appear late


class ExchangeBroker:
    """Trades one symbol on an exchange account without other users.

    On a spot market the position is the account's whole amount of the base currency, and never short. On a linear swap
    it is the position there. An amount too small to sell counts as 0.

    Orders are market orders with a client id. An order is sent only while the account's position is the same as when
    the order was made. If an answer is lost, the order is looked up by its id for ``settle_seconds`` before it is sent
    again. An order that cannot be sent by the end of its bar is dropped.
    """

    def __init__(self, account: ExchangeAccount, settle_seconds: float = _SETTLE_SECONDS) -> None:
        self._account, self._settle_seconds = account, settle_seconds
        self._log = structlog.get_logger().bind(service="trader")
        self._order: Order | None = None
        self._fills: list[Fill] = []
        self._flattened = 0
        self._held = self._position = 0.0  # units; the position is 0 if they are too few to sell
        self._not_before, self._pause, self._in_doubt_until = 0.0, _FIRST_PAUSE, 0.0
        self._was_flat, self._recheck_at = False, 0.0  # used by `flatten`
        self._refused_units, self._refusals = 0.0, 0  # of the last refused order, and its refusals in a row

    def take_bar(self, bar: Bar, protection: Protection) -> None:
        """Get the result of the previous bar's order, which is not sent any more."""
        if not self._settle("too late: it could not be sent"):
            raise BrokerUnavailableError("the exchange may still have received an order without an answer")

    def can_fill_by(self, until: pd.Timestamp) -> bool:
        return self._account.time() < until

    def account(self, close: float | None) -> Account:
        price = self._account.price() if close is None else close
        equity, self._held = self._account.value(price)
        self._position = self._held if self._account.tradable(self._held, price, closes=True) else 0.0
        return Account(equity, self._position)

    def submit(self, order: Order, close: float) -> Acceptance:
        if self._order is not None:
            return Acceptance(0.0, f"the order {self._order.id} is still open")
        units, reason = order.units, ""
        if self._account.is_spot and units < -self._position:
            units, reason = -self._position, "a spot market cannot be short"
        closes = self._position * units < 0 and abs(units) <= abs(self._position)
        tradable = self._account.tradable(units, close, closes=closes)
        if not tradable:
            return Acceptance(0.0, reason or "below the exchange's minimum order")
        self._order = replace(order, units=tradable, closes=closes, held=self._held)
        self._not_before, self._pause = 0.0, _FIRST_PAUSE
        return Acceptance(tradable, reason)

    def process_order(self) -> bool:
        if self._order is None or time.monotonic() < self._not_before:
            return False
        try:
            self._find_or_send(self._order)
        except BrokerUnavailableError as error:
            self._log.warning("order not sent yet", order=self._order.id, why=str(error), tries_again_in=self._pause)
            self._back_off()
        return self._order is None

    def flatten(self, name: str, close: float | None) -> bool:
        if self._order is not None and not self._order.until:  # it closes the position
            self.process_order()
            return False
        if time.monotonic() < self._recheck_at:
            return False
        no_open_orders = self._cancel_all()
        self._settle("stopped")
        if self._order is not None:
            self._recheck_at = time.monotonic() + _FIRST_PAUSE
            return False
        price = self._price(close) if self._account.is_spot else 0.0  # a swap has no minimum cost to close
        units = self._closing_units(self._account.units(), price)
        if units:
            self._was_flat = False
            self._flattened += 1
            self._order = Order(f"{name}{self._flattened}", units, until="", closes=True)
            return False
        done, self._was_flat = self._was_flat and no_open_orders, True
        self._recheck_at = time.monotonic() + _RECHECK_SECONDS
        return done

    def _closing_units(self, held: float, price: float) -> float:
        """Units of the order that closes a position; 0 if it is too small to sell."""
        units = self._account.tradable(-held, price, closes=True)
        if held and not units:
            self._reload_market()  # it may have become large enough
            units = self._account.tradable(-held, price, closes=True)
        is_refused = units == self._refused_units and self._refusals >= _DUST_REFUSALS
        if is_refused and self._account.is_near_minimum(units, price):
            self._log.warning("a rest is too small to sell and is left", units=held, refusals=self._refusals)
            return 0.0
        return units

    def _reload_market(self) -> None:
        with suppress(BrokerUnavailableError):
            self._account.reload_market()

    def take_fills(self) -> list[Fill]:
        fills, self._fills = self._fills, []
        return fills

    def state(self) -> dict[str, Any]:
        return {
            "order": asdict(self._order) if self._order else None,
            "position": self._position,
            "flattened": self._flattened,
            "fills": [asdict(fill) for fill in self._fills],
        }

    def restore(self, state: dict[str, Any] | None) -> None:
        committed = None
        if state is not None:
            self._order = Order(**state["order"]) if state["order"] else None
            self._flattened, committed = state["flattened"], state["position"]
            self._fills = [Fill(**fill) for fill in state["fills"]]
        if self._order is not None:
            self._mark_in_doubt(self._order)  # it may have been sent just before the process died
            status = self._account.find_order(self._order.id)
            if status is not None:
                self._apply(self._order, status)
        self._held = self._account.units()
        self._position = self._held if self._account.differ(self._held, 0.0) else 0.0
        self._log.info("reconciled", position=self._held, known=committed, order_under_way=bool(self._order))

    def require_exclusive(self) -> None:
        self._account.require_one_way()
        ours = self._order.id if self._order else None
        others = [one for one in self._account.open_orders() if one.name != ours]
        if others:
            raise LiveError(
                f"{self._account.name} has {len(others)} open orders of this symbol from another program. The trader "
                "needs its own account. Cancel them, or use a sub-account."
            )

    def _cancel_all(self) -> bool:
        """Cancel all open orders; True if there was none. After a failure the position is closed all the same."""
        done = True
        try:
            for one in self._account.open_orders():
                done = False  # until a check finds none
                self._account.cancel(one)
                self._log.warning("open order cancelled", number=one.number)
        except BrokerUnavailableError as error:
            self._log.error("open orders may be left", why=str(error))
            return False
        return done

    def _find_or_send(self, order: Order) -> None:
        """Apply the status of an order that the exchange has received; otherwise send it if it is still valid.

        An order that must not be sent twice is valid for five seconds, which begin before it is looked up. So it is
        not, however long the process pauses in between.
        """
        changed = order.held is not None and self._account.differ(self._account.units(), order.held)
        late = bool(order.until) and not self.can_fill_by(pd.Timestamp(order.until))
        valid_from = None if self._may_repeat(order) else self._account.now()
        status = self._account.find_order(order.id)
        if status is not None:
            self._apply(order, status)
        elif time.monotonic() < self._in_doubt_until:
            self._not_before = min(self._in_doubt_until, time.monotonic() + _FIRST_PAUSE)
        elif late:
            self._drop(order, "too late: its bar is over")
        elif changed:
            self._drop(order, "the position has changed since the order was made")
        else:
            self._send(order, valid_from)

    def _send(self, order: Order, valid_from: int | None) -> None:
        try:
            status = self._account.send_order(order.id, order.units, closes=order.closes, valid_from=valid_from)
        except BrokerRejectedError as error:
            if "duplicate" in str(error).lower():  # the exchange has received it, but may not find it yet
                self._mark_in_doubt(order)
                raise BrokerUnavailableError(str(error)) from error
            found = self._account.find_order(order.id)
            if found is None:
                self._refusals = self._refusals + 1 if order.units == self._refused_units else 1
                self._refused_units = order.units
                self._drop(order, f"refused: {error}")
                self._reload_market()  # its lot step or its minimum may have changed
                return
            status = found
        except NotExecutedError:
            raise
        except BrokerUnavailableError:
            self._mark_in_doubt(order)
            raise
        self._apply(order, status)

    def _mark_in_doubt(self, order: Order) -> None:
        """Wait before the order is sent again, unless that does no harm."""
        if not self._may_repeat(order):
            self._in_doubt_until = time.monotonic() + self._settle_seconds

    def _may_repeat(self, order: Order) -> bool:
        """Whether an order does no harm if it is sent twice: it closes a position, and leaves nothing of it."""
        return order.closes and (order.held is None or not self._account.differ(order.held, -order.units))

    def _settle(self, reason: str) -> bool:
        """Get the result of an order that is not sent any more, ``reason`` if it never was; False if still unknown."""
        if self._order is None:
            return True
        status = self._account.find_order(self._order.id)
        if status is not None:
            self._apply(self._order, status)
        elif time.monotonic() < self._in_doubt_until:
            return False
        else:
            self._drop(self._order, reason)
        return True

    def _apply(self, order: Order, status: OrderStatus) -> None:
        """Record the fill of a final order; others are checked again later."""
        if not status.is_final:
            self._not_before = time.monotonic() + _FIRST_PAUSE
            return
        units = status.units if order.units > 0 else -status.units
        self._record(Fill(order.id, units, status.price, self._commission(status), status.reason))

    def _commission(self, status: OrderStatus) -> float:
        """Commission of a final order; 0 if it cannot be requested."""
        if not status.units:
            return 0.0
        try:
            return self._account.commission(status.number, status.price)
        except BrokerUnavailableError as error:
            self._log.warning("commission unknown", number=status.number, why=str(error))
            return 0.0

    def _drop(self, order: Order, reason: str) -> None:
        self._record(Fill(order.id, 0.0, 0.0, 0.0, reason))

    def _record(self, fill: Fill) -> None:
        self._log.info("order done", **asdict(fill))
        closing_failed = self._order is not None and not self._order.until and not fill.units
        self._order, self._in_doubt_until = None, 0.0
        self._fills.append(fill)
        if closing_failed:
            self._back_off()
        else:
            self._not_before, self._pause = 0.0, _FIRST_PAUSE

    def _price(self, close: float | None) -> float:
        """Current price, or ``close`` if it is unavailable; only for a spot market's minimum cost."""
        try:
            return self._account.price()
        except BrokerUnavailableError:
            if close is None:
                raise
            return close

    def _back_off(self) -> None:
        self._not_before = time.monotonic() + self._pause
        self._pause = min(2 * self._pause, _LONGEST_PAUSE)
