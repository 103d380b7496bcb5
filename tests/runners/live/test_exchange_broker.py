"""Real orders through the real ccxt client on the exchange simulator."""

from __future__ import annotations

import json
import threading
from contextlib import suppress
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import ccxt
import pandas as pd
import pytest

from data.errors import LiveError, SettingsError
from runners.live.assembly import ServiceFactory
from runners.live.bus.bus import Bus
from runners.live.bus.exchange_gate import ExchangeGate
from runners.live.bus.stream import Entry
from runners.live.log import start_logging
from runners.live.settings import LimitSettings, LiveSettings
from runners.live.trading.broker import (
    Acceptance,
    Bar,
    BrokerRejectedError,
    BrokerUnavailableError,
    NotExecutedError,
    Order,
)
from runners.live.trading.decider import PositionDecider
from runners.live.trading.exchange_account import ExchangeAccount
from runners.live.trading.exchange_broker import ExchangeBroker
from runners.live.trading.exchange_client import trading_client
from strategies.settings import TradingSettings
from strategies.trading_rule import Protection, TradingRule
from tests.exchange import Exchange, Fault
from tests.patience import PATIENCE_S
from tests.runners.live.conftest import hold, somebody

_SPOT, _SWAP = "BTC/USDT", "BTC/USDT:USDT"
_STOP = "BTCUSDT-4h-1-stop"


def closed_bar(exchange: Exchange) -> tuple[Bar, Protection]:
    """A bar at the exchange's price, and no stops."""
    return Bar(*[exchange.price] * 4), TradingRule(TradingSettings(), bars_per_year=2191.5).protection


def broker(
    exchange: Exchange, symbol: str = _SPOT, state: dict[str, Any] | None = None, settle_seconds: float = 0.0
) -> ExchangeBroker:
    client = trading_client("binance", symbol, exchange.client_options(), sandbox=False)
    one = ExchangeBroker(ExchangeAccount(client, symbol), settle_seconds)
    one.restore(state)
    one.require_exclusive()
    one.account(exchange.price)
    return one


def work(one: ExchangeBroker, times: int = 1) -> None:
    """Call `process_order` several times, each as if after a wait."""
    for _ in range(times):
        one._not_before = 0.0
        one.process_order()


def flatten(one: ExchangeBroker, exchange: Exchange, times: int = 8) -> bool:
    """Close the position, as if after a wait before each step."""
    for _ in range(times):
        one._not_before = one._recheck_at = 0.0
        if one.flatten(_STOP, exchange.price):
            return True
    return False


def order(exchange: Exchange, units: float, name: str = "BTCUSDT-4h-1") -> Order:
    return Order(name, units, (exchange.now + pd.Timedelta(hours=4)).isoformat())


def trade(one: ExchangeBroker, exchange: Exchange, units: float, name: str = "BTCUSDT-4h-1") -> Acceptance:
    """Submit an order and send it."""
    accepted = one.submit(order(exchange, units, name), exchange.price)
    one.process_order()
    return accepted


def sent(exchange: Exchange) -> list[tuple[str, float]]:
    return [(one.client_id, one.filled * (1 if one.side == "BUY" else -1)) for one in exchange.account.orders]


def test_a_spot_order_is_sent_and_its_fill_reported(exchange: Exchange) -> None:
    one = broker(exchange)
    assert trade(one, exchange, 2.5) == (2.5, "")
    (fill,) = one.take_fills()
    assert (fill.order, fill.units, fill.reason) == ("BTCUSDT-4h-1", 2.5, "")
    assert fill.price == pytest.approx(exchange.price)
    assert fill.commission == pytest.approx(0.001 * 2.5 * exchange.price)
    account = one.account(exchange.price)
    assert account.position == 2.5
    assert account.equity == pytest.approx(10_000 - fill.commission)
    assert one.take_fills() == []


