"""The exchange on loopback that other tests use, as the real clients of ccxt see it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import ccxt
import ccxt.pro
import pandas as pd
import pytest
from websockets.sync.client import connect

from tests.conftest import switching_candles
from tests.exchange import BAR, Exchange, Fault
from tests.patience import PATIENCE_S

CANDLES = switching_candles(60).drop(columns="regime").round(2)
SPOT, SWAP = "BTC/USDT", "BTC/USDT:USDT"
OPENS = CANDLES.index
PRICE = float(CANDLES["open"].iloc[20])  # of the bar in progress, where 20 have closed


@pytest.fixture
def exchange() -> Iterator[Exchange]:
    with Exchange(CANDLES, closed=20) as served:
        yield served


@pytest.fixture
def client(exchange: Exchange) -> ccxt.binance:
    return ccxt.binance({**exchange.client_options(), "apiKey": exchange.key, "secret": exchange.secret})


def row(opened: pd.Timestamp, *ohlcv: float) -> list[float]:
    """A candle as ccxt gives it."""
    return [int(opened.timestamp() * 1000), *(ohlcv or CANDLES.loc[opened])]


def just_open(opened: pd.Timestamp) -> list[float]:
    return row(opened, *[CANDLES.loc[opened, "open"]] * 4, 0.0)


def watching(exchange: Exchange, what: Callable[[ccxt.pro.binance], Coroutine[Any, Any, None]]) -> None:
    """Run a test with a client of its own."""

    async def run() -> None:
        async with asyncio.timeout(PATIENCE_S), ccxt.pro.binance(exchange.client_options()) as client:
            await what(client)

    asyncio.run(run())


async def subscribed(exchange: Exchange, watched: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
    """What is watched, once nothing is left to do for it but to wait for events."""
    call = asyncio.create_task(watched)
    await asyncio.to_thread(exchange.wait_for_subscriber)
    return call


async def seen_until(client: ccxt.pro.binance, opened: pd.Timestamp) -> list[list[float]]:
    """The last state of each candle that the client sees, until it sees the one that opened then.

    Nothing else is awaited in between: what comes while nobody waits for it wakes nobody.
    """
    seen: dict[float, list[float]] = {}
    while row(opened)[0] not in seen:
        seen |= {candle[0]: candle for candle in await client.watch_ohlcv(SPOT, "4h")}
    return list(seen.values())


def buy(client: ccxt.binance, symbol: str, amount: float, client_id: str, side: str = "buy", **params: Any) -> Any:
    return client.create_order(symbol, "market", side, amount, params={"clientOrderId": client_id, **params})


def test_a_client_sees_bars_close_and_the_next_ones_open(exchange: Exchange) -> None:
    async def test(client: ccxt.pro.binance) -> None:
        call = await subscribed(exchange, seen_until(client, OPENS[23]))
        exchange.advance(3)
        assert await call == [*map(row, OPENS[20:23]), just_open(OPENS[23])]

    watching(exchange, test)
    assert exchange.now == OPENS[23]


def test_the_swap_has_its_own_stream_of_the_same_candles(exchange: Exchange) -> None:
    async def test(client: ccxt.pro.binance) -> None:
        call = await subscribed(exchange, client.watch_ohlcv(SWAP, "4h"))
        exchange.tick()
        assert await call == [just_open(OPENS[20])]

    watching(exchange, test)


def test_a_dropped_client_can_connect_again_when_it_is_not_refused(exchange: Exchange) -> None:
    async def test(client: ccxt.pro.binance) -> None:
        call = await subscribed(exchange, client.watch_ohlcv(SPOT, "4h"))
        exchange.refuse_websockets = True
        exchange.drop_connections()
        with pytest.raises(ccxt.NetworkError, match="closing code 1006"):
            await call
        for _ in range(2):
            with pytest.raises(ccxt.NetworkError, match="503"):
                await client.watch_ohlcv(SPOT, "4h")
        exchange.wait_for_refusals(2)
        exchange.refuse_websockets = False
        call = await subscribed(exchange, client.watch_ohlcv(SPOT, "4h"))
        exchange.tick()
        assert await call == [just_open(OPENS[20])]

    watching(exchange, test)
    assert exchange.refused == 2


def test_events_during_silence_are_lost(exchange: Exchange) -> None:
    async def test(client: ccxt.pro.binance) -> None:
        call = await subscribed(exchange, seen_until(client, OPENS[23]))
        exchange.silence()
        exchange.advance(2)
        exchange.speak()
        exchange.advance()
        assert await call == [row(OPENS[22]), just_open(OPENS[23])]

    watching(exchange, test)


def test_pings_are_answered_in_silence(exchange: Exchange) -> None:
    exchange.silence()
    with connect(exchange.client_options()["urls"]["api"]["ws"]["spot"], open_timeout=PATIENCE_S) as connection:
        assert connection.ping().wait(timeout=PATIENCE_S)


def test_events_can_be_repeated_and_out_of_order(exchange: Exchange) -> None:
    async def test(client: ccxt.pro.binance) -> None:
        call = await subscribed(exchange, client.watch_ohlcv(SPOT, "4h"))
        exchange.send_old(3)
        assert await call == [row(OPENS[17])]
        call = await subscribed(exchange, client.watch_ohlcv(SPOT, "4h"))
        exchange.repeat()
        assert await call == [row(OPENS[17])]

    watching(exchange, test)


def test_rest_includes_the_bar_in_progress_and_none_after_it(exchange: Exchange, client: ccxt.binance) -> None:
    assert client.fetch_ohlcv(SPOT, "4h", limit=3) == [*map(row, OPENS[18:20]), just_open(OPENS[20])]
    assert client.fetch_ohlcv(SWAP, "4h", since=row(OPENS[19])[0]) == [row(OPENS[19]), just_open(OPENS[20])]


def test_candles_can_be_missing_or_invalid(exchange: Exchange, client: ccxt.binance) -> None:
    impossible = (100.0, 90.0, 110.0, 100.0, -1.0)
    exchange.withheld.add(OPENS[18])
    exchange.broken[OPENS[19]] = exchange.broken[OPENS[20]] = impossible
    in_progress = row(OPENS[20], *[100.0] * 4, 0.0)
    assert client.fetch_ohlcv(SPOT, "4h", limit=3) == [row(OPENS[17]), row(OPENS[19], *impossible), in_progress]

    async def test(client: ccxt.pro.binance) -> None:
        call = await subscribed(exchange, seen_until(client, OPENS[21]))
        exchange.advance()
        assert await call == [row(OPENS[20], *impossible), just_open(OPENS[21])]

    watching(exchange, test)


def test_waiting_times_out(exchange: Exchange) -> None:
    with pytest.raises(TimeoutError, match="0 refused"):
        exchange.wait_for_subscriber(timeout=0.001)
    with pytest.raises(TimeoutError):
        exchange.wait_for_refusals(timeout=0.001)


def test_time_ends_with_the_candles(exchange: Exchange) -> None:
    exchange.advance(40)
    assert exchange.now == OPENS[-1] + BAR
    assert exchange.price == CANDLES["close"].iloc[-1]
    with pytest.raises(ValueError, match="all 60 candles have closed"):
        exchange.advance()


def test_a_market_order_is_filled_at_the_current_price(exchange: Exchange, client: ccxt.binance) -> None:
    order = buy(client, SPOT, 0.5, "first")
    assert (order["status"], order["filled"], order["average"]) == ("closed", 0.5, PRICE)
    assert order["fee"] == {"currency": "USDT", "cost": pytest.approx(0.001 * 0.5 * PRICE)}
    assert client.fetch_balance()["free"] == {"BTC": 0.5, "USDT": exchange.account.quote}
    assert exchange.account.quote == pytest.approx(10_000 - 0.5 * PRICE * 1.001)
    exchange.advance()
    later = float(CANDLES["open"].iloc[21])
    assert buy(client, SPOT, 0.5, "second", "sell")["average"] == later
    assert exchange.account.base == 0
    assert exchange.account.quote == pytest.approx(10_000 + 0.5 * (later * 0.999 - PRICE * 1.001))
    assert [order.client_id for order in exchange.account.orders] == ["first", "second"]


def test_the_swap_keeps_a_position(exchange: Exchange, client: ccxt.binance) -> None:
    assert client.fetch_positions() == []
    buy(client, SWAP, 2, "long")
    exchange.advance()
    later = float(CANDLES["open"].iloc[21])
    buy(client, SWAP, 1, "more")
    (position,) = client.fetch_positions([SWAP])
    assert (position["side"], position["contracts"], position["markPrice"]) == ("long", 3, later)
    assert position["entryPrice"] == pytest.approx((2 * PRICE + later) / 3)
    assert position["unrealizedPnl"] == pytest.approx(2 * (later - PRICE))
    buy(client, SWAP, 5, "turned", "sell")
    (position,) = client.fetch_positions()
    assert (position["side"], position["contracts"], position["entryPrice"]) == ("short", 2, later)
    assert exchange.account.swap_position == -2
    buy(client, SWAP, 9, "out", reduceOnly=True)
    assert client.fetch_positions() == []
    fees = 0.0005 * (2 * PRICE + 8 * later)
    balance = client.fetch_balance({"type": "swap"})["USDT"]
    assert balance["free"] == pytest.approx(10_000 + 2 * (later - PRICE) - fees)
    with pytest.raises(ccxt.ExchangeError, match="ReduceOnly"):
        buy(client, SWAP, 1, "nothing to reduce", reduceOnly=True)


@pytest.mark.parametrize("symbol", [SPOT, SWAP])
class TestOrders:
    def test_a_client_id_is_used_once(self, exchange: Exchange, client: ccxt.binance, symbol: str) -> None:
        buy(client, symbol, 0.5, "same")
        with pytest.raises(ccxt.InvalidOrder, match="Duplicate order sent"):
            buy(client, symbol, 0.5, "same")
        assert len(exchange.account.orders) == 1

    def test_a_client_id_may_be_used_again_after_the_order_as_at_binance(
        self, exchange: Exchange, client: ccxt.binance, symbol: str
    ) -> None:
        exchange.account.refuses_filled_ids = False
        buy(client, symbol, 0.5, "same")
        buy(client, symbol, 0.5, "same")
        client.create_order(symbol, "limit", "buy", 0.5, PRICE - 9, {"clientOrderId": "open"})
        with pytest.raises(ccxt.InvalidOrder, match="Duplicate order sent"):
            buy(client, symbol, 0.5, "open")
        assert [order.client_id for order in exchange.account.orders] == ["same", "same", "open"]

    @pytest.mark.parametrize(
        ("fault", "error"),
        [(Fault(accepts=True), ccxt.NetworkError), (Fault(accepts=True, status=503), ccxt.OperationFailed)],
    )
    def test_an_order_with_a_lost_answer_can_be_found(
        self, exchange: Exchange, client: ccxt.binance, symbol: str, fault: Fault, error: type[Exception]
    ) -> None:
        exchange.order_faults.append(fault)
        with pytest.raises(error):
            buy(client, symbol, 0.5, "lost")
        for name in ("origClientOrderId", "clientOrderId"):
            order = client.fetch_order(None, symbol, {name: "lost"})
            assert (order["status"], order["filled"], order["average"]) == ("closed", 0.5, PRICE)
            assert order["symbol"] == symbol
        assert (exchange.account.base or exchange.account.swap_position) == 0.5

    @pytest.mark.parametrize(
        ("fault", "error"),
        [
            (Fault(drops=True), ccxt.NetworkError),
            (Fault(status=500), ccxt.OperationFailed),
            (Fault(status=503, body="<html>"), ccxt.ExchangeNotAvailable),
            (Fault(status=429), ccxt.DDoSProtection),
        ],
    )
    def test_an_order_that_was_not_accepted_is_unknown(
        self, exchange: Exchange, client: ccxt.binance, symbol: str, fault: Fault, error: type[Exception]
    ) -> None:
        exchange.order_faults.append(fault)
        with pytest.raises(error):
            buy(client, symbol, 0.5, "never")
        with pytest.raises(ccxt.OrderNotFound, match="Order does not exist"):
            client.fetch_order(None, symbol, {"origClientOrderId": "never"})
        assert exchange.account.orders == []

    def test_a_limit_order_rests_until_it_is_cancelled(
        self, exchange: Exchange, client: ccxt.binance, symbol: str
    ) -> None:
        order = client.create_order(symbol, "limit", "buy", 0.5, PRICE - 9, {"clientOrderId": "resting"})
        assert [one["id"] for one in client.fetch_open_orders(symbol)] == [order["id"]]
        assert client.cancel_order(order["id"], symbol)["status"] == "canceled"
        assert client.fetch_open_orders(symbol) == []
        with pytest.raises(ccxt.OrderNotFound, match="Unknown order sent"):
            client.cancel_order(None, symbol, {"clientOrderId": "resting"})

    def test_only_trades_have_the_fee_later(self, exchange: Exchange, client: ccxt.binance, symbol: str) -> None:
        order = buy(client, symbol, 0.5, "paid")
        buy(client, symbol, 0.5, "other")
        assert client.fetch_order(order["id"], symbol)["fee"] is None
        (trade,) = client.fetch_my_trades(symbol, params={"orderId": order["id"]})
        assert trade["side"] == "buy"
        assert trade["fee"] == {"currency": "USDT", "cost": exchange.account.orders[0].fee}

    def test_too_large_or_too_small_orders_are_refused(
        self, exchange: Exchange, client: ccxt.binance, symbol: str
    ) -> None:
        with pytest.raises(ccxt.InsufficientFunds):
            buy(client, symbol, 5000, "too much")
        with pytest.raises(ccxt.ExchangeError, match=r"NOTIONAL|notional must be no smaller than 5"):
            buy(client, symbol, 0.01, "too little")
        client.markets[symbol]["precision"]["amount"] = 1e-8
        with pytest.raises(ccxt.InvalidOrder, match="lot size"):
            buy(client, symbol, 0.500001, "between two steps")
        assert exchange.account.orders == []


def test_a_spot_order_cannot_sell_more_than_the_balance(exchange: Exchange, client: ccxt.binance) -> None:
    with pytest.raises(ccxt.InsufficientFunds):
        buy(client, SPOT, 0.5, "short", "sell")


def test_a_wrong_key_or_secret_is_refused(exchange: Exchange, client: ccxt.binance) -> None:
    client.secret = "another"
    with pytest.raises(ccxt.AuthenticationError, match="-1022"):
        client.fetch_balance()
    client.apiKey, client.secret = "another", exchange.secret
    with pytest.raises(ccxt.AuthenticationError, match="-2014"):
        buy(client, SPOT, 0.5, "stranger")
    assert exchange.account.orders == []


def test_an_answer_can_repeat_the_key(exchange: Exchange, client: ccxt.binance) -> None:
    exchange.order_faults.append(Fault(status=400, echoes_key=True))
    with pytest.raises(ccxt.AuthenticationError, match=exchange.key):
        buy(client, SPOT, 0.5, "told")
    exchange.account_faults.append(Fault(status=400, echoes_key=True))
    with pytest.raises(ccxt.AuthenticationError, match=exchange.key):
        client.fetch_balance()


def test_the_sandbox_is_separate(exchange: Exchange, client: ccxt.binance) -> None:
    client.load_markets()
    assert exchange.sandbox_requests == 0
    client.set_sandbox_mode(True)
    buy(client, SPOT, 0.5, "not in earnest")
    assert exchange.sandbox_requests == 1

    async def test(client: ccxt.pro.binance) -> None:
        client.set_sandbox_mode(True)
        call = await subscribed(exchange, client.watch_ohlcv(SPOT, "4h"))
        exchange.tick()
        assert await call == [just_open(OPENS[20])]

    watching(exchange, test)
    assert exchange.sandbox_requests == 1 + 3 + 1  # three lists of markets, one websocket


def test_unsupported_routes_are_refused(exchange: Exchange, client: ccxt.binance) -> None:
    with pytest.raises(ccxt.ExchangeError, match="Path /sapi/v1/capital/config/getall"):
        client.sapi_get_capital_config_getall()
    with pytest.raises(ccxt.BadRequest, match="quantity"):
        client.create_order(SPOT, "market", "buy", 0.5, PRICE)  # ccxt then sends what it is to cost
