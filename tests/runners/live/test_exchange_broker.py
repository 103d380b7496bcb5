"""Real orders of the real ccxt client on an exchange on loopback."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import ccxt
import pandas as pd
import pytest

from data.errors import LiveError, SettingsError
from runners.live.broker import BrokerAwayError, Order
from runners.live.exchange_broker import ExchangeBroker, trading_client
from runners.live.log import start_logging
from runners.live.settings import LiveSettings
from runners.live.setup import Setup
from tests.conftest import switching_candles
from tests.exchange import Exchange, Fault

_SPOT, _SWAP = "BTC/USDT", "BTC/USDT:USDT"


@pytest.fixture
def exchange(monkeypatch: pytest.MonkeyPatch) -> Iterator[Exchange]:
    with Exchange(switching_candles(100).drop(columns="regime"), closed=60) as one:
        monkeypatch.setenv("EXCHANGE_API_KEY", one.key)
        monkeypatch.setenv("EXCHANGE_API_SECRET", one.secret)
        yield one


def broker(exchange: Exchange, symbol: str = _SPOT, state: dict[str, Any] | None = None) -> ExchangeBroker:
    one = ExchangeBroker(trading_client("binance", symbol, exchange.client_options(), sandbox=False), symbol)
    one.restore(state)
    one.account(exchange.price)
    return one


def order(exchange: Exchange, units: float, name: str = "BTCUSDT-4h-1") -> Order:
    return Order(name, units, (exchange.now + pd.Timedelta(hours=4)).isoformat())


def sent(exchange: Exchange) -> list[tuple[str, float]]:
    return [(one.client_id, one.filled * (1 if one.side == "BUY" else -1)) for one in exchange.account.orders]


def test_a_spot_order_is_sent_and_its_fill_told(exchange: Exchange) -> None:
    one = broker(exchange)
    assert one.submit(order(exchange, 2.5), exchange.price) == ""
    one.work()
    (fill,) = one.take_fills()
    assert (fill.order, fill.units, fill.reason) == ("BTCUSDT-4h-1", 2.5, "")
    assert fill.price == pytest.approx(exchange.price)
    assert fill.commission == pytest.approx(0.001 * 2.5 * exchange.price)
    account = one.account(exchange.price)
    assert account.position == 2.5
    assert account.equity == pytest.approx(10_000 - fill.commission)
    assert one.take_fills() == []


def test_a_swap_may_be_short_and_turned(exchange: Exchange) -> None:
    one = broker(exchange, _SWAP)
    for name, units, position in (("a", -3.0, -3.0), ("b", 5.0, 2.0)):
        assert one.submit(order(exchange, units, name), exchange.price) == ""
        one.work()
        assert one.account(exchange.price).position == pytest.approx(position)
    fees = sum(fill.commission for fill in one.take_fills())
    assert one.account(exchange.price).equity == pytest.approx(10_000 - fees)
    exchange.advance(3)
    gained = 2.0 * (exchange.price - exchange.account.swap_entry_price)
    assert one.account(exchange.price).equity == pytest.approx(10_000 - fees + gained)


def test_a_spot_position_is_sold_and_no_more(exchange: Exchange) -> None:
    exchange.account.base = 1.0
    one = broker(exchange)
    assert one.submit(order(exchange, -2.0), exchange.price) == ""
    one.work()
    assert sent(exchange) == [("BTCUSDT-4h-1", -1.0)]
    one.account(exchange.price)
    assert one.submit(order(exchange, -1.0, "b"), exchange.price) == "a spot market cannot be short"


def test_units_are_cut_to_what_the_exchange_trades(exchange: Exchange) -> None:
    one = broker(exchange)
    assert one.submit(order(exchange, 1.2345678), exchange.price) == ""
    one.work()
    assert sent(exchange) == [("BTCUSDT-4h-1", 1.23456)]
    for units in (0.000001, 0.03):  # less than a step, and less than it costs at least
        one.account(exchange.price)
        assert one.submit(order(exchange, units, "b"), exchange.price) == "below the exchange's least order"


@pytest.mark.parametrize("symbol", [_SPOT, _SWAP])
@pytest.mark.parametrize("reuse", [True, False])
def test_an_order_whose_answer_is_lost_is_found_and_not_sent_again(
    exchange: Exchange, symbol: str, reuse: bool
) -> None:
    exchange.account.refuses_filled_ids = not reuse
    one = broker(exchange, symbol)
    exchange.order_faults.append(Fault(accepts=True))
    one.submit(order(exchange, 1.0), exchange.price)
    one.work()
    assert one.take_fills() == []
    again = broker(exchange, symbol, one.state())
    assert [fill.units for fill in again.take_fills()] == [1.0]
    assert sent(exchange) == [("BTCUSDT-4h-1", 1.0)]


def test_an_order_that_did_not_arrive_is_sent_again_when_there_is_time(exchange: Exchange) -> None:
    one = broker(exchange)
    exchange.order_faults.extend([Fault(drops=True), Fault(status=503, headers={"Content-Type": "text/html"}, body="")])
    one.submit(order(exchange, 1.0), exchange.price)
    for _ in range(3):
        one._not_before = 0.0  # in place of waiting
        one.work()
    assert sent(exchange) == [("BTCUSDT-4h-1", 1.0)]
    assert [fill.units for fill in one.take_fills()] == [1.0]


def test_an_answer_that_is_cut_off_leads_to_a_look_at_the_order(exchange: Exchange) -> None:
    one = broker(exchange)
    exchange.order_faults.append(Fault(cuts=True, accepts=True))
    one.submit(order(exchange, 1.0), exchange.price)
    for _ in range(2):
        one._not_before = 0.0
        one.work()
    assert sent(exchange) == [("BTCUSDT-4h-1", 1.0)]
    assert [fill.units for fill in one.take_fills()] == [1.0]


def test_an_order_whose_bar_is_over_is_not_sent(exchange: Exchange) -> None:
    one = broker(exchange)
    one.submit(order(exchange, 1.0), exchange.price)
    state = one.state()
    exchange.advance(2)
    late = broker(exchange, state=state)
    late.work()
    (fill,) = late.take_fills()
    assert (fill.units, fill.reason) == (0.0, "too late: its bar is over")
    assert sent(exchange) == []


def test_an_order_that_was_filled_before_its_bar_was_over_counts_though_it_is_asked_for_late(
    exchange: Exchange,
) -> None:
    one = broker(exchange)
    one.submit(order(exchange, 1.0), exchange.price)
    state = one.state()
    one.work()
    exchange.advance(2)
    late = broker(exchange, state=state)
    assert [fill.units for fill in late.take_fills()] == [1.0]
    assert sent(exchange) == [("BTCUSDT-4h-1", 1.0)]


def test_an_order_that_could_not_be_sent_in_its_bar_makes_way_for_the_next(exchange: Exchange) -> None:
    one = broker(exchange)
    one.submit(order(exchange, 1.0, "first"), exchange.price)
    exchange.order_faults.append(Fault(drops=True))
    one.work()
    exchange.advance()
    one.open_bar(exchange.price)
    one.account(exchange.price)
    assert one.submit(order(exchange, 2.0, "second"), exchange.price) == ""
    one.work()
    assert [(fill.order, fill.units) for fill in one.take_fills()] == [("first", 0.0), ("second", 2.0)]
    assert sent(exchange) == [("second", 2.0)]


def test_an_order_whose_answer_was_lost_counts_before_the_next_one_is_made(exchange: Exchange) -> None:
    one = broker(exchange)
    one.submit(order(exchange, 1.0, "first"), exchange.price)
    exchange.order_faults.append(Fault(accepts=True))
    one.work()
    exchange.advance()
    one.open_bar(exchange.price)
    assert one.account(exchange.price).position == 1.0
    assert [(fill.order, fill.units) for fill in one.take_fills()] == [("first", 1.0)]


def test_an_order_that_is_refused_is_told_with_the_reason(exchange: Exchange) -> None:
    one = broker(exchange)
    one.submit(order(exchange, 1e6), exchange.price)
    one.work()
    (fill,) = one.take_fills()
    assert fill.units == 0.0
    assert "insufficient balance" in fill.reason
    assert one.state()["order"] is None


def test_flattening_closes_all_and_says_when_it_is_done(exchange: Exchange) -> None:
    for symbol in (_SPOT, _SWAP):
        one = broker(exchange, symbol)
        one.submit(order(exchange, 1.5, f"open-{symbol[-3:]}x".replace("/", "")), exchange.price)
        one.work()
        stop = replace(order(exchange, 0.0), id="BTCUSDT-4h-1-stop")
        exchange.order_faults.append(Fault(drops=True))
        for _ in range(5):
            one._not_before = 0.0
            if one.flatten(stop, exchange.price):
                break
        assert one.account(exchange.price).position == 0.0
        assert one.flatten(stop, exchange.price)
    closing = [(name, units) for name, units in sent(exchange) if "-stop" in name]
    assert closing == [("BTCUSDT-4h-1-stop1", -1.5)] * 2


def test_flattening_forgets_an_order_that_was_not_sent(exchange: Exchange) -> None:
    one = broker(exchange)
    one.submit(order(exchange, 1.5), exchange.price)
    assert one.flatten(replace(order(exchange, 0.0), id="BTCUSDT-4h-1-stop"), exchange.price)
    assert sent(exchange) == []
    assert [fill.reason for fill in one.take_fills()] == ["stopped"]


def test_orders_of_somebody_else_are_a_reason_not_to_start(exchange: Exchange) -> None:
    client = ccxt.binance({**exchange.client_options(), "apiKey": exchange.key, "secret": exchange.secret})
    client.create_order(_SPOT, "limit", "buy", 1.0, exchange.price / 2)
    with pytest.raises(LiveError, match=r"binance has 1 open orders of BTC/USDT, .* Cancel them, or use a sub-account"):
        broker(exchange)


def test_an_exchange_that_is_away_leaves_all_as_it_was(exchange: Exchange) -> None:
    one = broker(exchange)
    exchange.account_faults.extend([Fault(drops=True)] * 3)
    with pytest.raises(BrokerAwayError):
        one.account(exchange.price)


def test_a_clock_that_differs_from_the_exchange_s_is_made_up_for(exchange: Exchange) -> None:
    one = broker(exchange)
    late = '{"code": -1021, "msg": "Timestamp for this request is outside of the recvWindow."}'
    exchange.account_faults.append(Fault(status=400, body=late))
    with pytest.raises(BrokerAwayError, match="recvWindow"):
        one.account(exchange.price)
    signed_at = one._client.nonce()
    assert abs(signed_at - exchange.now.timestamp() * 1000) < 60_000  # the exchange lives in 2022
    assert one.account(exchange.price).equity == 10_000.0


def test_without_credentials_or_limits_nothing_real_is_traded(
    exchange: Exchange, setup: Setup, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = replace(setup, options=exchange.client_options())
    with pytest.raises(SettingsError, match="--real needs limits: set max_position and max_daily_loss"):
        real.real_trader(setup.newest_models(), sandbox=False)
    limited = replace(real, live=LiveSettings(symbol=_SPOT, max_position=100.0, max_daily_loss=0.1))
    assert limited.real_trader(setup.newest_models(), sandbox=False).facts["mode"] == "real"
    monkeypatch.delenv("EXCHANGE_API_SECRET")
    with pytest.raises(
        SettingsError, match=r"--real needs binance's credentials in the environment: EXCHANGE_API_SECRET"
    ):
        limited.real_trader(setup.newest_models(), sandbox=False)


def test_the_sandbox_is_another_place(exchange: Exchange) -> None:
    client = trading_client("binance", _SPOT, exchange.client_options(), sandbox=True)
    before = exchange.sandbox_requests
    ExchangeBroker(client, _SPOT).account(1.0)
    assert exchange.sandbox_requests > before
    with pytest.raises(SettingsError, match="--sandbox: bitvavo has no test network"):
        trading_client("bitvavo", "BTC/EUR", {}, sandbox=True)


def test_what_it_cannot_trade_is_refused(exchange: Exchange) -> None:
    client = trading_client("binance", _SPOT, exchange.client_options(), sandbox=False)
    with pytest.raises(SettingsError, match="binance has no symbol 'BTC/USD'"):
        ExchangeBroker(client, "BTC/USD")


def test_no_secret_gets_into_the_log(exchange: Exchange, capsys: pytest.CaptureFixture[str]) -> None:
    start_logging([exchange.key, exchange.secret])
    one = broker(exchange)
    one.submit(order(exchange, 1.0), exchange.price)
    exchange.order_faults.append(Fault(status=400, echoes_key=True))
    one.work()
    (fill,) = one.take_fills()
    logged = capsys.readouterr().err
    events = [json.loads(line) for line in logged.splitlines()]
    assert "refused" in next(event["reason"] for event in events if event["event"] == "order done")
    assert exchange.key not in logged
    assert exchange.secret not in logged
    assert "***" in logged
    assert exchange.key in fill.reason  # that it was there to be hidden
    exchange.account_faults.extend([Fault(drops=True)] * 3)
    with pytest.raises(BrokerAwayError) as caught:
        one.account(1.0)
    start_logging([exchange.key])
    import structlog

    structlog.get_logger().warning("lost", why=str(caught.value))
    assert "signature=***" in capsys.readouterr().err


def test_a_trader_that_runs_in_threads_can_use_it(exchange: Exchange) -> None:
    one = broker(exchange)
    found: list[float] = []
    thread = threading.Thread(target=lambda: found.append(one.account(exchange.price).equity))
    thread.start()
    thread.join()
    assert found == [10_000.0]