def test_a_swap_position_can_be_short_and_reversed(exchange: Exchange) -> None:
    one = broker(exchange, _SWAP)
    for name, units, position in (("a", -3.0, -3.0), ("b", 5.0, 2.0)):
        assert trade(one, exchange, units, name) == (units, "")
        assert one.account(exchange.price).position == pytest.approx(position)
    fees = sum(fill.commission for fill in one.take_fills())
    assert one.account(exchange.price).equity == pytest.approx(10_000 - fees)
    exchange.advance(3)
    gained = 2.0 * (exchange.price - exchange.account.swap_entry_price)
    assert one.account(exchange.price).equity == pytest.approx(10_000 - fees + gained)


def test_a_spot_order_sells_at_most_the_position(exchange: Exchange) -> None:
    exchange.account.base = 1.0
    one = broker(exchange)
    assert trade(one, exchange, -2.0) == (-1.0, "a spot market cannot be short")
    assert sent(exchange) == [("BTCUSDT-4h-1", -1.0)]
    one.account(exchange.price)
    assert one.submit(order(exchange, -1.0, "b"), exchange.price) == (0.0, "a spot market cannot be short")


def test_units_are_rounded_down_to_the_exchange_s_step(exchange: Exchange) -> None:
    one = broker(exchange)
    assert trade(one, exchange, 1.2345678) == (1.23456, "")
    assert sent(exchange) == [("BTCUSDT-4h-1", 1.23456)]
    for units in (0.000001, 0.03):  # below one step; below the minimum cost
        one.account(exchange.price)
        assert one.submit(order(exchange, units, "b"), exchange.price) == (0.0, "below the exchange's minimum order")


@pytest.mark.parametrize("symbol", [_SPOT, _SWAP])
@pytest.mark.parametrize("reuse", [True, False])
def test_an_order_with_a_lost_answer_is_found_and_not_sent_again(exchange: Exchange, symbol: str, reuse: bool) -> None:
    exchange.account.refuses_filled_ids = not reuse
    one = broker(exchange, symbol)
    exchange.order_faults.append(Fault(accepts=True))
    trade(one, exchange, 1.0)
    assert one.take_fills() == []
    again = broker(exchange, symbol, one.state())
    assert [fill.units for fill in again.take_fills()] == [1.0]
    assert sent(exchange) == [("BTCUSDT-4h-1", 1.0)]


def test_an_order_that_did_not_arrive_is_sent_again_in_its_bar(exchange: Exchange) -> None:
    one = broker(exchange)
    exchange.order_faults.extend([Fault(drops=True), Fault(status=503, headers={"Content-Type": "text/html"}, body="")])
    one.submit(order(exchange, 1.0), exchange.price)
    work(one, 3)
    assert sent(exchange) == [("BTCUSDT-4h-1", 1.0)]
    assert [fill.units for fill in one.take_fills()] == [1.0]


def test_after_a_truncated_answer_the_order_is_looked_up(exchange: Exchange) -> None:
    one = broker(exchange)
    exchange.order_faults.append(Fault(cuts=True, accepts=True))
    one.submit(order(exchange, 1.0), exchange.price)
    work(one, 2)
    assert sent(exchange) == [("BTCUSDT-4h-1", 1.0)]
    assert [fill.units for fill in one.take_fills()] == [1.0]


def test_an_order_is_not_sent_after_its_bar(exchange: Exchange) -> None:
    one = broker(exchange)
    one.submit(order(exchange, 1.0), exchange.price)
    state = one.state()
    exchange.advance(2)
    late = broker(exchange, state=state)
    late.process_order()
    (fill,) = late.take_fills()
    assert (fill.units, fill.reason) == (0.0, "too late: its bar is over")
    assert sent(exchange) == []


def test_an_order_filled_in_its_bar_counts_even_if_it_is_looked_up_later(
    exchange: Exchange,
) -> None:
    one = broker(exchange)
    one.submit(order(exchange, 1.0), exchange.price)
    state = one.state()
    one.process_order()
    exchange.advance(2)
    late = broker(exchange, state=state)
    assert [fill.units for fill in late.take_fills()] == [1.0]
    assert sent(exchange) == [("BTCUSDT-4h-1", 1.0)]


