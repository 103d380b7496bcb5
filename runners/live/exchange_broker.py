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
from runners.live.broker import Account, BrokerAwayError, Fill, Order

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
_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 30.0  # seconds between two tries to send an order


def credentials() -> dict[str, str]:
    """Those in the environment, by ccxt's names."""
    return {name: os.environ[variable] for name, variable in CREDENTIALS.items() if os.environ.get(variable)}


def trading_client(exchange: str, symbol: str, options: Mapping[str, Any], *, sandbox: bool) -> ccxt.Exchange:
    """A client that may trade.

    Raises
    ------
    SettingsError
        If credentials are missing that the exchange needs, or it has no test network.
    """
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
    swap it is the position there. Each order goes out as a market order with an id of ours. If an answer is lost, the
    exchange is asked for that id before anything is sent again, and what could not be sent by the end of the bar in
    which it was to be filled is dropped.

    Parameters
    ----------
    client
        A ccxt client that may trade.
    symbol
        As ccxt writes it.

    Raises
    ------
    SettingsError
        If the exchange has no such symbol, or it is neither a spot market nor a linear swap.
    """

    def __init__(self, client: ccxt.Exchange, symbol: str) -> None:
        self._client, self._symbol = client, symbol
        self._log = structlog.get_logger().bind(service="trader", symbol=symbol)
        self._ask(client.load_markets)
        if symbol not in client.markets:
            raise SettingsError(f"{client.id} has no symbol {symbol!r}.")
        self._market = client.market(symbol)
        if not (self._market["spot"] or (self._market["swap"] and self._market["linear"])):
            raise SettingsError(f"{symbol} is neither a spot market nor a linear swap: --real cannot trade it.")
        self._order: Order | None = None
        self._fills: list[Fill] = []
        self._flattened = 0
        self._position: float | None = None
        self._not_before, self._pause = 0.0, _FIRST_PAUSE

    def open_bar(self, open_: float) -> None:
        """Find out what became of an order of the bar before, which is not sent any more."""
        if self._order is None:
            return
        found = self._find(self._order)
        if found is None:
            self._done(Fill(self._order.id, 0.0, 0.0, 0.0, "too late: it could not be sent"))
        else:
            self._take(self._order, found)

    def account(self, close: float) -> Account:
        balance = self._ask(lambda: self._client.fetch_balance({"type": self._market["type"]}))
        if self._market["spot"]:
            base, quote = (float(balance["total"].get(self._market[side]) or 0.0) for side in ("base", "quote"))
            equity, position = quote + base * close, base
        else:
            equity, position = float(balance["total"].get(self._market["settle"]) or 0.0), self._swap_position()
        self._position = position if abs(position) >= self._least_amount() else 0.0
        return Account(equity, self._position)

    def submit(self, order: Order, close: float) -> str:
        if self._order is not None:
            return f"the order {self._order.id} is still open"
        held = self._position or 0.0
        units = max(order.units, -held) if self._market["spot"] else order.units
        amount = self._amount(units)
        least_cost = (self._market["limits"]["cost"] or {}).get("min") or 0.0
        closes = abs(held + units) < self._least_amount()
        if amount == 0 or (amount * close < least_cost and not closes):
            return "a spot market cannot be short" if units != order.units else "below the exchange's least order"
        self._order = replace(order, units=amount if units > 0 else -amount)
        self._not_before, self._pause = 0.0, _FIRST_PAUSE
        return ""

    def work(self) -> None:
        if self._order is None or time.monotonic() < self._not_before:
            return
        try:
            self._send_or_find(self._order)
        except BrokerAwayError as error:
            self._log.warning("order not sent yet", order=self._order.id, why=str(error), tries_again_in=self._pause)
            self._not_before = time.monotonic() + self._pause
            self._pause = min(2 * self._pause, _LONGEST_PAUSE)

    def flatten(self, order: Order, price: float) -> bool:
        if self._order is not None and not self._order.id.startswith(order.id):
            found = self._find(self._order)
            if found is None:
                self._done(Fill(self._order.id, 0.0, 0.0, 0.0, "stopped"))
            else:
                self._take(self._order, found)
        if self._order is None:
            held = self.account(price).position
            if held == 0:
                return True
            self._flattened += 1
            unsent = replace(order, id=f"{order.id}{self._flattened}", units=-held, until="")
            if self.submit(unsent, price):
                return True  # what is left is less than the exchange trades
        self.work()
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
            found = self._find(self._order)
            if found is not None:
                self._take(self._order, found)
        ours = self._order.id if self._order else None
        open_orders = self._ask(lambda: self._client.fetch_open_orders(self._symbol))
        foreign = [order for order in open_orders if order["clientOrderId"] != ours]
        if foreign:
            raise LiveError(
                f"{self._client.id} has {len(foreign)} open orders of {self._symbol}, which this trader did not leave "
                "there: it needs an account of its own. Cancel them, or use a sub-account."
            )
        position = self.account(1.0).position
        self._log.info("reconciled", position=position, known=expected, order_under_way=bool(self._order))

    def _send_or_find(self, order: Order) -> None:
        """Send an order that the exchange does not know yet, if there is time; take what became of one that it does."""
        found = self._find(order)
        if found is None:
            now = pd.Timestamp(self._ask(self._client.fetch_time), unit="ms", tz="UTC")
            if order.until and now >= pd.Timestamp(order.until):
                self._done(Fill(order.id, 0.0, 0.0, 0.0, "too late: its bar is over"))
                return
            found = self._send(order)
        if found is not None:
            self._take(order, found)

    def _send(self, order: Order) -> dict[str, Any] | None:
        import ccxt

        side, reduces = "buy" if order.units > 0 else "sell", {}
        if self._market["swap"] and not order.until:
            reduces = {"reduceOnly": True}
        params = {"clientOrderId": order.id, **reduces}
        try:
            return self._ask(
                lambda: self._client.create_order(self._symbol, "market", side, abs(order.units), None, params)
            )
        except ccxt.ExchangeError as error:
            found = self._find(order)  # it may know the order from a try whose answer was lost
            if found is None:
                self._done(Fill(order.id, 0.0, 0.0, 0.0, f"refused: {error}"))
            return found

    def _find(self, order: Order) -> dict[str, Any] | None:
        import ccxt

        try:
            return self._ask(lambda: self._client.fetch_order(None, self._symbol, {"clientOrderId": order.id}))
        except ccxt.OrderNotFound:
            return None

    def _take(self, order: Order, found: Mapping[str, Any]) -> None:
        """What became of an order; one that is still open is asked for again."""
        if found["id"] is None:  # ccxt gives this for an answer that was cut off
            raise BrokerAwayError("the answer about an order cannot be read")
        if found["status"] == "open":
            self._not_before = time.monotonic() + _FIRST_PAUSE
            return
        units = float(found["filled"] or 0.0) * (1 if order.units > 0 else -1)
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

    def _done(self, fill: Fill) -> None:
        self._log.info("order done", **asdict(fill))
        self._order = None
        self._fills.append(fill)

    def _amount(self, units: float) -> float:
        """Units without sign, cut to what the exchange trades; 0 if that is nothing."""
        import ccxt

        try:
            amount = float(self._client.amount_to_precision(self._symbol, abs(units)))
        except ccxt.InvalidOrder:  # less than the least step
            return 0.0
        return amount if amount >= self._least_amount() else 0.0

    def _least_amount(self) -> float:
        return float(self._market["limits"]["amount"]["min"] or 0.0)

    def _swap_position(self) -> float:
        size = float(self._market["contractSize"] or 1.0)
        positions = self._ask(lambda: self._client.fetch_positions([self._symbol]))
        signs = {"long": 1.0, "short": -1.0}
        return sum(signs[one["side"]] * float(one["contracts"] or 0.0) * size for one in positions if one["side"])

    def _ask(self, request: Callable[[], Answer]) -> Answer:
        """The answer.

        Raises
        ------
        BrokerAwayError
            If it may come another time.
        """
        import ccxt

        try:
            return request()
        except ccxt.InvalidNonce as error:  # this machine's clock, which signs requests, differs from the exchange's
            with suppress(ccxt.BaseError):
                self._client.load_time_difference()
            raise BrokerAwayError(f"{type(error).__name__}: {error}") from None
        except ccxt.OperationFailed as error:
            raise BrokerAwayError(f"{type(error).__name__}: {error}") from None
