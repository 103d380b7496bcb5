"""Reads and trades one symbol of an exchange account through ccxt, and checks the answers."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import pandas as pd

from data.errors import LiveError, SettingsError
from runners.live.trading.broker import BrokerRejectedError, BrokerUnavailableError, NotExecutedError
from runners.live.trading.exchange_client import TESTED_EXCHANGES

if TYPE_CHECKING:
    import ccxt

Answer = TypeVar("Answer")

_FINAL = ("closed", "canceled", "rejected", "expired")  # ccxt's final states of an order


class AccountValue(NamedTuple):
    """Value of an account in the symbol's quote currency, and the units held."""

    equity: float
    units: float


class OrderStatus(NamedTuple):
    """State of an order: the exchange's number, filled ``units`` without sign, and the ``reason`` if not all."""

    number: str
    is_final: bool
    units: float
    price: float
    reason: str


class OpenOrder(NamedTuple):
    """An open order, whoever sent it; a conditional one waits for a price."""

    number: str
    name: str | None
    is_conditional: bool


class ExchangeAccount:
    """One symbol on the account of a ccxt client. It keeps no state.

    Units are always those of the base currency; ccxt's amounts of a swap are contracts of ``contractSize`` units each.
    An unreadable answer is an error, and never counts as an empty account. All methods raise `BrokerUnavailableError`
    if a retry may help, and `BrokerRejectedError` if the request is rejected.

    Raises
    ------
    SettingsError
        If the exchange has no such symbol, or the symbol is neither a spot market nor a linear swap.
    """

    def __init__(self, client: ccxt.Exchange, symbol: str) -> None:
        self.name = client.id
        self._client, self._symbol = client, symbol
        self._request(client.load_markets)
        if not client.markets:
            client.markets = None  # so that ccxt requests them again
            raise BrokerUnavailableError("the answer has no markets")
        if symbol not in client.markets:
            raise SettingsError(f"{client.id} has no symbol {symbol!r}.")
        self._market: Mapping[str, Any] = client.market(symbol)
        self.is_spot = bool(self._market["spot"])
        if not (self.is_spot or (self._market["swap"] and self._market["linear"])):
            raise SettingsError(f"{symbol} is neither a spot market nor a linear swap: --real cannot trade it.")
        self._currency = self._market["quote" if self.is_spot else "settle"]
        self._contract_size = 1.0 if self.is_spot else float(self._market["contractSize"] or 1.0)

    def reload_market(self) -> None:
        """Request the symbol's lot step and limits again, because the exchange may have changed them."""
        before = self._client.markets
        self._request(lambda: self._client.load_markets(True))
        if self._symbol not in self._client.markets:  # the list may be incomplete for a time
            self._client.set_markets(list(before.values()))
        self._market = self._client.market(self._symbol)

    def time(self) -> pd.Timestamp:
        params = {"type": self._market["type"]} if self.name in TESTED_EXCHANGES else {}
        milliseconds = self._request(lambda: self._client.fetch_time(params))
        if not milliseconds:
            raise BrokerUnavailableError("the answer has no time")
        return pd.Timestamp(milliseconds, unit="ms", tz="UTC")

    def price(self) -> float:
        """Current price of one unit."""
        last = self._request(lambda: self._client.fetch_ticker(self._symbol))["last"]
        if not last:
            raise BrokerUnavailableError(f"the answer has no price of {self._symbol}")
        return float(last)

    def value(self, price: float) -> AccountValue:
        """Value at this unit price; a swap's value is at the exchange's own price, with unrealised profit."""
        totals = self._totals()
        cash = float(totals.get(self._currency) or 0.0)
        if not self.is_spot:
            return AccountValue(cash, self.units())
        units = float(totals.get(self._market["base"]) or 0.0)
        return AccountValue(cash + units * price, units)

    def units(self) -> float:
        """Units held, whoever opened the position; negative for short. Raises LiveError in hedge mode."""
        if self.is_spot:
            return float(self._totals().get(self._market["base"]) or 0.0)
        positions = self._request_list(lambda: self._client.fetch_positions([self._symbol]))
        if any(one["hedged"] for one in positions):
            raise self._hedge_mode()
        signs = {"long": self._contract_size, "short": -self._contract_size}
        return sum(signs[one["side"]] * float(one["contracts"] or 0.0) for one in positions if one["side"])

    def require_one_way(self) -> None:
        """Raise LiveError if the account is in hedge mode, also without a position, where the exchange tells."""
        if self.is_spot or not self._client.has.get("fetchPositionMode"):
            return
        is_hedged = self._request(lambda: self._client.fetch_position_mode(self._symbol))["hedged"]
        if is_hedged is None:
            raise BrokerUnavailableError("the answer has no position mode")
        if is_hedged:
            raise self._hedge_mode()

    def _hedge_mode(self) -> LiveError:
        return LiveError(f"{self.name} is in hedge mode. Set the account to one-way mode.")

    def differ(self, units: float, others: float) -> bool:
        """Whether the difference is large enough to trade."""
        return self._contracts(units - others) != 0

    def tradable(self, units: float, price: float, *, closes: bool) -> float:
        """Units rounded down to a valid size of one order at this price; 0 if they are too few."""
        amount = self._contracts(units) * self._contract_size
        if amount * price < self._minimum_cost and (self.is_spot or not closes):
            return 0.0
        return amount if units > 0 else -amount

    def is_near_minimum(self, units: float, price: float) -> bool:
        """Whether a spot order is so small that the exchange, at a price of its own, may count it as too small."""
        return self.is_spot and abs(units) * price < 2 * self._minimum_cost

    @property
    def _minimum_cost(self) -> float:
        return (self._market["limits"]["cost"] or {}).get("min") or 0.0

    def now(self) -> int:
        """Current time as ``valid_from`` of an order."""
        return self._client.nonce()

    def send_order(self, name: str, units: float, *, closes: bool, valid_from: int | None) -> OrderStatus:
        """Send a market order that `find_order` finds by its name; one that ``closes`` only reduces a swap's position.

        The exchange accepts it for five seconds from ``valid_from`` on, or from when it is sent if that is None.

        Raises
        ------
        NotExecutedError
            If the exchange has certainly not accepted the order.
        """
        side, amount = "buy" if units > 0 else "sell", self._contracts(units)
        params: dict[str, Any] = {"clientOrderId": name}
        if closes and not self.is_spot:
            params["reduceOnly"] = True
        if valid_from is not None and self.name in TESTED_EXCHANGES:
            params["timestamp"] = valid_from
        return self._order_status(
            self._request(lambda: self._client.create_order(self._symbol, "market", side, amount, None, params))
        )

    def find_order(self, name: str) -> OrderStatus | None:
        """State of an order; None if the exchange does not know it."""
        import ccxt

        def fetch() -> Any:
            with suppress(ccxt.OrderNotFound):
                return self._client.fetch_order(None, self._symbol, {"clientOrderId": name})

        answer = self._request(fetch)
        return self._order_status(answer) if answer is not None else None

    def open_orders(self) -> Iterator[OpenOrder]:
        for is_conditional in (False,) if self.is_spot else (False, True):
            params = {"trigger": True} if is_conditional else {}
            orders = self._request_list(partial(self._client.fetch_open_orders, self._symbol, params=params))
            yield from (OpenOrder(one["id"], one["clientOrderId"], is_conditional) for one in orders)

    def cancel(self, order: OpenOrder) -> None:
        """Cancel an order, unless it was filled in the meantime."""
        import ccxt

        def cancel() -> None:
            with suppress(ccxt.OrderNotFound):
                self._client.cancel_order(order.number, self._symbol, {"trigger": True} if order.is_conditional else {})

        self._request(cancel)

    def commission(self, number: str, price: float) -> float:
        """Commission of an order in the quote currency; fees in a third currency count as 0."""
        trades = self._request(lambda: self._client.fetch_my_trades(self._symbol, params={"orderId": number}))
        fees = [trade["fee"] for trade in trades if trade["fee"] and trade["fee"]["cost"]]
        prices = {self._market["base"]: price, self._market["quote"]: 1.0, self._market["settle"]: 1.0}
        return float(sum(fee["cost"] * prices.get(fee["currency"], 0.0) for fee in fees))

    def _totals(self) -> Mapping[str, float | None]:
        """Balance by currency."""
        totals = self._request(lambda: self._client.fetch_balance({"type": self._market["type"]}))["total"]
        if self._currency not in totals and not (self.is_spot and self._market["base"] in totals):
            raise BrokerUnavailableError(f"the answer has no balance of {self._currency}")
        return totals

    def _contracts(self, units: float) -> float:
        """Contracts without sign, rounded down to the exchange's step and largest order; 0 below its smallest."""
        import ccxt

        limits = self._market["limits"]
        exact = float(f"{abs(units) / self._contract_size:.12g}")  # 0.3 / 0.1 is 3, not 2.9999999999999996
        maxima = [limits[kind]["max"] for kind in ("amount", "market") if (limits.get(kind) or {}).get("max")]
        try:
            contracts = float(self._client.amount_to_precision(self._symbol, min([exact, *maxima])))
        except ccxt.InvalidOrder:  # less than one step
            return 0.0
        return contracts if contracts >= (limits["amount"]["min"] or 0.0) else 0.0

    def _order_status(self, answer: Mapping[str, Any]) -> OrderStatus:
        if answer["id"] is None:  # ccxt could not read the answer
            raise BrokerUnavailableError("the order's status cannot be read")
        units = float(answer["filled"] or 0.0) * self._contract_size
        reason = "" if answer["status"] == "closed" else str(answer["status"])
        return OrderStatus(answer["id"], answer["status"] in _FINAL, units, float(answer["average"] or 0.0), reason)

    def _request_list(self, request: Callable[[], list[Answer]]) -> list[Answer]:
        """The list in the answer; empty only if the exchange really sent an empty list."""
        answer = self._request(request)
        if not answer and not _has_list(self._client.last_json_response):
            raise BrokerUnavailableError("the answer is not a list")
        return answer

    def _request(self, request: Callable[[], Answer]) -> Answer:
        """The answer; translates ccxt's errors."""
        import ccxt

        not_executed = (ccxt.InvalidNonce, ccxt.DDoSProtection, ccxt.RateLimitExceeded)
        try:
            return request()
        except ccxt.OperationFailed as error:
            if isinstance(error, ccxt.InvalidNonce):  # this machine's clock differs from the exchange's
                with suppress(ccxt.BaseError):
                    self._client.load_time_difference()
            kind = NotExecutedError if isinstance(error, not_executed) else BrokerUnavailableError
            if re.search(r'"code": ?-2015', str(error)):  # ccxt treats a revoked key as a temporary ban
                kind = BrokerRejectedError
            raise kind(f"{type(error).__name__}: {error}") from error
        except ccxt.BaseError as error:
            raise BrokerRejectedError(f"{type(error).__name__}: {error}") from error
        except Exception as error:  # ccxt fails on an unexpected answer
            raise BrokerUnavailableError(f"the answer cannot be read ({type(error).__name__}: {error})") from error


def _has_list(answer: Any) -> bool:
    values = answer.values() if isinstance(answer, dict) else ()
    return isinstance(answer, list) or any(map(_has_list, values))