def test_an_order_that_could_not_be_sent_in_its_bar_is_dropped(exchange: Exchange) -> None:
    one = broker(exchange)
    one.submit(order(exchange, 1.0, "first"), exchange.price)
    exchange.order_faults.append(Fault(drops=True))
    one.process_order()
    exchange.advance()
    one.take_bar(*closed_bar(exchange))
    one.account(exchange.price)
    assert trade(one, exchange, 2.0, "second") == (2.0, "")
    assert [(fill.order, fill.units) for fill in one.take_fills()] == [("first", 0.0), ("second", 2.0)]
    assert sent(exchange) == [("second", 2.0)]


def test_an_order_with_a_lost_answer_counts_before_the_next_decision(exchange: Exchange) -> None:
    one = broker(exchange)
    one.submit(order(exchange, 1.0, "first"), exchange.price)
    exchange.order_faults.append(Fault(accepts=True))
    one.process_order()
    exchange.advance()
    one.take_bar(*closed_bar(exchange))
    assert one.account(exchange.price).position == 1.0
    assert [(fill.order, fill.units) for fill in one.take_fills()] == [("first", 1.0)]


def test_a_refused_order_is_reported_with_the_reason(exchange: Exchange) -> None:
    one = broker(exchange)
    trade(one, exchange, 1e6)
    (fill,) = one.take_fills()
    assert fill.units == 0.0
    assert "insufficient balance" in fill.reason
    assert one.state()["order"] is None


def test_a_key_without_order_permission_is_not_treated_as_a_ban(exchange: Exchange) -> None:
    """As ccxt treats it after a first successful request."""
    one = broker(exchange)
    exchange.account.trades = False
    trade(one, exchange, 1.0)
    (fill,) = one.take_fills()
    assert "refused: DDoSProtection" in fill.reason
    assert "permissions for action" in fill.reason


@pytest.mark.parametrize("symbol", [_SPOT, _SWAP])
def test_flattening_closes_the_position_and_reports_when_it_is_done(exchange: Exchange, symbol: str) -> None:
    one = broker(exchange, symbol)
    trade(one, exchange, 1.5)
    exchange.order_faults.append(Fault(drops=True))
    assert not one.flatten(_STOP, exchange.price)
    assert [units for _, units in sent(exchange)] == [1.5]  # the closing order is committed before it is sent
    assert flatten(one, exchange)
    assert one.account(exchange.price).position == 0.0
    assert sent(exchange)[1:] == [(f"{_STOP}1", -1.5)]
    assert flatten(one, exchange, 2)


def test_flattening_drops_an_unsent_order(exchange: Exchange) -> None:
    one = broker(exchange)
    one.submit(order(exchange, 1.5), exchange.price)
    assert flatten(one, exchange, 2)
    assert sent(exchange) == []
    assert [fill.reason for fill in one.take_fills()] == ["stopped"]


def test_flattening_cancels_all_open_orders(exchange: Exchange) -> None:
    """Otherwise it would be filled after the position is closed."""
    one = broker(exchange, _SWAP)
    exchange.account.market_orders_rest = True
    trade(one, exchange, 1.0)
    somebody(exchange).create_order(_SWAP, "limit", "buy", 1.0, exchange.price / 2)
    somebody(exchange).create_order(_SWAP, "market", "buy", 1.0, None, {"triggerPrice": 2 * exchange.price})
    exchange.account.market_orders_rest = False
    hold(exchange, -2.0)
    assert flatten(one, exchange)
    assert [rests.status for rests in exchange.account.orders] == ["CANCELED", "CANCELED", "FILLED"]
    assert (exchange.account.swap_position, exchange.account.conditional) == (0.0, [])
    assert [fill.reason for fill in one.take_fills()] == ["canceled", ""]


def test_flattening_retries_until_the_exchange_accepts(exchange: Exchange) -> None:
    hold(exchange, 1.0)
    one = broker(exchange, _SWAP)
    exchange.account.trades = False
    assert not flatten(one, exchange)
    waits = one._not_before
    assert not one.flatten(_STOP, exchange.price)  # not at once
    assert one._not_before == waits
    exchange.account.trades = True
    assert flatten(one, exchange)
    assert [units for _, units in sent(exchange)] == [-1.0]
    assert "refused: AuthenticationError" in one.take_fills()[0].reason


