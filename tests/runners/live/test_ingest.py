"""Ingest with the real ccxt clients, REST and websocket, on the exchange simulator."""

from __future__ import annotations

import json
from collections.abc import Iterator

import ccxt
import numpy as np
import pandas as pd
import pytest

from data.errors import LiveError, SettingsError
from data.exchange import exchange_client, retry_after
from runners.live.assembly import ServiceFactory
from runners.live.bus.bus import Bus
from runners.live.bus.exchange_gate import ExchangeGate
from runners.live.log import start_logging
from runners.live.services.ingest import Ingest, Market, timeframe_of
from tests.conftest import switching_candles
from tests.exchange import BAR, Exchange, Fault
from tests.patience import PATIENCE_S, wait_until
from tests.runners.live.conftest import run_until

_KNOWN = 60  # number of closed candles at the start of a test
_LOOKBACK = 20


@pytest.fixture
def exchange() -> Iterator[Exchange]:
    with Exchange(switching_candles(100).drop(columns="regime"), closed=_KNOWN) as one:
        yield one


def ingest(bus: Bus, exchange: Exchange, **market: object) -> Ingest:
    settings = {"retry_seconds": 0.01, "options": exchange.client_options(), **market}
    return Ingest(lambda: bus, Market("binance", "BTC/USDT", "4h", **settings), _LOOKBACK)


def times(bus: Bus) -> list[pd.Timestamp]:
    return [entry.time for entry in bus.candles.after(None, 1000)]


def has(bus: Bus, exchange: Exchange, n_bars: int) -> bool:
    last = bus.candles.last()
    return last is not None and last.time == exchange.candles.index[n_bars - 1]


def withhold_the_next(bus: Bus, exchange: Exchange) -> pd.Timestamp:
    """Ingest the closed candles, then let two more close, of which the first is missing at the exchange."""
    run_until([ingest(bus, exchange)], lambda: has(bus, exchange, _KNOWN))
    withheld = exchange.candles.index[_KNOWN]
    exchange.withheld.add(withheld)
    exchange.advance(2)
    return withheld


def test_history_comes_first_and_then_each_candle_that_closes(bus: Bus, exchange: Exchange) -> None:
    service = ingest(bus, exchange)

    def done() -> bool:
        return has(bus, exchange, _KNOWN + 2)

    def advance_twice() -> bool:
        exchange.wait_for_subscriber()
        for n_bars in (_KNOWN, _KNOWN + 1):
            assert wait_until(lambda n_bars=n_bars: has(bus, exchange, n_bars))
            exchange.advance()
        return True

    run_until([service], lambda: done() or (advance_twice() and wait_until(done)))
    entries = bus.candles.after(None, 1000)
    found = pd.DataFrame([entry.values for entry in entries], index=[entry.time for entry in entries])
    expected = exchange.candles.iloc[_KNOWN - len(found) + 2 : _KNOWN + 2]
    assert len(found) >= _LOOKBACK + 2
    pd.testing.assert_frame_equal(found[list(expected)], expected, check_freq=False, check_names=False)
    assert found["live"].tolist() == [False] * (len(found) - 2) + [True, True]
    assert service.counted["asked_again"] == 0


def test_an_open_candle_is_not_written(bus: Bus, exchange: Exchange) -> None:
    run_until([ingest(bus, exchange)], lambda: has(bus, exchange, _KNOWN))
    assert exchange.candles.index[_KNOWN] not in times(bus)


def test_missed_candles_are_written_before_newer_ones(bus: Bus, exchange: Exchange) -> None:
    run_until([ingest(bus, exchange)], lambda: has(bus, exchange, _KNOWN))
    exchange.advance(5)
    run_until([ingest(bus, exchange)], lambda: has(bus, exchange, _KNOWN + 5))
    assert times(bus)[-6:] == list(exchange.candles.index[_KNOWN - 1 : _KNOWN + 5])
    assert [entry.values["live"] for entry in bus.candles.newest(6)] == [False] + [True] * 5


def test_it_reconnects_a_lost_websocket_and_fills_the_gap(bus: Bus, exchange: Exchange) -> None:
    service = ingest(bus, exchange)

    def lose_and_find() -> bool:
        exchange.wait_for_subscriber()
        exchange.refuse_websockets = True
        exchange.drop_connections()
        exchange.advance(3)
        exchange.wait_for_refusals(1)
        exchange.refuse_websockets = False
        exchange.wait_for_subscriber()
        exchange.advance()
        return True

    run_until([service], lambda: lose_and_find() and wait_until(lambda: has(bus, exchange, _KNOWN + 4)))
    assert times(bus)[-5:] == list(exchange.candles.index[_KNOWN - 1 : _KNOWN + 4])
    assert service.counted["websocket_lost"] >= 1


