"""Traders with real orders on the exchange simulator: start, kill switch and lease."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pandas as pd
import pytest

from data.errors import LiveError
from runners.backtesting.settings import BacktestSettings
from runners.live.assembly import ServiceFactory
from runners.live.bus.bus import Bus
from runners.live.bus.connection import BusLocation
from runners.live.bus.lease import Lease
from runners.live.control import forget
from runners.live.log import start_logging
from runners.live.services.trader import Trader
from runners.live.settings import LiveSettings
from tests.exchange import BAR, Exchange, Fault
from tests.patience import wait_until
from tests.runners.live.conftest import hold, run_until, somebody
from tests.runners.live.test_crash_points import forecasts

_SWAP = "BTC/USDT:USDT"


@pytest.fixture(autouse=True)
def _in_a_hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses = {
        "services.trader": ["_FIRST_PAUSE", "WAIT"],
        "trading.exchange_broker": ["_FIRST_PAUSE", "_RECHECK_SECONDS"],
        "bus.lease": ["_POLL_SECONDS"],
    }
    for module, names in pauses.items():
        for name in names:
            monkeypatch.setattr(f"runners.live.{module}.{name}", 0.4 if name == "_POLL_SECONDS" else 0.05)


def real_trader(factory: ServiceFactory, exchange: Exchange, **live: Any) -> Callable[[], Trader]:
    """Function that returns new traders of the swap with these settings."""
    settings = {"symbol": _SWAP, "retry_seconds": 0.01, "max_position": 1e6, "max_daily_loss": 0.5, **live}
    real = replace(factory, live=LiveSettings(**settings), options=exchange.client_options())
    models = factory.model_reloader()
    return lambda: real.real_trader(models, sandbox=False)


@pytest.fixture
def new_trader(exchange: Exchange, factory: ServiceFactory) -> Callable[[], Trader]:
    return real_trader(factory, exchange)


@contextmanager
def running(trader: Trader) -> Iterator[list[Exception]]:
    """Run a trader in a thread; yields the list of its exceptions."""
    stop, ended = threading.Event(), []

    def run() -> None:
        try:
            trader.run(stop)
        except Exception as error:
            ended.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield ended
    finally:
        stop.set()
        thread.join()


def test_it_stores_what_it_trades(bus: Bus, new_trader: Callable[[], Trader]) -> None:
    trader = new_trader()
    run_until([trader], lambda: bool(bus.facts()))
    assert bus.facts() == {"exchange": "binance", "symbol": _SWAP, "timeframe": "4h", "mode": "real"}


def test_it_refuses_candles_of_another_exchange(bus: Bus, new_trader: Callable[[], Trader]) -> None:
    bus.store_facts({"exchange": "kraken", "symbol": _SWAP, "timeframe": "4h"})
    with pytest.raises(LiveError, match="SWITCH is live with exchange kraken, not binance"):
        new_trader().run(threading.Event())


def test_it_does_not_store_facts_that_it_cannot_trade(
    bus: Bus, exchange: Exchange, new_trader: Callable[[], Trader]
) -> None:
    exchange.key = "another key than was given"
    with pytest.raises(LiveError, match="rejects the trader's requests"):
        new_trader().run(threading.Event())
    assert bus.facts() == {}


def test_a_key_that_is_refused_at_the_start_ends_it_and_is_not_logged(
    exchange: Exchange, new_trader: Callable[[], Trader], capsys: pytest.CaptureFixture[str]
) -> None:
    start_logging([exchange.key, exchange.secret])
    exchange.account_faults.append(Fault(status=401, echoes_key=True))
    with pytest.raises(LiveError, match=r"rejects the trader's requests \(AuthenticationError; the log") as caught:
        new_trader().run(threading.Event())
    logged = capsys.readouterr().err
    assert "API-key format invalid: ***" in logged
    assert exchange.key not in logged + str(caught.value)


def test_a_key_that_is_revoked_later_is_logged_and_retried(
    bus: Bus, exchange: Exchange, new_trader: Callable[[], Trader]
) -> None:
    trader, key = new_trader(), exchange.key
    with running(trader) as ended:
        assert wait_until(lambda: trader.state == "waiting for a forecast")
        exchange.key = "another key than was given"
        time, values = forecasts()[0]
        bus.forecasts.append(time, values)
        assert wait_until(lambda: trader.state == "rejected by the broker")
        assert ended == []
        exchange.key = key
        assert wait_until(lambda: trader.decided_up_to == time)
    assert [entry.values["reason"] for entry in bus.decisions.newest(9)] == [""]


def test_the_kill_switch_closes_a_position_from_before_the_first_bar(
    bus: Bus, exchange: Exchange, new_trader: Callable[[], Trader]
) -> None:
    hold(exchange, 3.0)
    bus.set_kill_switch(True)
    new_trader().run(threading.Event())
    assert exchange.account.swap_position == 0.0
    (order,) = exchange.account.orders
    assert order.reduces_only
    state = bus.trader_state()
    assert state is not None
    assert (state["stopped"], state["stopping"]) == ("kill switch: regimes live kill", False)
    assert state["equity"] == pytest.approx(exchange.account.swap_wallet)


def test_it_stops_only_after_the_position_is_closed(
    bus: Bus, exchange: Exchange, new_trader: Callable[[], Trader]
) -> None:
    hold(exchange, 3.0)
    exchange.account.trades = False
    bus.set_kill_switch(True)
    trader = new_trader()
    with running(trader):
        assert wait_until(lambda: any("refused" in fill["reason"] for fill in fills(bus)))
        state = bus.trader_state()
        assert state is not None
        assert state["stopping"]
        exchange.account.trades = True
        assert wait_until(lambda: trader.state == "stopped")
    assert exchange.account.swap_position == 0.0


def fills(bus: Bus) -> list[dict[str, object]]:
    state = bus.trader_state()
    return state["broker"]["fills"] if state else []


def test_the_kill_switch_works_despite_other_orders_and_a_revoked_key(
    bus: Bus, exchange: Exchange, new_trader: Callable[[], Trader]
) -> None:
    hold(exchange, -2.0)
    somebody(exchange).create_order(_SWAP, "limit", "sell", 1.0, 2 * exchange.price)
    with pytest.raises(LiveError, match="1 open orders"):
        new_trader().run(threading.Event())
    bus.set_kill_switch(True)
    trader, key = new_trader(), exchange.key
    exchange.key = "another key than was given"
    with running(trader) as ended:
        assert wait_until(lambda: trader.state == "rejected by the broker")
        exchange.key = key
        assert wait_until(lambda: trader.state == "stopped")
    assert ended == []
    assert exchange.account.swap_position == 0.0
    assert [order.status for order in exchange.account.orders] == ["CANCELED", "FILLED"]


def test_the_kill_switch_works_while_it_catches_up(
    bus: Bus, exchange: Exchange, new_trader: Callable[[], Trader], candles: pd.DataFrame
) -> None:
    for time in candles.index[:60]:
        bus.forecasts.append(time, {"open": 90.0, "close": 90.0, "regime": 1, "log_return": None, "models": "run"})
    hold(exchange, 1.0)
    trader = new_trader()
    with running(trader):
        assert wait_until(lambda: bus.decisions.count_after(None) > 0)
        bus.set_kill_switch(True)
        assert wait_until(lambda: trader.state == "stopped")
    assert bus.decisions.count_after(None) < 60
    assert exchange.account.swap_position == 0.0


def test_it_can_be_stopped_and_resumed_several_times_within_a_bar(
    bus: Bus, exchange: Exchange, new_trader: Callable[[], Trader]
) -> None:
    time, values = forecasts()[0]
    bus.forecasts.append(time, values)
    run_until([new_trader()], lambda: bool(exchange.account.orders))
    for _ in range(3):
        bus.set_kill_switch(True)
        new_trader().run(threading.Event())
        assert bus.resume()
    assert [entry.time for entry in bus.decisions.newest(9)] == [time] * 4


def test_the_kill_switch_stays_set_if_redis_loses_it(
    bus: Bus, exchange: Exchange, new_trader: Callable[[], Trader]
) -> None:
    hold(exchange, 3.0)
    exchange.account.trades = False
    trader = new_trader()
    with running(trader):
        assert wait_until(lambda: trader.state == "waiting for a forecast")
        bus.set_kill_switch(True)
        assert wait_until(lambda: trader.state == "stopping")
        bus.set_kill_switch(False)
        bus.redis.delete("regimes:SWITCH:trader", "regimes:SWITCH:trader_version")
        bus.redis.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        exchange.account.trades = True
        assert wait_until(lambda: trader.state == "stopped")
    assert exchange.account.swap_position == 0.0


def test_a_position_found_at_the_start_prevents_forget(
    bus: Bus, exchange: Exchange, new_trader: Callable[[], Trader], location: BusLocation
) -> None:
    hold(exchange, 3.0)
    run_until([trader := new_trader()], lambda: trader.state == "waiting for a forecast")
    with pytest.raises(LiveError, match="the trader of SWITCH left a position of 3"):
        forget(location)


def test_old_bars_cause_neither_orders_nor_a_daily_loss(bus: Bus, exchange: Exchange, factory: ServiceFactory) -> None:
    """The account's current value does not belong to the missed days."""
    new_trader = real_trader(factory, exchange, max_daily_loss=0.05)
    first = exchange.candles.index[59].floor("D") + pd.Timedelta(hours=20)
    exchange.now = first + BAR
    known = {"open": 90.0, "close": 90.0, "regime": 1, "log_return": 0.0, "models": "run"}
    bus.forecasts.append(first, known)
    run_until([trader := new_trader()], lambda: trader.decided_up_to == first)
    exchange.account.swap_wallet = 9_000.0  # lost while the trader was down
    later = [first + number * BAR for number in range(1, 6)]
    for time in later:
        bus.forecasts.append(time, {**known, "log_return": 0.01})
    exchange.now = later[-1] + BAR
    run_until([trader := new_trader()], lambda: trader.decided_up_to == later[-1])
    reasons = [entry.values["reason"] for entry in bus.decisions.newest(9)]
    assert reasons == ["", *["too late: its bar is over"] * 4, "max_daily_loss"]
    assert exchange.account.orders == []