@pytest.mark.parametrize("contract", [0.001, 0.01, 10.0])
def test_contracts_are_converted_to_units(exchange: Exchange, contract: float) -> None:
    exchange.account.contract, exchange.account.contract_step, exchange.account.largest = contract, "1", 1e6
    one = broker(exchange, _SWAP)
    assert trade(one, exchange, -30.0) == (-30.0, "")
    (fill,) = one.take_fills()
    assert fill.units == pytest.approx(-30.0)
    assert fill.commission == pytest.approx(0.0005 * 30.0 * exchange.price)
    (ordered,) = exchange.account.orders
    assert ordered.quantity == pytest.approx(30.0 / contract)
    assert exchange.account.swap_position == pytest.approx(-30.0)
    assert one.account(exchange.price).position == pytest.approx(-30.0)
    step = order(exchange, 0.99 * contract, "b")
    assert one.submit(step, exchange.price) == (0.0, "below the exchange's minimum order")
    assert flatten(one, exchange)
    assert exchange.account.swap_position == 0.0


def test_rounding_does_not_lose_a_contract(exchange: Exchange) -> None:
    exchange.account.contract, exchange.account.contract_step = 0.1, "1"
    one = broker(exchange, _SWAP)
    for number, units in enumerate((0.3, 0.7, 2.3)):
        one.account(exchange.price)
        assert trade(one, exchange, units, str(number)).units == pytest.approx(units)
    assert [ordered.quantity for ordered in exchange.account.orders] == [3.0, 7.0, 23.0]


def test_an_amount_too_small_to_sell_is_not_a_position(exchange: Exchange) -> None:
    exchange.account.base = 4.0 / exchange.price  # the exchange takes no order below 5 USDT
    one = broker(exchange)
    assert one.account(exchange.price).position == 0.0
    assert one.account(exchange.price).equity == pytest.approx(10_004.0)
    assert flatten(one, exchange, 2)
    assert one.submit(order(exchange, 1.0), exchange.price) == (1.0, "")


@pytest.mark.parametrize("units", [-2.0, -4.0])
def test_an_order_is_not_sent_after_the_position_has_changed(exchange: Exchange, units: float) -> None:
    hold(exchange, 2.0)
    one = broker(exchange, _SWAP)
    one.submit(order(exchange, units), exchange.price)
    hold(exchange, 0.0)  # for example by a liquidation
    one.process_order()
    assert sent(exchange) == []
    assert [fill.reason for fill in one.take_fills()] == ["the position has changed since the order was made"]


def test_a_position_above_the_largest_order_is_closed_in_parts(exchange: Exchange) -> None:
    exchange.account.largest = 50.0
    hold(exchange, 120.0)
    one = broker(exchange, _SWAP)
    assert trade(one, exchange, -120.0).units == -50.0
    assert flatten(one, exchange, 12)
    assert [units for _, units in sent(exchange)] == [-50.0, -50.0, -20.0]


def test_a_position_that_appears_late_is_closed_too(exchange: Exchange) -> None:
    one = broker(exchange, _SWAP)
    one.submit(order(exchange, 1.0), exchange.price)
    exchange.account.lags_for = 2
    one.process_order()
    assert not flatten(one, exchange, 1)
    assert flatten(one, exchange)
    assert exchange.account.swap_position == 0.0


def test_a_missing_fee_does_not_stop_trading(exchange: Exchange) -> None:
    exchange.account.tells_fees = False
    one = broker(exchange)
    trade(one, exchange, 1.0)
    assert [(fill.units, fill.commission) for fill in one.take_fills()] == [(1.0, 0.0)]


@pytest.mark.parametrize("held", [1.0, 0.0])
def test_hedge_mode_is_refused(exchange: Exchange, held: float) -> None:
    exchange.account.hedged = True
    hold(exchange, held)
    with pytest.raises(LiveError, match="binance is in hedge mode"):
        broker(exchange, _SWAP)