def test_it_polls_when_the_websocket_is_silent(bus: Bus, exchange: Exchange) -> None:
    exchange.silence()
    service = ingest(bus, exchange)
    assert not service.counted
    run_until([service], lambda: has(bus, exchange, _KNOWN))
    exchange.now += BAR  # the clock moves on, but the websocket sends nothing
    run_until([ingest(bus, exchange)], lambda: has(bus, exchange, _KNOWN + 1))


def test_repeated_and_old_messages_change_nothing(bus: Bus, exchange: Exchange) -> None:
    service = ingest(bus, exchange)

    def disturb() -> bool:
        exchange.wait_for_subscriber()
        exchange.advance()
        assert wait_until(lambda: has(bus, exchange, _KNOWN + 1))
        exchange.repeat()
        exchange.send_old(7)
        exchange.repeat()
        exchange.advance()
        return wait_until(lambda: has(bus, exchange, _KNOWN + 2))

    run_until([service], disturb)
    assert times(bus) == list(exchange.candles.index[_KNOWN + 2 - len(times(bus)) : _KNOWN + 2])


def test_a_missing_candle_is_requested_again(bus: Bus, exchange: Exchange) -> None:
    late = withhold_the_next(bus, exchange)
    service = ingest(bus, exchange)
    run_until(
        [service],
        lambda: (
            service.counted["asked_again"] == 1
            and (exchange.withheld.discard(late) or wait_until(lambda: has(bus, exchange, _KNOWN + 2)))
        ),
    )
    assert late in times(bus)


def test_a_candle_that_stays_missing_is_logged_and_skipped(bus: Bus, exchange: Exchange) -> None:
    gone = withhold_the_next(bus, exchange)
    service = ingest(bus, exchange)
    run_until([service], lambda: has(bus, exchange, _KNOWN + 2))
    assert gone not in times(bus)
    assert service.counted["holes"] == 1
    assert service.counted["asked_again"] == 3


def with_index(index: pd.DatetimeIndex) -> pd.DataFrame:
    return switching_candles(len(index)).drop(columns="regime").set_axis(index.rename("timestamp"))


def ingest_one_by_one(bus: Bus, exchange: Exchange, first: int) -> Ingest:
    """Ingest the first closed candles, then each of the others as it closes."""
    service = ingest(bus, exchange)

    def advance_to_the_end() -> bool:
        exchange.wait_for_subscriber()
        for n_bars in range(first, len(exchange.candles) + 1):
            assert wait_until(lambda n_bars=n_bars: has(bus, exchange, n_bars) or bus.dead_letters())
            if n_bars < len(exchange.candles):
                exchange.advance()
        return True

    run_until([service], advance_to_the_end)
    return service


def test_in_a_market_with_few_trades_gaps_are_soon_no_longer_asked_for_again(bus: Bus) -> None:
    regular = pd.date_range("2022-01-01", periods=128, freq="4h", tz="UTC", unit="us")
    with Exchange(with_index(regular[np.random.default_rng(0).random(128) > 0.5]), closed=60) as sparse:
        service = ingest_one_by_one(bus, sparse, 60)
        found = times(bus)
        assert found == list(sparse.candles.index[-len(found) :])
        assert len(found) - (len(sparse.candles) - 60) > _LOOKBACK  # of history, in spite of the gaps
        assert 0 < service.counted["asked_again"] <= 6
        assert service.counted["dead_letters"] == 0


def test_the_first_candle_after_an_outage_may_be_off_the_grid(bus: Bus) -> None:
    regular = pd.date_range("2022-01-01", periods=66, freq="4h", tz="UTC", unit="us")
    index = regular.delete([61, 62]).union([regular[63] - pd.Timedelta(hours=2)])
    with Exchange(with_index(index), closed=60) as exchange:
        service = ingest_one_by_one(bus, exchange, 60)
        assert times(bus)[-8:] == list(index[-8:])
        assert service.counted["dead_letters"] == 0