def test_a_short_signal_on_a_spot_market_only_sells(bus: Bus, exchange: Exchange, factory: ServiceFactory) -> None:
    entries = [
        (time, {**values, "close": exchange.price}) for time, values in forecasts()
    ]  # long, short, nothing, long
    trader = real_trader(factory, exchange, symbol="BTC/USDT", max_orders_per_day=2)()
    with running(trader):
        for number, (time, values) in enumerate(entries):
            bus.forecasts.append(time, values)
            assert wait_until(lambda time=time: trader.decided_up_to == time)
            assert wait_until(lambda n=number: len(exchange.account.orders) >= [1, 2, 2, 3][n])
    decisions = [entry.values for entry in bus.decisions.newest(9)]
    first, second, third, fourth = (decision["order"] for decision in decisions)
    assert second == pytest.approx(-first)
    assert third == 0.0
    assert fourth > 0
    assert [decision["reason"] for decision in decisions] == ["", "a spot market cannot be short", "", ""]


def decided(bus: Bus, trader: Trader, exchange: Exchange, *members: list[float]) -> list[dict[str, Any]]:
    """The decisions on these forecasts, each made after the order before was filled."""
    with running(trader) as ended:
        for time, values in forecasts(*members):
            bus.forecasts.append(time, {**values, "open": exchange.price, "close": exchange.price})
            assert wait_until(lambda time=time: trader.decided_up_to == time or bool(ended))
            n_orders = sum(entry.values["order"] != 0 for entry in bus.decisions.newest(99))
            assert wait_until(lambda n=n_orders: len(exchange.account.orders) == n)
    assert ended == []
    return [entry.values for entry in bus.decisions.newest(99)]