@pytest.mark.parametrize("body", ["{}", "<html>", '""', '{"status": "ok"}', '{"code": 0}'])
@pytest.mark.parametrize("number", range(4))
def test_an_invalid_answer_never_counts_as_an_empty_account(exchange: Exchange, body: str, number: int) -> None:
    """For each of the requests, such as a page of a proxy or a maintenance page."""
    hold(exchange, 1.0)
    one = broker(exchange, _SWAP)
    one.flatten(_STOP, exchange.price)
    exchange.account_faults.extend([Fault()] * number + [Fault(body=body, replaces=True)])
    for _ in range(2):
        with suppress(BrokerUnavailableError):
            assert one.account(exchange.price).position == 1.0
    exchange.account_faults.clear()
    exchange.account_faults.extend([Fault()] * number + [Fault(body=body, replaces=True)] * 2)
    for _ in range(8):
        one._not_before = one._recheck_at = 0.0
        with suppress(BrokerUnavailableError):
            assert not one.flatten(_STOP, exchange.price) or exchange.account.swap_position == 0.0
    exchange.account_faults.clear()
    assert flatten(one, exchange)
    assert exchange.account.swap_position == 0.0


@pytest.mark.parametrize("symbol", [_SPOT, _SWAP])
def test_an_order_that_the_exchange_cannot_find_yet_is_not_sent_twice(exchange: Exchange, symbol: str) -> None:
    exchange.account.refuses_filled_ids = False
    one = broker(exchange, symbol, settle_seconds=PATIENCE_S)
    exchange.order_faults.append(Fault(accepts=True))
    trade(one, exchange, 1.0)
    exchange.account.unknown_for = 2
    work(one, 2)
    assert one.take_fills() == []
    again = broker(exchange, symbol, one.state(), settle_seconds=PATIENCE_S)
    assert [fill.units for fill in again.take_fills()] == [1.0]
    assert sent(exchange) == [("BTCUSDT-4h-1", 1.0)]


def test_the_next_decision_waits_for_an_order_in_doubt(exchange: Exchange) -> None:
    one = broker(exchange, settle_seconds=PATIENCE_S)
    exchange.order_faults.append(Fault(accepts=True))
    trade(one, exchange, 1.0)
    exchange.account.unknown_for = 2
    with pytest.raises(BrokerUnavailableError, match="may still have received an order"):
        one.take_bar(*closed_bar(exchange))
    assert not one.flatten(_STOP, exchange.price)
    one.take_bar(*closed_bar(exchange))
    assert [fill.units for fill in one.take_fills()] == [1.0]


@pytest.mark.parametrize("symbol", [_SPOT, _SWAP])
def test_an_order_that_reduces_a_position_is_not_sent_twice(exchange: Exchange, symbol: str) -> None:
    hold(exchange, 2.0)
    exchange.account.base = 2.0
    one = broker(exchange, symbol, settle_seconds=PATIENCE_S)
    exchange.order_faults.append(Fault(accepts=True))
    trade(one, exchange, -0.5)
    exchange.account.unknown_for = 2
    exchange.account.lags_for = 2
    work(one, 3)
    assert [fill.units for fill in one.take_fills()] == [-0.5]
    assert sent(exchange) == [("BTCUSDT-4h-1", -0.5)]


@pytest.mark.parametrize(("units", "only_reduces"), [(-0.5, True), (-2.0, True), (-2.5, False), (0.5, False)])
def test_an_order_of_the_swap_that_reduces_a_position_cannot_open_one(
    exchange: Exchange, units: float, only_reduces: bool
) -> None:
    hold(exchange, 2.0)
    one = broker(exchange, _SWAP)
    assert trade(one, exchange, units) == (units, "")
    assert [one.reduces_only for one in exchange.account.orders] == [only_reduces]
    assert exchange.account.swap_position == 2.0 + units


@pytest.mark.parametrize(("symbol", "accepted"), [(_SPOT, 0.0), (_SWAP, -0.03)])
def test_a_small_reduction_waits_on_a_spot_market_only(exchange: Exchange, symbol: str, accepted: float) -> None:
    """The exchange takes no order below 5 USDT, unless it only reduces a swap's position."""
    hold(exchange, 2.0)
    exchange.account.base = 2.0
    reason = "" if accepted else "below the exchange's minimum order"
    assert trade(broker(exchange, symbol), exchange, -0.03) == (accepted, reason)


