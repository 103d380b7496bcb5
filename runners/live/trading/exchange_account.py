"""An account on an exchange, through ccxt: its answers checked, its errors and its contracts translated."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import pandas as pd

from data.errors import LiveError, SettingsError
from data.exchange import exchange_client
from runners.live.trading.broker import BrokerAwayError, BrokerRefusesError, NotDoneError

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
VALID_FOR = 5.0  # seconds for which Binance takes a request
_FINAL = ("closed", "canceled", "rejected", "expired")  # ccxt's words for an order that fills no more


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
    if any(letter.isspace() for letter in client.apiKey or ""):
        raise SettingsError(f"{CREDENTIALS['apiKey']} has white space in it.")
    client.options["recvWindow"] = int(1000 * VALID_FOR)
    client.options["fetchCurrencies"] = False  # a signed request for what no order needs: wallets may be under repair
    client.enableLastJsonResponse = True
    if exchange in TRIED:
        client.options["fetchMarkets"] = {"types": ["linear" if ":" in symbol else "spot"]}
    if sandbox and ":" in symbol and "demo" in client.urls:
        client.enable_demo_trading(True)  # Binance has closed its test network for derivatives in favour of this
    elif sandbox and client.urls.get("test"):
        client.set_sandbox_mode(True)
    elif sandbox:
        raise SettingsError(f"--sandbox: {exchange} has no test network.")
    return client


class Worth(NamedTuple):
    """What an account is worth in the currency that the symbol is priced in, and the units held."""

    equity: float
    units: float


class Found(NamedTuple):
    """An order as the exchange tells of it: its own number for it, whether it fills no more, and what was filled.

    Units are without sign; ``reason`` says why they are not all.
    """

    number: str
    is_final: bool
    units: float
    price: float
    reason: str


class OpenOrder(NamedTuple):
    """One that may still fill, whoever sent it; a conditional one waits for a price."""

    number: str
    name: str | None
    is_conditional: bool


class ExchangeAccount:
    """One symbol on the account that a client's credentials open. It remembers nothing.

    Units here are always of the base currency; ccxt's amounts on a swap are contracts, of ``contractSize`` units each.
    An answer that cannot be read is none: it never counts as an account that holds nothing. All methods raise
    `BrokerAwayError` if the answer may come another time, and `BrokerRefusesError` if it is refused.

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
        self.name = client.id
        self._client, self._symbol = client, symbol
        self._ask(client.load_markets)
        if not client.markets:
            client.markets = None  # to be asked for again
            raise BrokerAwayError("it tells no markets")
        if symbol not in client.markets:
            raise SettingsError(f"{client.id} has no symbol {symbol!r}.")
        self._market = client.market(symbol)
        self.is_spot = bool(self._market["spot"])
        if not (self.is_spot or (self._market["swap"] and self._market["linear"])):
            raise SettingsError(f"{symbol} is neither a spot market nor a linear swap: --real cannot trade it.")
        self._money = self._market["quote" if self.is_spot else "settle"]
        self._contract = 1.0 if self.is_spot else float(self._market["contractSize"] or 1.0)

    def time(self) -> pd.Timestamp:
        of_market = {"type": self._market["type"]} if self.name in TRIED else {}
        told = self._ask(lambda: self._client.fetch_time(of_market))
        if not told:
            raise BrokerAwayError("it does not tell the time")
        return pd.Timestamp(told, unit="ms", tz="UTC")

    def price(self) -> float:
        """Of one unit, now."""
        last = self._ask(lambda: self._client.fetch_ticker(self._symbol))["last"]
        if not last:
            raise BrokerAwayError(f"it gives no price of {self._symbol}")
        return float(last)

    def worth(self, price: float) -> Worth:
        """At this price of a unit; on a swap at the exchange's own, its unrealised gain included."""
        totals = self._totals()
        money = float(totals.get(self._money) or 0.0)
        if not self.is_spot:
            return Worth(money, self.units())
        units = float(totals.get(self._market["base"]) or 0.0)
        return Worth(money + units * price, units)

    def units(self) -> float:
        """What is held, whoever opened it; negative for short.

        Raises
        ------
        LiveError
            If the account may hold long and short positions side by side.
        """
        if self.is_spot:
            return float(self._totals().get(self._market["base"]) or 0.0)
        positions = self._list(lambda: self._client.fetch_positions([self._symbol]))
        if any(one["hedged"] for one in positions):
            raise LiveError(f"{self.name} is in hedge mode, in which a position has two sides. Set it to one-way mode.")
        signs = {"long": self._contract, "short": -self._contract}
        return sum(signs[one["side"]] * float(one["contracts"] or 0.0) for one in positions if one["side"])

    def differ(self, units: float, others: float) -> bool:
        """Whether by as much as can be traded."""
        return self._contracts(units - others) != 0

    def tradable(self, units: float, price: float, *, closes: bool) -> float:
        """Units cut to what one order may have at this price; 0 if that is nothing."""
        amount = self._contracts(units) * self._contract
        least_cost = (self._market["limits"]["cost"] or {}).get("min") or 0.0
        if amount * price < least_cost and (self.is_spot or not closes):
            return 0.0
        return amount if units > 0 else -amount

    def now(self) -> int:
        """What `send` takes as ``valid_from``."""
        return self._client.nonce()

    def send(self, name: str, units: float, *, closes: bool, valid_from: int | None) -> Found:
        """Order at the market, so that `find` finds it by its name; what closes a swap's position does only that.

        Parameters
        ----------
        valid_from
            From when on the exchange takes it for five seconds, however long it is on its way; None: from its sending.

        Raises
        ------
        NotDoneError
            If it certainly was not taken.
        """
        side, amount = "buy" if units > 0 else "sell", self._contracts(units)
        params: dict[str, Any] = {"clientOrderId": name}
        if closes and not self.is_spot:
            params["reduceOnly"] = True
        if valid_from is not None and self.name in TRIED:
            params["timestamp"] = valid_from
        return self._found(
            self._ask(lambda: self._client.create_order(self._symbol, "market", side, amount, None, params))
        )

    def find(self, name: str) -> Found | None:
        """What became of an order; None if it knows of none."""
        import ccxt

        def find() -> Any:
            with suppress(ccxt.OrderNotFound):
                return self._client.fetch_order(None, self._symbol, {"clientOrderId": name})

        told = self._ask(find)
        return self._found(told) if told is not None else None

    def open_orders(self) -> Iterator[OpenOrder]:
        for is_conditional in (False,) if self.is_spot else (False, True):
            params = {"trigger": True} if is_conditional else {}
            told = self._list(partial(self._client.fetch_open_orders, self._symbol, params=params))
            yield from (OpenOrder(one["id"], one["clientOrderId"], is_conditional) for one in told)

    def cancel(self, order: OpenOrder) -> None:
        """Cancel an order, if it was not filled meanwhile."""
        import ccxt

        def cancel() -> None:
            with suppress(ccxt.OrderNotFound):
                self._client.cancel_order(order.number, self._symbol, {"trigger": True} if order.is_conditional else {})

        self._ask(cancel)

    def commission(self, number: str, price: float) -> float:
        """What it took for an order, in the currency that the symbol is priced in.

        A fee in a third currency, such as the exchange's own, is left out.
        """
        trades = self._ask(lambda: self._client.fetch_my_trades(self._symbol, params={"orderId": number}))
        fees = [trade["fee"] for trade in trades if trade["fee"] and trade["fee"]["cost"]]
        worth = {self._market["base"]: price, self._market["quote"]: 1.0, self._market["settle"]: 1.0}
        return float(sum(fee["cost"] * worth.get(fee["currency"], 0.0) for fee in fees))

    def _totals(self) -> Mapping[str, float | None]:
        """What the account has, by currency."""
        totals = self._ask(lambda: self._client.fetch_balance({"type": self._market["type"]}))["total"]
        if self._money not in totals and not (self.is_spot and self._market["base"] in totals):
            raise BrokerAwayError(f"it tells of no {self._money} on the account")
        return totals

    def _contracts(self, units: float) -> float:
        """Without sign, cut to the exchange's steps and its largest order; 0 if that is less than it trades."""
        import ccxt

        limits = self._market["limits"]
        exact = float(f"{abs(units) / self._contract:.12g}")  # 0.3 of 0.1 are 3, not 2.9999999999999996
        most = [limits[kind]["max"] for kind in ("amount", "market") if (limits.get(kind) or {}).get("max")]
        try:
            contracts = float(self._client.amount_to_precision(self._symbol, min([exact, *most])))
        except ccxt.InvalidOrder:  # less than the least step
            return 0.0
        return contracts if contracts >= (limits["amount"]["min"] or 0.0) else 0.0

    def _found(self, told: Mapping[str, Any]) -> Found:
        if told["id"] is None:  # ccxt gives this for an answer that it cannot read
            raise BrokerAwayError("the answer about an order cannot be read")
        units = float(told["filled"] or 0.0) * self._contract
        reason = "" if told["status"] == "closed" else str(told["status"])
        return Found(told["id"], told["status"] in _FINAL, units, float(told["average"] or 0.0), reason)

    def _list(self, request: Callable[[], list[Answer]]) -> list[Answer]:
        """What the exchange listed; an empty list only if it has sent one."""
        answer = self._ask(request)
        if not answer and not _has_list(self._client.last_json_response):
            raise BrokerAwayError("the answer is not the list that was asked for")
        return answer

    def _ask(self, request: Callable[[], Answer]) -> Answer:
        import ccxt

        not_done = (ccxt.InvalidNonce, ccxt.DDoSProtection, ccxt.RateLimitExceeded)
        try:
            return request()
        except ccxt.OperationFailed as error:
            if isinstance(
                error, ccxt.InvalidNonce
            ):  # this machine's clock, which signs requests, is not the exchange's
                with suppress(ccxt.BaseError):
                    self._client.load_time_difference()
            kind = NotDoneError if isinstance(error, not_done) else BrokerAwayError
            if re.search(r'"code": ?-2015', str(error)):  # ccxt takes a key that was good before for banned for a while
                kind = BrokerRefusesError
            raise kind(f"{type(error).__name__}: {error}") from error
        except ccxt.BaseError as error:
            raise BrokerRefusesError(f"{type(error).__name__}: {error}") from error
        except Exception as error:  # ccxt stumbles over an answer that is not what it expects
            raise BrokerAwayError(f"an answer that cannot be read ({type(error).__name__}: {error})") from error


def _has_list(answer: Any) -> bool:
    values = answer.values() if isinstance(answer, dict) else ()
    return isinstance(answer, list) or any(map(_has_list, values))