def test_a_partly_filled_order_counts_as_filled(bus: Bus, exchange: Exchange, factory: ServiceFactory) -> None:
    """The rest is not ordered again before the vote changes."""
    exchange.account.fills_part = 0.5
    first, second, third = decided(
        bus, real_trader(factory, exchange)(), exchange, [0.01, 0.01], [0.0, 0.0], [0.0, -0.01]
    )
    assert second["fills"][0]["units"] == pytest.approx(first["order"] / 2, rel=1e-4)
    assert second["fills"][0]["reason"] == "expired"
    assert (second["vote"], second["order"]) == (1.0, 0.0)
    assert (third["vote"], third["order"]) == (0.0, pytest.approx(-third["position"], rel=1e-4))


@pytest.mark.parametrize("symbol", ["BTC/USDT", _SWAP])
def test_an_order_below_the_exchange_s_minimum_waits_for_the_next_change(
    bus: Bus, exchange: Exchange, factory: ServiceFactory, symbol: str
) -> None:
    """The exchange takes no order below 5 USDT; one of five members moves 4 USDT."""
    small = replace(factory, trading=BacktestSettings(exposure=0.002))
    trader = real_trader(small, exchange, symbol=symbol, max_orders_per_day=2)()
    up = [[0.01] * n_up + [0.0] * (5 - n_up) for n_up in (1, 2, 3, 0, 4)]
    decisions = decided(bus, trader, exchange, *up)
    assert [one["vote"] for one in decisions] == [0.2, 0.4, 0.6, 0.6, 0.8]
    assert [one["order"] * exchange.price for one in decisions] == pytest.approx([0, 8, 0, 0, 8], abs=0.1)
    small_orders = [one["reason"] for one in decisions if not one["order"]]
    assert small_orders == ["below the exchange's minimum order"] * 3
    assert (bus.trader_state() or {})["day"]["opened"] == 2