def test_an_answer_without_a_status_is_not_final(exchange: Exchange) -> None:
    one = broker(exchange)
    exchange.account.incomplete_for = 2
    trade(one, exchange, 1.0)
    work(one)
    assert one.take_fills() == []
    work(one)
    assert [fill.units for fill in one.take_fills()] == [1.0]
    assert sent(exchange) == [("BTCUSDT-4h-1", 1.0)]


@pytest.mark.parametrize(("units", "limited"), [(-2.0, False), (-1.0, True), (-4.0, True), (1.0, True)])
def test_an_order_is_valid_from_before_it_is_looked_up_unless_it_closes_the_position(
    exchange: Exchange, units: float, limited: bool
) -> None:
    """So an order that was paused while sent, and sent by another trader, is too late."""
    hold(exchange, 2.0)
    one = broker(exchange, _SWAP)
    one.submit(order(exchange, units), exchange.price)
    client, requested = one._account._client, []
    fetch = client.fetch

    def slow(url: str, method: str = "GET", headers: Any = None, body: Any = None) -> Any:
        path = urlsplit(url).path
        signed_at = int(dict(parse_qsl(body or urlsplit(url).query)).get("timestamp", 0))
        requested.append((method, path.rpartition("/")[2], signed_at))
        threading.Event().wait(0.01)
        return fetch(url, method, headers, body)

    client.fetch = slow
    one.process_order()
    (*_, looked, sent_at) = [at for _, what, at in requested if what == "order"]
    assert (sent_at <= looked) == limited


@pytest.mark.parametrize("path", ["cancel", "list", "price"])
def test_closing_works_without_the_requests_that_it_does_not_need(exchange: Exchange, path: str) -> None:
    hold(exchange, 2.0)
    one = broker(exchange, _SWAP)
    somebody(exchange).create_order(_SWAP, "limit", "sell", 1.0, 2 * exchange.price)
    client = one._account._client
    away = {"cancel": "cancel_order", "list": "fetch_open_orders", "price": "fetch_ticker"}[path]

    def refuse(*_: Any, **__: Any) -> None:
        raise ccxt.ExchangeNotAvailable("under repair")

    working = getattr(client, away)
    setattr(client, away, refuse)
    assert flatten(one, exchange) == (path == "price")
    assert exchange.account.swap_position == 0.0
    setattr(client, away, working)
    assert flatten(one, exchange)
    assert {one.status for one in exchange.account.orders} == {"CANCELED", "FILLED"}


def test_a_rate_limited_request_counts_as_not_executed(exchange: Exchange) -> None:
    one = broker(exchange, settle_seconds=PATIENCE_S)
    exchange.order_faults.append(Fault(status=429, body='{"code": -1015, "msg": "Too many new orders."}'))
    one.submit(order(exchange, 1.0), exchange.price)
    work(one, 2)
    assert sent(exchange) == [("BTCUSDT-4h-1", 1.0)]


def test_after_retry_after_the_broker_sends_nothing_until_then(bus: Bus, exchange: Exchange) -> None:
    gate = ExchangeGate(lambda: bus, "binance")
    hold(exchange, 1.0)
    client = trading_client("binance", _SWAP, exchange.client_options(), sandbox=False, gate=gate)
    one = ExchangeBroker(ExchangeAccount(client, _SWAP), 0.0)
    one.restore(None)
    exchange.account_faults.append(Fault(status=429, headers={"Retry-After": "600"}))
    asked = exchange.n_requests
    for _ in range(5):
        one._recheck_at = 0.0
        with pytest.raises(NotExecutedError):
            one.flatten(_STOP, exchange.price)
    assert exchange.n_requests == asked + 1
    bus.redis.flushdb()  # as if the time was over
    gate._closed_until = 0.0
    assert flatten(one, exchange)
    assert exchange.account.swap_position == 0.0


