"""Kills a service at each of its calls to Redis or the exchange, before or just after the call.

The kill is an exception that no service catches; then another service starts. The result must equal that of a service
that was never killed.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

import pandas as pd
import pytest

from models import Forecaster, ModelSet
from runners.live.assembly import ServiceFactory
from runners.live.bus.bus import Bus
from runners.live.replay import Replay
from runners.live.services.trader import Trader
from runners.live.settings import LimitSettings
from runners.live.trading.decider import PositionDecider
from runners.live.trading.exchange_account import ExchangeAccount
from runners.live.trading.exchange_broker import ExchangeBroker
from runners.live.trading.exchange_client import trading_client
from strategies.settings import TradingSettings
from tests.exchange import BAR, Exchange

_BARS = 4


class CrashError(BaseException):
    """Not an Exception, so that no code handles it."""


@dataclass
class CrashPoint:
    """Crashes at call number ``at``, from 1 on; never if it is 0."""

    at: int = 0
    after: bool = False
    calls: int = 0

    def run(self, call: Callable[[], Any]) -> Any:
        self.calls += 1
        crashes = self.calls == self.at
        if crashes and not self.after:
            raise CrashError
        answer = call()
        if crashes:
            raise CrashError
        return answer


class CrashingClient:
    """A client of Redis that crashes at one of its calls."""

    def __init__(self, redis: Any, crash: CrashPoint) -> None:
        self._redis, self._crash = redis, crash

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._redis, name)
        return lambda *args, **kwargs: self._crash.run(lambda: method(*args, **kwargs))


class StopWhen(threading.Event):
    """A stop event that is set when a condition holds."""

    def __init__(self, holds: Callable[[], bool]) -> None:
        super().__init__()
        self._holds = holds

    def is_set(self) -> bool:
        return self._holds()


def crash_at_each_call(start: Callable[[CrashPoint], None], *, after: bool) -> Iterator[int]:
    """Run ``start`` with a crash at each call in turn, until it ends before the crash."""
    for at in range(1, 10_000):
        crash = CrashPoint(at, after)
        try:
            start(crash)
        except CrashError:
            start(CrashPoint())
            yield at
        else:
            assert at > _BARS  # there were calls
            return


@pytest.fixture
def part(candles: pd.DataFrame, model_set: ModelSet) -> pd.DataFrame:
    """The lookback and a few unseen bars."""
    first = candles.index.searchsorted(model_set.validation_end, side="right")
    return candles.iloc[first - Forecaster(model_set).lookback : first + _BARS]


def replay_into(bus: Bus, part: pd.DataFrame) -> None:
    Replay(lambda: bus, part, part.index[-_BARS], pd.Timedelta(hours=4), None).work(bus, threading.Event())


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_ingest_may_die_at_any_call(bus: Bus, part: pd.DataFrame, after: bool) -> None:
    few = part.iloc[-2 * _BARS :]

    def start(crash: CrashPoint) -> None:
        replay_into(Bus(CrashingClient(bus.redis, crash), bus.name), few)

    for _ in crash_at_each_call(start, after=after):
        entries = bus.candles.after(None, 100)
        assert [entry.time for entry in entries] == list(few.index)
        assert [entry.values["live"] for entry in entries] == [False] * _BARS + [True] * _BARS
        assert [entry.values["close"] for entry in entries] == few["close"].tolist()
        bus.forget()


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_the_engine_may_die_at_any_call(bus: Bus, factory: ServiceFactory, part: pd.DataFrame, after: bool) -> None:
    replay_into(bus, part)
    models = factory.model_reloader()
    done = StopWhen(lambda: bus.forecasts.count_after(None) == _BARS)

    def start(crash: CrashPoint) -> None:
        mortal = Bus(CrashingClient(bus.redis, crash), bus.name)
        factory.engine(models).work(mortal, done)

    start(CrashPoint())
    undisturbed = [(entry.time, entry.values) for entry in bus.forecasts.after(None, 100)]
    bus.redis.delete(bus.forecasts.key)
    for _ in crash_at_each_call(start, after=after):
        for (time, values), entry in zip(undisturbed, bus.forecasts.after(None, 100), strict=True):
            assert entry.time == time
            assert entry.values["regime"] == values["regime"]
            assert entry.values["log_return"] == pytest.approx(values["log_return"], rel=1e-9)
        bus.redis.delete(bus.forecasts.key)


def forecasts(*members: list[float]) -> list[tuple[pd.Timestamp, dict[str, Any]]]:
    """These forecasts of the members; by default of one member: long, short, nothing new, long."""
    start = pd.Timestamp("2024-01-01", tz="UTC")
    prices = itertools.cycle([(100.0, 100.0), (101.0, 103.0), (102.0, 99.0), (98.0, 97.0)])
    bars = zip(prices, members or ([0.01], [-0.01], [0.0], [0.01]), strict=False)
    return [
        (start + number * pd.Timedelta(hours=4), {"open": open_, "close": close, **forecast_of(each)})
        for number, ((open_, close), each) in enumerate(bars)
    ]


def forecast_of(members: list[float]) -> dict[str, Any]:
    return {"regime": 1, "log_return": sum(members) / len(members), "members": members, "models": "run"}


_UP, _CALM, _DOWN = 0.01, 0.0, -0.01
# The last bar's states depend on the second's, which have the mean 0: the position does not show them.
_VOTES = [_UP, _UP, _CALM], [_CALM, _DOWN, _CALM], [_CALM, _CALM, _CALM], [_CALM, _UP, _CALM]


@pytest.mark.parametrize("votes", [(), _VOTES], ids=["one member", "three members"])
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_a_trader_on_paper_may_die_at_any_call(
    bus: Bus, factory: ServiceFactory, after: bool, votes: tuple[list[float], ...]
) -> None:
    def start(crash: CrashPoint) -> None:
        for time, values in forecasts(*votes):
            bus.forecasts.append(time, values)
        mortal = Bus(CrashingClient(bus.redis, crash), bus.name)
        done = StopWhen(lambda: (last := bus.decisions.last()) is not None and last.time == forecasts()[-1][0])
        factory.paper_trader(models, "BTC/USDT").work(mortal, done)

    models = factory.model_reloader()
    start(CrashPoint())
    undisturbed = bus.decisions.newest(100)
    assert [entry.values["order"] != 0 for entry in undisturbed] == [True, True, False, True]
    bus.forget()
    for _ in crash_at_each_call(start, after=after):
        assert bus.decisions.newest(100) == undisturbed
        bus.forget()


def real_decider(exchange: Exchange, symbol: str, crash: CrashPoint, markets: list[Any]) -> PositionDecider:
    """A decider that crashes at one of its requests to the exchange; the markets are loaded only once."""
    client = trading_client("binance", symbol, exchange.client_options(), sandbox=False)
    if not markets:
        markets.append(client.load_markets())
    client.set_markets(markets[0])
    fetch = client.fetch
    client.fetch = lambda *args, **kwargs: crash.run(lambda: fetch(*args, **kwargs))
    broker = ExchangeBroker(ExchangeAccount(client, symbol), settle_seconds=0.0)
    return PositionDecider(TradingSettings(exposure=0.5), LimitSettings(), broker, symbol, "4h", BAR, 2191.5)


def has_traded(bus: Bus, exchange: Exchange, symbol: str, n_bars: int) -> bool:
    """Whether all bars have a decision, and the last order was sent."""
    decisions = bus.decisions.newest(10)
    if len(decisions) < n_bars:
        return False
    name = f"{symbol.replace('/', '').replace(':', '')[:16]}-4h-{int(decisions[-1].time.timestamp())}"
    return not decisions[-1].values["order"] or [one.client_id for one in exchange.account.orders][-1:] == [name]


@pytest.mark.parametrize(
    ("symbol", "votes"),
    [
        ("BTC/USDT", ([_UP, _UP, _CALM], [_CALM, _CALM, _DOWN])),  # the second order reduces the position
        ("BTC/USDT:USDT", ([_UP, _UP, _CALM], [_CALM, _CALM, _DOWN])),
        ("BTC/USDT:USDT", ([_UP], [_DOWN])),  # it turns the position
    ],
)
def test_a_trader_with_real_orders_may_die_at_any_call(
    bus: Bus,
    factory: ServiceFactory,
    candles: pd.DataFrame,
    symbol: str,
    votes: tuple[list[float], ...],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A crash just after a call equals one just before the next call."""
    markets: list[Any] = []

    def life(crash: CrashPoint) -> tuple[list[tuple[str, float]], list[tuple[float, float]]]:
        """Orders that the exchange received, and the order and position at each bar."""
        with Exchange(candles, closed=50) as exchange:
            monkeypatch.setenv("EXCHANGE_API_KEY", exchange.key)
            monkeypatch.setenv("EXCHANGE_API_SECRET", exchange.secret)
            exchange.account.refuses_filled_ids = False  # as Binance does
            for number, members in enumerate(votes, start=1):
                exchange.advance()
                time, close = candles.index[49 + number], candles["close"].iloc[49 + number]
                bus.forecasts.append(time, {"open": close, "close": close, **forecast_of(members)})
                done = StopWhen(partial(has_traded, bus, exchange, symbol, number))
                new_decider = partial(real_decider, exchange, symbol, crash, markets)
                while not done.is_set():
                    with suppress(CrashError):
                        trader = Trader(lambda: bus, new_decider, {}, factory.location.kill_file)
                        trader.work(Bus(CrashingClient(bus.redis, crash), bus.name), done)
            orders = [(one.client_id, one.signed) for one in exchange.account.orders]
        decided = [(entry.values["order"], entry.values["position"]) for entry in bus.decisions.newest(10)]
        bus.forget()
        return orders, decided

    undisturbed = life(CrashPoint())
    assert [units > 0 for _, units in undisturbed[0]] == [True, False]
    for at in range(1, 1000):
        crash = CrashPoint(at, after=True)
        assert life(crash) == undisturbed
        if crash.calls < at:
            break
    assert at > 3 * len(votes)  # there was something to die of
