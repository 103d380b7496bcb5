"""Real orders on an exchange, through ccxt."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any, TypeVar

import pandas as pd
import structlog

from data.errors import LiveError, SettingsError
from data.exchange import exchange_client
from runners.live.broker import Account, BrokerAwayError, BrokerRefusesError, Fill, Order, Taken

if TYPE_CHECKING:
    import ccxt

Answer = TypeVar("Answer")

# Which environment variable holds which of ccxt's credentials.
CREDENTIALS = {
    "apiKey": "EXCHANGE_API_KEY",
    "secret": "EXCHANGE_API_SECRET",
    "password": "EXCHANGE_API_PASSWORD",
    "uid": "EXCHANGE_UID",
    "walletAddress": "EXCHANGE_WALLET_ADDRESS",
    "privateKey": "EXCHANGE_PRIVATE_KEY",
}
# Where it was tried that an order is found by the id that we gave it, which is what keeps one from being sent twice.
TRIED = ("binance",)
_FINAL = ("closed", "canceled", "rejected", "expired")  # ccxt's words for an order that fills no more
_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 30.0  # seconds between two tries to send an order, or to look at it
_SETTLES = 5  # times the patience: how long an exchange may not know of an order that it has got


def credentials() -> dict[str, str]:
    """Those in the environment, by ccxt's names."""
    return {name: os.environ[variable] for name, variable in CREDENTIALS.items() if os.environ.get(variable)}


def trading_client(exchange: str, symbol: str, options: Mapping[str, Any], *, sandbox: bool) -> ccxt.Exchange:
    """A client that may trade.

    Raises
    ------
    SettingsError
        If credentials are missing that the exchange needs, it has no test network, or real money is to go where nobody
        has tried it.
    """
    if exchange not in TRIED and not sandbox:
        raise SettingsError(
            f"--real trades with real money on {', '.join(TRIED)} only: elsewhere it was not tried that an order is "
            "found by the id we gave it, without which it may be sent twice. Others can be tried with --sandbox."
        )
    client = exchange_client(exchange, {**options, **credentials()})
    missing = [CREDENTIALS.get(name, name) for name, needed in client.requiredCredentials.items() if needed]
    missing = [variable for variable in missing if not os.environ.get(variable)]
    if missing:
        raise SettingsError(f"--real needs {exchange}'s credentials in the environment: {', '.join(missing)}.")
    if sandbox and ":" in symbol and hasattr(client, "enable_demo_trading"):
        client.enable_demo_trading(True)  # Binance has closed its test network for derivatives in favour of this
    elif sandbox and client.urls.get("test"):
        client.set_sandbox_mode(True)
    elif sandbox:
        raise SettingsError(f"--sandbox: {exchange} has no test network.")
    return client