@pytest.mark.parametrize("wallet", [-50.0, 0.0])
@pytest.mark.parametrize(
    ("limits", "forecast", "reason"),
    [({}, -0.01, ""), ({"max_daily_loss": 0.5}, 0.01, "max_daily_loss")],
    ids=["signal", "daily loss"],
)
def test_without_equity_a_position_is_still_closed_but_none_opened(
    exchange: Exchange, wallet: float, limits: dict[str, float], forecast: float, reason: str
) -> None:
    hold(exchange, 3.0)
    exchange.account.swap_wallet = wallet
    one, interval = broker(exchange, _SWAP), pd.Timedelta(hours=4)
    decider = PositionDecider(TradingSettings(), LimitSettings(**limits), one, _SWAP, "4h", interval, 2191.5)
    values = {"open": exchange.price, "close": exchange.price, "regime": 1, "models": "run"}
    orders = []
    for number in range(2):
        bar = exchange.now + (number - 1) * interval
        decision = decider.decide(Entry(bar, {**values, "log_return": forecast, "members": [forecast]}))
        one.process_order()
        orders.append((decision.order, decision.reason))
    assert orders == [(-3.0, reason), (0.0, "")]
    assert exchange.account.swap_position == 0.0


def test_a_position_is_closed_after_the_exchange_has_changed_its_lot_step(exchange: Exchange) -> None:
    hold(exchange, 2.55)
    one = broker(exchange, _SWAP)
    exchange.account.contract_step = "0.1"
    assert flatten(one, exchange, 12)
    assert exchange.account.swap_position == pytest.approx(0.05)  # less than one step


def test_a_position_is_closed_after_the_exchange_has_lowered_its_least_notional(exchange: Exchange) -> None:
    exchange.account.base = 4.0 / exchange.price
    one = broker(exchange)
    exchange.account.least_cost = exchange.account.listed_least_cost = "1"
    assert flatten(one, exchange)
    assert exchange.account.base * exchange.price < 1.0


def test_a_position_is_closed_although_the_exchange_does_not_list_its_symbol(exchange: Exchange) -> None:
    exchange.account.base, exchange.account.trades = 2.0, False
    one = broker(exchange)
    exchange.listed = []
    assert not flatten(one, exchange)
    exchange.account.trades = True
    assert flatten(one, exchange)
    assert exchange.account.base == 0.0


def test_a_rest_that_the_exchange_keeps_refusing_as_too_small_is_left(
    exchange: Exchange, capsys: pytest.CaptureFixture[str]
) -> None:
    start_logging()
    exchange.account.base = 5.05 / exchange.price
    exchange.account.least_cost = "5.1"  # the exchange compares with an average price
    one = broker(exchange)
    assert flatten(one, exchange, 20)
    assert "a rest is too small to sell and is left" in capsys.readouterr().err
    assert len(one.take_fills()) == 3


def test_a_tiny_credit_does_not_change_the_position(exchange: Exchange) -> None:
    exchange.account.base = 2.0
    one = broker(exchange)
    one.submit(order(exchange, -2.0), exchange.price)
    exchange.account.base = 2.00000001
    one.process_order()
    assert sent(exchange) == [("BTCUSDT-4h-1", -2.0)]


def test_a_revoked_key_differs_from_an_unavailable_exchange(exchange: Exchange) -> None:
    one = broker(exchange)
    one.submit(order(exchange, 1.0), exchange.price)
    exchange.key = "another key than was given"
    with pytest.raises(BrokerRejectedError, match="AuthenticationError"):
        one.account(exchange.price)
    work(one, 2)
    assert (one.take_fills(), sent(exchange)) == ([], [])
    assert one.state()["order"] is not None  # the problem may be solved before the bar is over


@pytest.mark.parametrize(("symbol", "waits"), [(_SPOT, {}), (_SWAP, {}), (_SWAP, {"triggerPrice": 150.0})])
def test_the_trader_does_not_start_beside_other_open_orders(
    exchange: Exchange, symbol: str, waits: dict[str, float]
) -> None:
    kind, price = ("market", None) if waits else ("limit", exchange.price / 2)
    somebody(exchange).create_order(symbol, kind, "buy", 1.0, price, waits)
    with pytest.raises(LiveError, match=r"binance has 1 open orders of this .* Cancel them, or use a sub-account"):
        broker(exchange, symbol)


