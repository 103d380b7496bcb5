"""Real orders on an exchange: each sent once, whatever becomes of answers and of this process."""

from __future__ import annotations

import time
from dataclasses import asdict, replace
from typing import Any

import pandas as pd
import structlog

from data.errors import LiveError
from runners.live.trading.broker import Account, BrokerAwayError, BrokerRefusesError, Fill, NotDoneError, Order, Taken
from runners.live.trading.exchange_account import VALID_FOR, ExchangeAccount, Found

_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 30.0  # seconds between two tries to send an order, or to look at it
_SETTLES = VALID_FOR + 15.0  # seconds for which an exchange may not know of an order that it has got, or gets
_FLAT_AGAIN = 3.0  # seconds until an account that holds nothing is looked at once more: a fill may not show at once


class ExchangeBroker:
    """Trades one symbol on an exchange's account; nothing else should trade it there.

    On a spot market the position is all that the account has of the base currency, and cannot be short; on a linear
    swap it is the position there. What is too little to be sold counts as nothing.

    Each order goes out as a market order with an id of ours, and only while the account holds what it did when the
    order was made. If an answer is lost, the exchange is asked for that id, long enough for it to have heard, before
    anything is sent again; what could not be sent by the end of the bar in which it was to be filled is dropped.

    Parameters
    ----------
    settles
        Seconds for which the exchange is not believed that it has not got an order whose answer was lost.
    """

    def __init__(self, account: ExchangeAccount, settles: float = _SETTLES) -> None:
        self._account, self._settles = account, settles
        self._log = structlog.get_logger().bind(service="trader")
        self._order: Order | None = None
        self._fills: list[Fill] = []
        self._flattened = 0
        self._held = self._position = 0.0  # in units; the position is 0 for what is too little to be sold
        self._not_before, self._pause, self._in_doubt_until = 0.0, _FIRST_PAUSE, 0.0
        self._was_flat, self._look_again = False, 0.0  # of an account that is being flattened

    def open_bar(self, open_: float) -> None:
        """Find out what became of an order of the bar before, which is not sent any more."""
        if not self._settle("too late: it could not be sent"):
            raise BrokerAwayError("the exchange may still have got an order whose answer was lost")

    def in_time(self, until: pd.Timestamp) -> bool:
        return self._account.time() < until

    def account(self, close: float | None) -> Account:
        price = self._account.price() if close is None else close
        equity, self._held = self._account.worth(price)
        self._position = self._held if self._account.tradable(self._held, price, closes=True) else 0.0
        return Account(equity, self._position)

    def submit(self, order: Order, close: float) -> Taken:
        if self._order is not None:
            return Taken(0.0, f"the order {self._order.id} is still open")
        units, why = order.units, ""
        if self._account.is_spot and units < -self._position:
            units, why = -self._position, "a spot market cannot be short"
        closes = self._position * units < 0 and abs(units) <= abs(self._position)
        tradable = self._account.tradable(units, close, closes=closes)
        if not tradable:
            return Taken(0.0, why or "below the exchange's least order")
        self._order = replace(order, units=tradable, closes=closes, held=self._held)
        self._not_before, self._pause = 0.0, _FIRST_PAUSE
        return Taken(tradable, why)

    def work(self) -> None:
        if self._order is None or time.monotonic() < self._not_before:
            return
        try:
            self._send_or_find(self._order)
        except BrokerAwayError as error:
            self._log.warning("order not sent yet", order=self._order.id, why=str(error), tries_again_in=self._pause)
            self._wait()

    def flatten(self, name: str, close: float | None) -> bool:
        if self._order is not None and not self._order.until:  # it closes the position
            self.work()
            return False
        if time.monotonic() < self._look_again:
            return False
        nothing_rests = self._cancel_all()
        self._settle("stopped")
        if self._order is not None:
            self._look_again = time.monotonic() + _FIRST_PAUSE
            return False
        price = self._price(close) if self._account.is_spot else 0.0  # a swap is closed at whatever it is worth
        units = self._account.tradable(-self._account.units(), price, closes=True)
        if units:
            self._was_flat = False
            self._flattened += 1
            self._order = Order(f"{name}{self._flattened}", units, until="", closes=True)
            return False
        sure, self._was_flat = self._was_flat and nothing_rests, True
        self._look_again = time.monotonic() + _FLAT_AGAIN
        return sure

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
        known = None
        if state is not None:
            self._order = Order(**state["order"]) if state["order"] else None
            self._flattened, known = state["flattened"], state["position"]
            self._fills = [Fill(**fill) for fill in state["fills"]]
        if self._order is not None:
            self._doubt(self._order)  # it may have been sent just before the end
            found = self._account.find(self._order.id)
            if found is not None:
                self._take(self._order, found)
        self._held = self._account.units()
        self._position = self._held if self._account.differ(self._held, 0.0) else 0.0
        self._log.info("reconciled", position=self._held, known=known, order_under_way=bool(self._order))

    def require_alone(self) -> None:
        ours = self._order.id if self._order else None
        foreign = [one for one in self._account.open_orders() if one.name != ours]
        if foreign:
            raise LiveError(
                f"{self._account.name} has {len(foreign)} open orders of this symbol, which this trader did not leave "
                "there: it needs an account of its own. Cancel them, or use a sub-account."
            )

    def _cancel_all(self) -> bool:
        """Cancel what rests; False if some of it may be left, which keeps nobody from closing the position."""
        done = True
        try:
            for one in self._account.open_orders():
                done = False  # until a look that finds none
                self._account.cancel(one)
                self._log.warning("open order cancelled", number=one.number)
        except BrokerAwayError as error:
            self._log.error("open orders may be left", why=str(error))
            return False
        return done

    def _send_or_find(self, order: Order) -> None:
        """Send an order that the exchange does not know yet, if it is still right; take what became of one it knows.

        The look whether it is known comes last, and an order that may open something is valid for five seconds from
        before that look: whatever stands still meanwhile, it is not sent a second time.
        """
        changed = order.held is not None and self._account.differ(self._account.units(), order.held)
        late = bool(order.until) and not self.in_time(pd.Timestamp(order.until))
        valid_from = None if order.closes else self._account.now()
        found = self._account.find(order.id)
        if found is not None:
            self._take(order, found)
        elif time.monotonic() < self._in_doubt_until:
            self._not_before = min(self._in_doubt_until, time.monotonic() + _FIRST_PAUSE)
        elif late:
            self._drop(order, "too late: its bar is over")
        elif changed:
            self._drop(order, "the position has changed since it was made")
        else:
            self._send(order, valid_from)

    def _send(self, order: Order, valid_from: int | None) -> None:
        try:
            found = self._account.send(order.id, order.units, closes=order.closes, valid_from=valid_from)
        except BrokerRefusesError as error:
            if "duplicate" in str(error).lower():  # it has got it, though it may not know of it yet
                self._doubt(order)
                raise BrokerAwayError(str(error)) from error
            known = self._account.find(order.id)
            if known is None:
                self._drop(order, f"refused: {error}")
                return
            found = known
        except NotDoneError:
            raise
        except BrokerAwayError:
            self._doubt(order)
            raise
        self._take(order, found)

    def _doubt(self, order: Order) -> None:
        """It may have been taken without a word; one that closes does no harm a second time."""
        if not order.closes:
            self._in_doubt_until = time.monotonic() + self._settles

    def _settle(self, reason: str) -> bool:
        """Find out what became of an order that is not sent any more; False if that is not known yet.

        ``reason`` is for one that never was sent.
        """
        if self._order is None:
            return True
        found = self._account.find(self._order.id)
        if found is not None:
            self._take(self._order, found)
        elif time.monotonic() < self._in_doubt_until:
            return False
        else:
            self._drop(self._order, reason)
        return True

    def _take(self, order: Order, found: Found) -> None:
        """What became of an order; one that may still fill is asked for again."""
        if not found.is_final:
            self._not_before = time.monotonic() + _FIRST_PAUSE
            return
        units = found.units if order.units > 0 else -found.units
        self._done(Fill(order.id, units, found.price, self._commission(found), found.reason))

    def _commission(self, found: Found) -> float:
        """Of an order that is done; what is not told of it holds nothing up."""
        if not found.units:
            return 0.0
        try:
            return self._account.commission(found.number, found.price)
        except BrokerAwayError as error:
            self._log.warning("the commission is not known", number=found.number, why=str(error))
            return 0.0

    def _drop(self, order: Order, reason: str) -> None:
        self._done(Fill(order.id, 0.0, 0.0, 0.0, reason))

    def _done(self, fill: Fill) -> None:
        self._log.info("order done", **asdict(fill))
        closing_failed = self._order is not None and not self._order.until and not fill.units
        self._order, self._in_doubt_until = None, 0.0
        self._fills.append(fill)
        if closing_failed:
            self._wait()  # before it is tried again
        else:
            self._not_before, self._pause = 0.0, _FIRST_PAUSE

    def _price(self, close: float | None) -> float:
        """Of the moment, or the last one that is known: only for what a spot market takes too little of."""
        try:
            return self._account.price()
        except BrokerAwayError:
            if close is None:
                raise
            return close

    def _wait(self) -> None:
        self._not_before = time.monotonic() + self._pause
        self._pause = min(2 * self._pause, _LONGEST_PAUSE)