class ExchangeBroker:
    """Trades one symbol on the account that the client's credentials open; nothing else should trade it there.

    On a spot market the position is all that the account has of the base currency, and cannot be short; on a linear
    swap it is the position there. What is too little to be sold counts as nothing. Each order goes out as a market
    order with an id of ours. If an answer is lost, the exchange is asked for that id, long enough for it to have heard,
    before anything is sent again; what could not be sent by the end of the bar in which it was to be filled is dropped.

    Units here are always of the base currency; ccxt's amounts on a swap are contracts, of ``contractSize`` units each.

    Parameters
    ----------
    client
        A ccxt client that may trade.
    symbol
        As ccxt writes it.
    patience
        Seconds; five times as long an exchange is not believed that it has not got an order whose answer was lost.

    Raises
    ------
    SettingsError
        If the exchange has no such symbol, or it is neither a spot market nor a linear swap.
    BrokerAwayError
        If its markets cannot be read now.
    """

    def __init__(self, client: ccxt.Exchange, symbol: str, patience: float) -> None:
        self._client, self._symbol, self._settles = client, symbol, _SETTLES * patience
        self._log = structlog.get_logger().bind(service="trader", symbol=symbol)
        self._ask(client.load_markets)
        if symbol not in client.markets:
            raise SettingsError(f"{client.id} has no symbol {symbol!r}.")
        self._market = client.market(symbol)
        self._is_spot = bool(self._market["spot"])
        if not (self._is_spot or (self._market["swap"] and self._market["linear"])):
            raise SettingsError(f"{symbol} is neither a spot market nor a linear swap: --real cannot trade it.")
        self._contract = 1.0 if self._is_spot else float(self._market["contractSize"] or 1.0)
        self._order: Order | None = None
        self._fills: list[Fill] = []
        self._flattened = 0
        self._position: float | None = None
        self._not_before, self._pause, self._in_doubt_until = 0.0, _FIRST_PAUSE, 0.0

    def open_bar(self, open_: float) -> None:
        """Find out what became of an order of the bar before, which is not sent any more."""
        self._settle("too late: it could not be sent")

    def account(self, close: float | None) -> Account:
        price = self._price() if close is None else close
        balance = self._ask(lambda: self._client.fetch_balance({"type": self._market["type"]}))
        position = self._held(balance)
        quote = float(balance["total"].get(self._market["quote" if self._is_spot else "settle"]) or 0.0)
        self._position = position if self._tradable(position, price, closes=True) else 0.0
        return Account(quote + position * price if self._is_spot else quote, self._position)

    def submit(self, order: Order, close: float) -> Taken:
        if self._order is not None:
            return Taken(0.0, f"the order {self._order.id} is still open")
        held = self._position or 0.0
        units = max(order.units, -held) if self._is_spot else order.units
        closes = held * units < 0 and abs(units) <= abs(held)
        tradable = self._tradable(units, close, closes=closes)
        why = "" if tradable else "below the exchange's least order"
        why = why if units == order.units else "a spot market cannot be short"
        if tradable:
            self._order = replace(order, units=tradable, closes=closes)
            self._not_before, self._pause, self._in_doubt_until = 0.0, _FIRST_PAUSE, 0.0
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
        if self._order is None and time.monotonic() < self._not_before:
            return False
        for one in self._ask(lambda: self._client.fetch_open_orders(self._symbol)):
            self._cancel(one["id"])
        self._settle("stopped")
        if self._order is not None:
            return False
        price = self._price()
        held = self.account(price).position
        if held == 0:
            return True
        self._flattened += 1
        units = self._tradable(-held, price, closes=True)
        self._order = Order(f"{name}{self._flattened}", units, until="", closes=True)
        return False

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
        expected = None
        if state is not None:
            self._order = Order(**state["order"]) if state["order"] else None
            self._flattened, expected = state["flattened"], state["position"]
            self._fills = [Fill(**fill) for fill in state["fills"]]
        if self._order is not None:
            self._in_doubt_until = time.monotonic() + self._settles  # it may have been sent just before the end
            found = self._find(self._order)
            if found is not None:
                self._take(self._order, found)
        position = self.account(None).position
        self._log.info("reconciled", position=position, known=expected, order_under_way=bool(self._order))

    def require_alone(self) -> None:
        ours = self._order.id if self._order else None
        open_orders = self._ask(lambda: self._client.fetch_open_orders(self._symbol))
        foreign = [order for order in open_orders if order["clientOrderId"] != ours]
        if foreign:
            raise LiveError(
                f"{self._client.id} has {len(foreign)} open orders of {self._symbol}, which this trader did not leave "
                "there: it needs an account of its own. Cancel them, or use a sub-account."
            )

    def _send_or_find(self, order: Order) -> None:
        """Send an order that the exchange does not know yet, if there is time; take what became of one that it does."""
        found = self._find(order)
        if found is None and time.monotonic() < self._in_doubt_until:
            self._not_before = min(self._in_doubt_until, time.monotonic() + _FIRST_PAUSE)
            return
        if found is None:
            now = pd.Timestamp(self._ask(self._client.fetch_time), unit="ms", tz="UTC")
            if order.until and now >= pd.Timestamp(order.until):
                self._drop(order, "too late: its bar is over")
                return
            found = self._send(order)
        if found is not None:
            self._take(order, found)

    def _send(self, order: Order) -> dict[str, Any] | None:
        """What the exchange made of an order; None if it refused it."""
        import ccxt

        side, amount = "buy" if order.units > 0 else "sell", self._contracts(order.units)
        reduces = {"reduceOnly": True} if order.closes and not self._is_spot else {}
        params = {"clientOrderId": order.id, **reduces}
        self._in_doubt_until = time.monotonic() + self._settles  # until an answer says more
        try:
            return self._ask(lambda: self._client.create_order(self._symbol, "market", side, amount, None, params))
        except BrokerRefusesError as error:
            if isinstance(error.__cause__, ccxt.DuplicateOrderId):
                raise BrokerAwayError(str(error)) from None  # it has got it, though it may not know of it yet
            found = self._find(order)
            if found is None:
                self._drop(order, f"refused: {error}")
            return found

    def _settle(self, reason: str) -> None:
        """Find out what became of an order that is not sent any more; ``reason`` is for one that never was."""
        if self._order is None:
            return
        found = self._find(self._order)
        if found is not None:
            self._take(self._order, found)
        elif time.monotonic() < self._in_doubt_until:
            raise BrokerAwayError("it may still have got an order whose answer was lost")
        else:
            self._drop(self._order, reason)

    def _find(self, order: Order) -> dict[str, Any] | None:
        import ccxt

        def find() -> dict[str, Any] | None:
            try:
                return self._client.fetch_order(None, self._symbol, {"clientOrderId": order.id})
            except ccxt.OrderNotFound:
                return None

        return self._ask(find)

    def _cancel(self, number: str) -> None:
        import ccxt

        def cancel() -> None:
            with suppress(ccxt.OrderNotFound):  # it was filled meanwhile
                self._client.cancel_order(number, self._symbol)

        self._ask(cancel)
        self._log.warning("open order cancelled", number=number)

    def _take(self, order: Order, found: Mapping[str, Any]) -> None:
        """What became of an order; one that may still fill is asked for again."""
        if found["id"] is None:  # ccxt gives this for an answer that was cut off
            raise BrokerAwayError("the answer about an order cannot be read")
        if found["status"] not in _FINAL:
            self._not_before = time.monotonic() + _FIRST_PAUSE
            return
        units = float(found["filled"] or 0.0) * self._contract * (1 if order.units > 0 else -1)
        reason = "" if found["status"] == "closed" else str(found["status"])
        price = float(found["average"] or 0.0)
        self._done(Fill(order.id, units, price, self._commission(found["id"], price), reason))

    def _commission(self, number: str, price: float) -> float:
        """What the exchange took for an order, in the currency that the symbol is priced in.

        A fee in a third currency, such as the exchange's own, is left out.
        """
        trades = self._ask(lambda: self._client.fetch_my_trades(self._symbol, params={"orderId": number}))
        fees = [trade["fee"] for trade in trades if trade["fee"] and trade["fee"]["cost"]]
        worth = {self._market["base"]: price, self._market["quote"]: 1.0, self._market["settle"]: 1.0}
        return float(sum(fee["cost"] * worth.get(fee["currency"], 0.0) for fee in fees))

    def _drop(self, order: Order, reason: str) -> None:
        self._done(Fill(order.id, 0.0, 0.0, 0.0, reason))

    def _done(self, fill: Fill) -> None:
        self._log.info("order done", **asdict(fill))
        closing_failed = self._order is not None and not self._order.until and not fill.units
        self._order = None
        self._fills.append(fill)
        if closing_failed:
            self._wait()  # before it is tried again
        else:
            self._not_before, self._pause = 0.0, _FIRST_PAUSE

    def _wait(self) -> None:
        self._not_before = time.monotonic() + self._pause
        self._pause = min(2 * self._pause, _LONGEST_PAUSE)

    def _tradable(self, units: float, price: float, *, closes: bool) -> float:
        """Units cut to what the exchange trades at this price; 0 if that is nothing."""
        amount = self._contracts(units) * self._contract
        least_cost = (self._market["limits"]["cost"] or {}).get("min") or 0.0
        if amount * price < least_cost and (self._is_spot or not closes):
            return 0.0
        return amount if units > 0 else -amount

    def _contracts(self, units: float) -> float:
        """Without sign, cut to the exchange's steps; 0 if that is less than it trades."""
        import ccxt

        exact = float(f"{abs(units) / self._contract:.12g}")  # 0.3 of 0.1 are 3, not 2.9999999999999996
        try:
            contracts = float(self._client.amount_to_precision(self._symbol, exact))
        except ccxt.InvalidOrder:  # less than the least step
            return 0.0
        return contracts if contracts >= (self._market["limits"]["amount"]["min"] or 0.0) else 0.0

    def _held(self, balance: Mapping[str, Any]) -> float:
        if self._is_spot:
            return float(balance["total"].get(self._market["base"]) or 0.0)
        positions = self._ask(lambda: self._client.fetch_positions([self._symbol]))
        signs = {"long": self._contract, "short": -self._contract}
        return sum(signs[one["side"]] * float(one["contracts"] or 0.0) for one in positions if one["side"])

    def _price(self) -> float:
        """Of one unit, now."""
        last = self._ask(lambda: self._client.fetch_ticker(self._symbol))["last"]
        if not last:
            raise BrokerAwayError(f"{self._client.id} gives no price of {self._symbol}")
        return float(last)

    def _ask(self, request: Callable[[], Answer]) -> Answer:
        """The answer.

        Raises
        ------
        BrokerAwayError
            If it may come another time.
        BrokerRefusesError
            If it is refused.
        """
        import ccxt

        try:
            return request()
        except ccxt.InvalidNonce as error:  # this machine's clock, which signs requests, differs from the exchange's
            with suppress(ccxt.BaseError):
                self._client.load_time_difference()
            raise BrokerAwayError(f"{type(error).__name__}: {error}") from error
        except ccxt.OperationFailed as error:
            raise BrokerAwayError(f"{type(error).__name__}: {error}") from error
        except ccxt.BaseError as error:
            raise BrokerRefusesError(f"{type(error).__name__}: {error}") from error