def test_candles_that_stay_at_another_interval_become_dead_letters(bus: Bus) -> None:
    regular = pd.date_range("2022-01-01", periods=60, freq="4h", tz="UTC", unit="us")
    hours = pd.date_range(regular[-1], periods=6, freq="1h")[1:]
    with Exchange(with_index(regular.append(hours)), closed=60) as exchange:
        ingest_one_by_one(bus, exchange, 60)
        assert times(bus)[-3:] == [regular[-1], *hours[:2]]
        assert "opens 1 h after the one before, but the series' interval is 4 h" in bus.dead_letters()[0]["reason"]


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ((100.0, 90.0, 95.0, 92.0, 1.0), "high 90 is below low 95"),
        ((100.0, 110.0, 95.0, float("nan"), 1.0), "close is nan"),
        ((-1.0, 110.0, 95.0, 100.0, 1.0), "open is -1"),
    ],
)
def test_an_invalid_candle_becomes_a_dead_letter(
    bus: Bus, exchange: Exchange, values: tuple[float, ...], reason: str
) -> None:
    run_until([ingest(bus, exchange)], lambda: has(bus, exchange, _KNOWN))
    bad = exchange.candles.index[_KNOWN]
    exchange.broken[bad] = values
    exchange.advance(2)
    service = ingest(bus, exchange)
    run_until([service], lambda: has(bus, exchange, _KNOWN + 2))
    assert bad not in times(bus)
    (letter,) = bus.dead_letters()
    assert letter["time"] == str(bad)
    assert reason in letter["reason"]
    assert service.counted["dead_letters"] == 1


def test_a_failing_exchange_is_retried_until_it_answers(bus: Bus, exchange: Exchange) -> None:
    exchange.faults.extend([Fault(status=451), Fault(status=403)])
    service = ingest(bus, exchange)
    run_until([service], lambda: has(bus, exchange, _KNOWN))
    assert service.counted["exchange_lost"] == 2


