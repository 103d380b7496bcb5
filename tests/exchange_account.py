"""Simulates Binance's private REST: a spot account, an account for the perpetual swap, and orders."""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

STEP, LEAST_COST = "0.00001", "5"  # of BTC, of USDT
SPOT_FEE, SWAP_FEE = 0.001, 0.0005  # fractions of what is traded
LEVERAGE = 20  # of the swap, as Binance begins with


class RefusedError(Exception):
    """A request that is answered with one of Binance's errors."""

    def __init__(self, status: int, code: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.body = {"code": code, "msg": message}


# The swap has codes of its own for these, -4116 and -2019, but ccxt knows them only from a host of Binance's. From the
# spot market's it makes, here, the exceptions that it makes from the swap's there.
DUPLICATE = (400, -2010, "Duplicate order sent.")
NO_FUNDS = (400, -2010, "Account has insufficient balance for requested action.")


@dataclass
class Order:
    """An order that was accepted."""

    id: int
    client_id: str
    is_swap: bool
    is_market: bool
    side: str  # BUY or SELL
    quantity: float  # of the order: BTC or contracts
    limit: float  # USDT for one BTC; 0 for a market order
    time: int  # ms
    unit: float = 1.0  # BTC in one of the quantity
    reduces_only: bool = False
    status: str = "NEW"  # then FILLED, EXPIRED or CANCELED
    filled: float = 0.0  # part of the quantity
    price: float = 0.0  # average fill price, USDT for one BTC
    fee: float = 0.0  # USDT

    @property
    def signed(self) -> float:
        return self.quantity if self.side == "BUY" else -self.quantity


@dataclass
class Account:
    """Balances, position and orders.

    A market order is filled at once at the price of the moment, by default wholly, or rests; its fee is taken in USDT
    (Binance takes that of a spot purchase in BTC). A limit order rests until it is cancelled, and reserves nothing.
    """

    quote: float = 10_000.0  # USDT, spot
    base: float = 0.0  # BTC, spot
    swap_wallet: float = 10_000.0  # USDT, with realised profit and loss
    swap_position: float = 0.0  # BTC, negative when short
    swap_entry_price: float = 0.0
    orders: list[Order] = field(default_factory=list)
    conditional: list[str] = field(default_factory=list)  # client ids of the swap's orders that wait for a price
    largest: float = 9000.0  # quantity of a market order
    contract: float = 1.0  # BTC in one contract of the swap; Binance's have one, many exchanges' a thousandth
    contract_step: str = STEP
    least_cost: str = LEAST_COST  # USDT of an order
    listed_least_cost: str = LEAST_COST  # as the list of symbols has it
    refuses_filled_ids: bool = True  # Binance itself refuses a client id only while its order is open
    unknown_for: int = 0  # number of requests for which an order is not found yet
    incomplete_for: int = 0  # number of answers without the order's status
    market_orders_rest: bool = False
    fills_part: float = 1.0  # of a market order; the rest expires
    trades: bool = True  # whether the key may send orders
    tells_fees: bool = True
    lags_for: int = 0  # number of answers with the swap's previous position
    hedged: bool = False  # hedge mode

    def answer(self, method: str, path: str, query: dict[str, str], price: float, time: int) -> Any:
        """The JSON for a request whose signature was verified, at a price and a time in ms.

        Raises
        ------
        RefusedError
            As Binance does.
        """
        is_swap = path.startswith("/fapi/")
        orders = [order for order in self.orders if order.is_swap == is_swap]
        match method, path.rpartition("/")[2]:
            case "POST", "order":
                order = self._accept(is_swap, query, price, time)
                return self._order_fields(order) if is_swap else {**self._order_fields(order), "fills": _fills(order)}
            case "GET", "order":
                unknown = RefusedError(400, -2013, "Order does not exist.")
                if orders and self.unknown_for:
                    self.unknown_for -= 1
                    raise unknown
                return self._order_fields(_find(orders, query, unknown))
            case "DELETE", "order":
                unknown = RefusedError(400, -2011, "Unknown order sent.")
                order = _find([order for order in orders if order.status == "NEW"], query, unknown)
                order.status = "CANCELED"
                return order_json(order)
            case "POST", "algoOrder":
                self.conditional.append(query["clientAlgoId"])
                return self._algo(len(self.conditional) - 1)
            case "DELETE", "algoOrder":
                return {"algoId": int(query["algoId"]), "clientAlgoId": self.conditional.pop(int(query["algoId"]))}
            case "GET", "openAlgoOrders":
                return [self._algo(number) for number in range(len(self.conditional))]
            case "GET", "openOrders":
                return [order_json(order) for order in orders if order.status == "NEW"]
            case "GET", "myTrades" | "userTrades":
                if not self.tells_fees:
                    raise RefusedError(400, -1100, "Illegal characters found in a parameter.")
                wanted = query.get("orderId")
                return [_trade(order) for order in orders if order.filled and wanted in (None, str(order.id))]
            case "GET", "account":
                return self._swap_account(price) if is_swap else self._spot_account(time)
            case "GET", "positionRisk":
                held = self._shown()
                return [self._position(held, price, time)] if held else []
            case "GET", "dual":
                return {"dualSidePosition": self.hedged}
            case "GET", "leverageBracket":
                bracket = {"bracket": 1, "initialLeverage": LEVERAGE, "notionalFloor": 0, "maintMarginRatio": 0.004}
                return [{"symbol": "BTCUSDT", "brackets": [bracket]}]
        raise RefusedError(404, -5000, f"Path {path}, Method {method} is invalid")

    def _algo(self, number: int) -> dict[str, Any]:
        waits = {"algoStatus": "NEW", "algoType": "CONDITIONAL", "orderType": "STOP_MARKET", "positionSide": "BOTH"}
        return {"symbol": "BTCUSDT", "algoId": number, "clientAlgoId": self.conditional[number], "side": "BUY", **waits}

    def _order_fields(self, order: Order) -> dict[str, Any]:
        fields = order_json(order)
        if self.incomplete_for:
            self.incomplete_for -= 1
            del fields["status"], fields["executedQty"]
        return fields

    def _accept(self, is_swap: bool, query: dict[str, str], price: float, time: int) -> Order:
        if not self.trades:
            raise RefusedError(401, -2015, "Invalid API-key, IP, or permissions for action.")
        if "quantity" not in query:
            raise RefusedError(400, -1102, "Mandatory parameter 'quantity' was not sent, was empty/null, or malformed.")
        order = Order(
            id=len(self.orders) + 1,
            client_id=query["newClientOrderId"],
            is_swap=is_swap,
            is_market=query["type"] == "MARKET",
            side=query["side"],
            quantity=float(query["quantity"]),
            limit=float(query.get("price", 0)),
            time=time,
            unit=self.contract if is_swap else 1.0,
            reduces_only=query.get("reduceOnly") == "true",
        )
        same = [other for other in self.orders if (other.is_swap, other.client_id) == (is_swap, order.client_id)]
        if any(self.refuses_filled_ids or other.status == "NEW" for other in same):
            raise RefusedError(*DUPLICATE)
        if not order.quantity or Decimal(query["quantity"]) % Decimal(self.contract_step if is_swap else STEP):
            raise RefusedError(400, -1013, "Filter failure: LOT_SIZE")
        if order.is_market and order.quantity > self.largest:
            raise RefusedError(400, -4005 if is_swap else -1013, "Quantity greater than max quantity.")
        if order.quantity * order.unit * (order.limit or price) < float(self.least_cost) and not order.reduces_only:
            low = f"Order's notional must be no smaller than {self.least_cost} (unless you choose reduce only)."
            raise RefusedError(400, *((-4164, low) if is_swap else (-1013, "Filter failure: NOTIONAL")))
        if order.is_market and not self.market_orders_rest:
            order.filled = round(order.quantity * self.fills_part, 8)
            (self._trade_swap if is_swap else self._trade_spot)(order, price)
            order.price, order.status = price, "FILLED" if self.fills_part == 1 else "EXPIRED"
        self.orders.append(order)
        return order

    def _trade_spot(self, order: Order, price: float) -> None:
        order.fee = round(SPOT_FEE * order.filled * price, 8)
        bought = order.filled if order.side == "BUY" else -order.filled
        base, quote = self.base + bought, self.quote - bought * price - order.fee
        if min(base, quote) < -5e-9:
            raise RefusedError(*NO_FUNDS)
        self.base, self.quote = round(base, 8), round(quote, 8)

    def _trade_swap(self, order: Order, price: float) -> None:
        sign = 1 if order.side == "BUY" else -1
        before, entry, traded = self.swap_position, self.swap_entry_price, order.filled * order.unit
        closes = min(traded, abs(before)) if before * sign < 0 else 0.0
        if order.reduces_only:
            if not closes:
                raise RefusedError(400, -2022, "ReduceOnly Order is rejected.")
            traded = closes
            order.filled = round(closes / order.unit, 8)
        opens, stays = traded - closes, abs(before) - closes
        order.fee = round(SWAP_FEE * traded * price, 8)
        wallet = self.swap_wallet - sign * closes * (price - entry) - order.fee
        position = round(before + sign * traded, 8)
        entry = (stays * entry + opens * price) / (stays + opens) if position else 0.0
        if opens and abs(position) * price / LEVERAGE > wallet + position * (price - entry):
            raise RefusedError(*NO_FUNDS)
        self.swap_position, self.swap_entry_price, self.swap_wallet = position, entry, round(wallet, 8)

    def _spot_account(self, time: int) -> dict[str, Any]:
        owned = {"BTC": self.base, "USDT": self.quote}
        balances = [{"asset": asset, "free": text(free), "locked": text(0)} for asset, free in owned.items()]
        return {"canTrade": True, "accountType": "SPOT", "updateTime": time, "balances": balances}

    def _swap_account(self, price: float) -> dict[str, Any]:
        unrealised = (price - self.swap_entry_price) * self.swap_position
        margin = abs(self.swap_position) * price / LEVERAGE
        usdt = {
            "asset": "USDT",
            "walletBalance": text(self.swap_wallet),
            "unrealizedProfit": text(unrealised),
            "marginBalance": text(self.swap_wallet + unrealised),
            "initialMargin": text(margin),
            "availableBalance": text(self.swap_wallet + unrealised - margin),
        }
        return {"assets": [usdt], "positions": []}

    def _shown(self) -> float:
        """The swap's position, or the previous one."""
        if not self.lags_for:
            self._last_shown = self.swap_position
            return self.swap_position
        self.lags_for -= 1
        return self._last_shown

    def _position(self, held: float, price: float, time: int) -> dict[str, Any]:
        notional = held * price
        return {
            "symbol": "BTCUSDT",
            "positionSide": ("LONG" if held > 0 else "SHORT") if self.hedged else "BOTH",
            "positionAmt": text(held / self.contract),
            "entryPrice": text(self.swap_entry_price),
            "markPrice": text(price),
            "unRealizedProfit": text((price - self.swap_entry_price) * held),
            "liquidationPrice": "0",
            "isolatedMargin": "0",
            "notional": text(notional),
            "marginAsset": "USDT",
            "initialMargin": text(abs(notional) / LEVERAGE),
            "maintMargin": text(0.004 * abs(notional)),
            "updateTime": time,
        }


def require_signature(query: str, sent_key: str | None, key: str, secret: str) -> None:
    """Verify who sent a query string that ends in its signature.

    Raises
    ------
    RefusedError
        If the key or the signature is not this account's.
    """
    if sent_key != key:
        raise RefusedError(401, -2014, "API-key format invalid.")
    signed, _, signature = query.rpartition("&signature=")
    if not hmac.compare_digest(hmac.new(secret.encode(), signed.encode(), hashlib.sha256).hexdigest(), signature):
        raise RefusedError(400, -1022, "Signature for this request is not valid.")


def text(number: float) -> str:
    """An amount or price in Binance's format."""
    return f"{round(number, 8) + 0.0:.8f}"  # without a minus before zero


def order_json(order: Order) -> dict[str, Any]:
    """The order in Binance's format, without the fee, which only trades have."""
    cost = text(order.filled * order.unit * order.price)
    fields = {
        "symbol": "BTCUSDT",
        "orderId": order.id,
        "clientOrderId": order.client_id,
        "price": text(order.limit),
        "origQty": text(order.quantity),
        "executedQty": text(order.filled),
        "status": order.status,
        "timeInForce": "GTC",
        "type": "MARKET" if order.is_market else "LIMIT",
        "side": order.side,
        "time": order.time,
        "updateTime": order.time,
    }
    if order.is_swap:
        average = {"avgPrice": text(order.price), "cumQuote": cost}
        return {**fields, **average, "positionSide": "BOTH", "reduceOnly": order.reduces_only}
    return {**fields, "orderListId": -1, "cummulativeQuoteQty": cost, "transactTime": order.time}


def _fills(order: Order) -> list[dict[str, Any]]:
    if not order.filled:
        return []
    fee = {"commission": text(order.fee), "commissionAsset": "USDT"}
    return [{"tradeId": order.id, "price": text(order.price), "qty": text(order.filled), **fee}]


def _trade(order: Order) -> dict[str, Any]:
    trade = {
        **_fills(order)[0],
        "symbol": "BTCUSDT",
        "id": order.id,
        "orderId": order.id,
        "quoteQty": text(order.filled * order.unit * order.price),
        "time": order.time,
    }
    if order.is_swap:
        return {**trade, "side": order.side, "maker": False, "positionSide": "BOTH"}
    return {**trade, "isBuyer": order.side == "BUY", "isMaker": False, "orderListId": -1}


def _find(orders: list[Order], query: dict[str, str], unknown: RefusedError) -> Order:
    """The last order with this client id, or the order with this exchange id."""
    for order in reversed(orders):
        if query.get("origClientOrderId") == order.client_id or query.get("orderId") == str(order.id):
            return order
    raise unknown