def test_a_second_trader_ends_and_the_first_continues(bus: Bus, new_trader: Callable[[], Trader]) -> None:
    script = "from time import sleep; print(flush=True); sleep(600)"
    other = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE)
    holder = json.dumps({"host": socket.gethostname(), "pid": other.pid, "mark": "other"})
    renewed = threading.Event()

    def renew() -> None:
        while not renewed.wait(0.1):
            bus.acquire_lease(holder)

    thread = threading.Thread(target=renew)
    try:
        assert bus.acquire_lease(holder) is None
        thread.start()
        with pytest.raises(LiveError, match=rf"another trader of SWITCH is active: process {other.pid} on"):
            new_trader().run(threading.Event())
        assert bus.acquire_lease(holder) is None  # the lease is still its own
    finally:
        renewed.set()
        thread.join()
        other.kill()
        other.communicate()
    run_until([trader := new_trader()], lambda: trader.state == "waiting for a forecast")  # the other one is dead


def test_a_trader_that_lost_its_lease_ends(bus: Bus, new_trader: Callable[[], Trader]) -> None:
    trader = new_trader()
    with running(trader) as ended:
        assert wait_until(lambda: trader.state == "waiting for a forecast")
        elsewhere = json.dumps({"host": "elsewhere", "pid": 1, "mark": "other"})
        bus.redis.set("regimes:SWITCH:only_trader", elsewhere)
        assert wait_until(lambda: bool(ended))
    assert "another trader of SWITCH is active: process 1 on elsewhere" in str(ended[0])
    assert bus.lease_holder() == elsewhere


def test_the_lease_of_a_trader_that_ended_or_died_here_is_free(bus: Bus) -> None:
    first, second = Lease(), Lease()
    first.acquire(bus, threading.Event())
    assert Lease.is_held(bus) is False  # the lease is of this process
    first.release(bus)
    second.acquire(bus, threading.Event())
    second.renew(bus)
    first.release(bus)  # not its lease any more
    second.renew(bus)
    assert json.loads(bus.lease_holder() or "")["pid"] == os.getpid()