def test_an_exchange_that_asks_to_wait_gets_no_request_of_any_service_in_that_time(
    bus: Bus, exchange: Exchange, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runners.live.services.service._HEARTBEAT_SECONDS", 0.01)
    monkeypatch.setattr("runners.live.services.ingest.WAIT", 0.01)
    banned = Fault(status=418, headers={"Retry-After": "600"})
    exchange.faults.extend([banned, Fault(status=500)])
    service, beats = ingest(bus, exchange), set()

    def idle_turns() -> bool:
        beats.update(one["beat"] for one in bus.heartbeats().values() if one["state"] == "exchange unavailable")
        return len(beats) > 20

    run_until([service], idle_turns)
    assert service.counted["exchange_lost"] == 1
    assert list(exchange.faults) == [Fault(status=500)]  # nothing was requested after the first answer
    asked = exchange.n_requests
    trader = exchange_client("binance", exchange.client_options(), ExchangeGate(lambda: bus, "binance"))
    with pytest.raises(ccxt.RateLimitExceeded, match=r"binance asked for no requests for the next (600|5\d\d) s"):
        trader.fetch_time()
    assert exchange.n_requests == asked


def test_the_clients_of_several_datasets_share_the_exchange_s_limit(
    bus: Bus, exchange: Exchange, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runners.live.bus.bus._LONGEST_QUEUE", 4 * PATIENCE_S)
    slept: list[float] = []
    monkeypatch.setattr("data.exchange.time.sleep", slept.append)
    other = Bus(bus.redis, "OTHER")
    ingests = [ExchangeGate(lambda one=one: one, "binance") for one in (bus, other)]
    trader = ExchangeGate(lambda: bus, "binance", waits=False)
    assert ingests[0].reserve(2 * PATIENCE_S) == 0
    assert ExchangeGate(lambda: bus, "kraken").reserve(1.0) == 0
    exchange_client("binance", exchange.client_options(), trader).fetch_time()
    assert max(slept) < 1
    exchange_client("binance", exchange.client_options(), ingests[1]).fetch_time()
    assert PATIENCE_S < max(slept) <= 2 * PATIENCE_S + 1
    assert (bus.datasets(), other.datasets()) == ([], [])


def test_no_client_waits_for_long_after_the_clock_was_set_back(bus: Bus) -> None:
    gate = ExchangeGate(lambda: bus, "binance")
    gate.reserve(7200.0)
    assert gate.reserve(1.0) == 0
    assert 0 < gate.reserve(1.0) <= 60


def test_a_date_in_retry_after_counts_like_seconds() -> None:
    assert retry_after({"Retry-After": "Fri, 31 Dec 1999 23:59:59 GMT"}) == 0
    assert retry_after({"Retry-After": "Fri, 31 Dec 9999 23:59:59 GMT"}) == 3 * 86_400
    assert [retry_after({"Retry-After": text}) for text in ("7", "soon", "-7", "\u00b2", "9" * 400)] == [
        7,
        0,
        0,
        0,
        259_200,
    ]


def test_waits_grow_until_the_exchange_has_answered(
    bus: Bus, exchange: Exchange, capsys: pytest.CaptureFixture[str]
) -> None:
    start_logging()
    exchange.faults.extend([Fault(status=451)] * 5)
    service = ingest(bus, exchange)
    run_until([service], lambda: has(bus, exchange, _KNOWN))
    events = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    waits = [event["tries_again_in"] for event in events if event["event"] == "the exchange returns no candles"]
    assert waits == [0.01, 0.02, 0.04, 0.08, 0.16]


def test_interrupted_history_is_continued(bus: Bus, exchange: Exchange) -> None:
    first = exchange.candles.index[_KNOWN - 10]
    bus.set_first_live(exchange.candles.index[_KNOWN])
    row = exchange.candles.loc[first].to_dict()
    bus.candles.append(first, {**row, "previous": None, "live": False})
    exchange.advance()
    run_until([ingest(bus, exchange)], lambda: has(bus, exchange, _KNOWN + 1))
    assert times(bus) == list(exchange.candles.index[_KNOWN - 10 : _KNOWN + 1])
    assert [entry.values["live"] for entry in bus.candles.newest(2)] == [False, True]


def test_each_candle_has_the_previous_one_s_time(bus: Bus, exchange: Exchange) -> None:
    run_until([ingest(bus, exchange)], lambda: has(bus, exchange, _KNOWN))
    entries = bus.candles.after(None, 1000)
    assert entries[0].values["previous"] is None
    before = [pd.Timestamp(entry.values["previous"], unit="ms", tz="UTC") for entry in entries[1:]]
    assert before == [entry.time for entry in entries[:-1]]


def test_an_unknown_symbol_ends_the_service(bus: Bus, exchange: Exchange) -> None:
    market = Market("binance", "BTC/USD", "4h", 0.01, exchange.client_options())
    with pytest.raises(SettingsError, match="binance has no symbol 'BTC/USD'"):
        run_until([Ingest(lambda: bus, market, _LOOKBACK)], lambda: False)
    assert bus.facts() == {}  # a mistyped symbol is not stored


@pytest.mark.parametrize("listed", [[], ["ETHUSDT"]])
def test_a_symbol_that_is_not_listed_for_a_time_is_waited_for(bus: Bus, exchange: Exchange, listed: list[str]) -> None:
    if listed:  # without this it may be a mistyped symbol
        run_until([ingest(bus, exchange)], lambda: has(bus, exchange, _KNOWN))
    exchange.listed, service = listed, ingest(bus, exchange)

    def list_it_again() -> bool:
        assert wait_until(lambda: service.counted["exchange_lost"] > 0)
        exchange.listed = ["BTCUSDT"]
        if listed:
            exchange.advance()
        return wait_until(lambda: has(bus, exchange, _KNOWN + len(listed)))

    run_until([service], list_it_again)


def test_a_different_symbol_is_refused(bus: Bus, exchange: Exchange) -> None:
    bus.store_facts({"symbol": "ETH/USDT"})
    with pytest.raises(LiveError, match="is live with symbol ETH/USDT, not BTC/USDT"):
        run_until([ingest(bus, exchange)], lambda: False)


def test_the_timeframe_is_the_models_interval() -> None:
    found = [timeframe_of(pd.Timedelta(text)) for text in ("1min", "15min", "1h", "4h", "1D", "7D")]
    assert found == ["1m", "15m", "1h", "4h", "1d", "1w"]
    with pytest.raises(SettingsError, match="which no exchange has"):
        timeframe_of(pd.Timedelta("90s"))


def test_a_timeframe_other_than_the_models_is_refused(factory: ServiceFactory) -> None:
    wrong = factory.live.model_copy(update={"timeframe": "1h"})
    models = factory.model_reloader()
    with pytest.raises(SettingsError, match="the timeframe is 1h, but the models of SWITCH were trained on 4h bars"):
        ServiceFactory(factory.location, factory.models, factory.trading, wrong).market(models)
