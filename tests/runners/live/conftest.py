"""Fixtures of the live tests: a real Redis, services of a small model set, and an exchange simulator."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import ccxt
import pandas as pd
import pytest
import structlog

from models import Forecaster, ModelSet
from runners.backtesting.settings import BacktestSettings
from runners.live.assembly import ServiceFactory
from runners.live.bus.bus import Bus
from runners.live.bus.connection import BusLocation
from runners.live.bus.embedded_redis import disconnect
from runners.live.services.service import Service
from runners.live.settings import LiveSettings
from tests.conftest import make_workspace, switching_candles
from tests.exchange import Exchange
from tests.patience import PATIENCE_S, wait_until
from tests.runners.live.serving import Client, serving


@pytest.fixture(autouse=True)
def _logging_of_its_own() -> Iterator[None]:
    """Reset the log after each test."""
    yield
    structlog.reset_defaults()


@pytest.fixture(autouse=True, scope="session")
def _patient() -> Iterator[None]:
    """Raise what the services allow others, such as Redis, to take: a slow machine is not a failure."""
    deadlines = {
        "bus.embedded_redis": ["_SECONDS_TO_START", "_SECONDS_TO_ANSWER"],
        "bus.bus": ["_LEASE_SECONDS"],
        "server.bus_client": ["_TIMEOUT"],
        "server.server": ["_GRACE"],
        "server.connections": ["_HEAD_SECONDS", "_IDLE_WITHOUT_KEY"],
        "control": ["_KILL_TIMEOUT"],
        "status": ["_SILENT_SECONDS"],
    }
    with pytest.MonkeyPatch.context() as patch:
        for module, names in deadlines.items():
            for name in names:
                patch.setattr(f"runners.live.{module}.{name}", int(PATIENCE_S))
        yield


@pytest.fixture
def location(tmp_path: Path) -> Iterator[BusLocation]:
    location = BusLocation("SWITCH", tmp_path / "live", durable=False)
    yield location
    disconnect(location.folder)


@pytest.fixture
def bus(location: BusLocation) -> Bus:
    return location.connect()


@pytest.fixture
def factory(location: BusLocation, saved: Path) -> ServiceFactory:
    """Paper trading of the small model set."""
    return ServiceFactory(location, saved, BacktestSettings(), LiveSettings(symbol="BTC/USDT", retry_seconds=0.01))


@pytest.fixture
def workspace(tmp_path: Path, candles: pd.DataFrame, model_set: ModelSet) -> Iterator[Path]:
    yield make_workspace(tmp_path, candles, model_set)
    disconnect(tmp_path / "results" / "SWITCH" / "live")


@pytest.fixture(scope="session")
def forecaster(model_set: ModelSet) -> Forecaster:
    return Forecaster(model_set)


@pytest.fixture(scope="module")
def server(saved: Path) -> Iterator[Client]:
    with serving(saved) as client:
        yield client


@pytest.fixture
def exchange(monkeypatch: pytest.MonkeyPatch) -> Iterator[Exchange]:
    """An exchange with an account for the credentials in the environment."""
    with Exchange(switching_candles(100).drop(columns="regime"), closed=60) as one:
        monkeypatch.setenv("EXCHANGE_API_KEY", one.key)
        monkeypatch.setenv("EXCHANGE_API_SECRET", one.secret)
        yield one


def hold(exchange: Exchange, units: float) -> None:
    """Give the account this position of the swap."""
    exchange.account.swap_position, exchange.account.swap_entry_price = units, exchange.price


def somebody(exchange: Exchange) -> ccxt.binance:
    """Another program that trades on the same account."""
    return ccxt.binance({**exchange.client_options(), "apiKey": exchange.key, "secret": exchange.secret})


def run_until(services: list[Service], done: Callable[[], bool]) -> None:
    """Run services in threads until ``done`` returns True, then stop them; raises the first failure."""
    stop, failures = threading.Event(), []

    def run(service: Service) -> None:
        try:
            service.run(stop)
        except Exception as error:
            failures.append(error)
            stop.set()

    threads = [threading.Thread(target=run, args=(service,)) for service in services]
    for thread in threads:
        thread.start()
    try:
        held = wait_until(lambda: stop.is_set() or done())
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    if failures:
        raise failures[0]
    assert held, "timeout"