def test_an_unavailable_exchange_changes_no_state(exchange: Exchange) -> None:
    one = broker(exchange)
    exchange.account_faults.extend([Fault(drops=True)] * 3)
    with pytest.raises(BrokerUnavailableError):
        one.account(exchange.price)


def test_a_clock_difference_to_the_exchange_is_corrected(exchange: Exchange) -> None:
    one = broker(exchange)
    late = '{"code": -1021, "msg": "Timestamp for this request is outside of the recvWindow."}'
    exchange.account_faults.append(Fault(status=400, body=late))
    with pytest.raises(BrokerUnavailableError, match="recvWindow"):
        one.account(exchange.price)
    signed_at = one._account._client.nonce()
    assert abs(signed_at - exchange.now.timestamp() * 1000) < 60_000  # the simulator's time is in 2022
    assert one.account(exchange.price).equity == 10_000.0


def test_real_trading_needs_credentials_and_limits(
    exchange: Exchange, factory: ServiceFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = replace(factory, options=exchange.client_options())
    with pytest.raises(SettingsError, match=r"--real needs limits\. Set max_position"):
        real.real_trader(factory.model_reloader(), sandbox=False)
    limited = replace(real, live=LiveSettings(symbol=_SPOT, max_position=100.0, max_daily_loss=0.1))
    assert limited.real_trader(factory.model_reloader(), sandbox=False).facts["mode"] == "real"
    monkeypatch.delenv("EXCHANGE_API_SECRET")
    with pytest.raises(
        SettingsError, match=r"--real needs binance's credentials in the environment: EXCHANGE_API_SECRET"
    ):
        limited.real_trader(factory.model_reloader(), sandbox=False)


def test_the_sandbox_uses_other_addresses(exchange: Exchange) -> None:
    client = trading_client("binance", _SPOT, exchange.client_options(), sandbox=True)
    before = exchange.sandbox_requests
    ExchangeAccount(client, _SPOT).units()
    assert exchange.sandbox_requests > before
    with pytest.raises(SettingsError, match="--sandbox: bitvavo has no test network"):
        trading_client("bitvavo", "BTC/EUR", {}, sandbox=True)


def test_real_money_is_refused_on_untested_exchanges(exchange: Exchange) -> None:
    with pytest.raises(SettingsError, match="--real trades with real money on binance only"):
        trading_client("okx", _SPOT, {}, sandbox=False)


def test_an_unknown_symbol_is_refused(exchange: Exchange) -> None:
    client = trading_client("binance", _SPOT, exchange.client_options(), sandbox=False)
    with pytest.raises(SettingsError, match="binance has no symbol 'BTC/USD'"):
        ExchangeAccount(client, "BTC/USD")


def test_the_log_contains_no_secrets(exchange: Exchange, capsys: pytest.CaptureFixture[str]) -> None:
    start_logging([exchange.key, exchange.secret])
    one = broker(exchange)
    one.submit(order(exchange, 1.0), exchange.price)
    exchange.order_faults.append(Fault(status=400, echoes_key=True))
    one.process_order()
    (fill,) = one.take_fills()
    logged = capsys.readouterr().err
    events = [json.loads(line) for line in logged.splitlines()]
    assert "refused" in next(event["reason"] for event in events if event["event"] == "order done")
    assert exchange.key not in logged
    assert exchange.secret not in logged
    assert "***" in logged
    assert exchange.key in fill.reason  # the key was in the message
    exchange.account_faults.extend([Fault(drops=True)] * 3)
    with pytest.raises(BrokerUnavailableError) as caught:
        one.account(1.0)
    start_logging([exchange.key])
    import structlog

    structlog.get_logger().warning("lost", why=str(caught.value))
    assert "signature=***" in capsys.readouterr().err


def test_a_trader_in_a_thread_uses_the_broker(exchange: Exchange) -> None:
    one = broker(exchange)
    found: list[float] = []
    thread = threading.Thread(target=lambda: found.append(one.account(exchange.price).equity))
    thread.start()
    thread.join()
    assert found == [10_000.0]
