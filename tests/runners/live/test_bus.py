from __future__ import annotations

import json
import threading
from typing import Any

import pandas as pd
import pytest
import redis

from data.errors import LiveError
from runners.live.assembly import ServiceFactory
from runners.live.bus.bus import Bus
from runners.live.bus.stream import milliseconds

FIRST = pd.Timestamp("2024-01-01", tz="UTC")


def bar(number: int) -> pd.Timestamp:
    return FIRST + number * pd.Timedelta(hours=4)


def filled(bus: Bus, n_bars: int) -> Bus:
    for number in range(n_bars):
        bus.candles.append(bar(number), {"number": number})
    return bus


def test_a_stream_takes_each_bar_once_and_in_order(bus: Bus) -> None:
    assert bus.candles.append(bar(1), {"close": 0.1})
    assert not bus.candles.append(bar(1), {"close": 0.2})
    assert not bus.candles.append(bar(0), {"close": 0.2})
    assert bus.candles.append(bar(2), {"close": 0.3})
    assert [(entry.time, entry.values) for entry in bus.candles.after(None, 10)] == [
        (bar(1), {"close": 0.1}),
        (bar(2), {"close": 0.3}),
    ]


def test_numbers_are_stored_exactly(bus: Bus) -> None:
    values = {"a": 0.1 + 0.2, "b": 1e-308, "c": 12345678901234567, "d": None}
    bus.forecasts.append(bar(0), values)
    last = bus.forecasts.last()
    assert last is not None
    assert last.values == values


def test_nan_is_refused(bus: Bus) -> None:
    with pytest.raises(ValueError, match="Out of range float"):
        bus.forecasts.append(bar(0), {"log_return": float("nan")})
    assert bus.forecasts.last() is None


def test_entries_are_read_by_time(bus: Bus) -> None:
    filled(bus, 5)

    def numbers(entries: list) -> list[int]:
        return [entry.values["number"] for entry in entries]

    assert numbers(bus.candles.newest(2)) == [3, 4]
    assert numbers(bus.candles.newest(2, until=bar(3))) == [2, 3]
    assert numbers(bus.candles.after(bar(2), 10)) == [3, 4]
    assert numbers(bus.candles.after(bar(2), 1)) == [3]
    assert bus.candles.after(bar(4), 10) == []
    assert bus.candles.count_after(bar(2)) == 2
    assert bus.candles.count_after(None) == 5


def test_a_waiting_reader_gets_a_new_bar(bus: Bus) -> None:
    found: list = []
    waiting = threading.Thread(target=lambda: found.extend(bus.candles.after(None, 10, wait=10.0)))
    waiting.start()
    bus.candles.append(bar(0), {})
    waiting.join()
    assert [entry.time for entry in found] == [bar(0)]


def test_trimming_keeps_newer_entries(bus: Bus) -> None:
    filled(bus, 1000)
    bus.candles.trim(300)
    assert 300 <= bus.candles.count_after(None) < 1000
    bus.candles.trim_before(bar(900))
    assert bus.candles.after(None, 1)[0].time <= bar(900)


def test_the_first_live_bar_is_set_once(bus: Bus) -> None:
    assert bus.set_first_live(bar(3)) == bar(3)
    assert bus.set_first_live(bar(5)) == bar(3)


def test_another_symbol_for_the_same_dataset_is_refused(bus: Bus) -> None:
    bus.require_same_facts({"symbol": "ETH/USDT"})  # does not store them
    bus.store_facts({"symbol": "BTC/USDT"})
    bus.store_facts({"symbol": "BTC/USDT", "mode": "paper"})
    for refuse in (bus.require_same_facts, bus.store_facts):
        with pytest.raises(LiveError, match="SWITCH is live with symbol BTC/USDT, not ETH/USDT"):
            refuse({"symbol": "ETH/USDT"})
    assert bus.facts() == {"symbol": "BTC/USDT", "mode": "paper"}


def state(version: int, **more: Any) -> dict[str, Any]:
    return {"version": version, "time": None, "stopped": None, "stopping": False, **more}


def test_state_and_decision_are_committed_together(bus: Bus) -> None:
    bus.commit(state(1, cash=5.0), (bar(0), 0, {"order": 1.0}))
    assert bus.trader_state() == state(1, cash=5.0)
    assert [entry.values for entry in bus.decisions.newest(9)] == [{"order": 1.0}]


def test_a_repeated_commit_changes_nothing(bus: Bus) -> None:
    for _ in range(2):
        bus.commit({"version": 1, "cash": 5.0}, (bar(0), 0, {"order": 1.0}))
    assert bus.decisions.count_after(None) == 1


def test_a_decision_that_cannot_be_added_leaves_the_state_unchanged(bus: Bus) -> None:
    bus.commit(state(1), (bar(1), 0, {}))
    with pytest.raises(redis.ResponseError):
        bus.commit(state(2), (bar(0), 0, {}))
    assert bus.trader_state() == state(1)
    bus.commit(state(2), (bar(2), 0, {}))


def test_a_second_trader_cannot_commit(bus: Bus) -> None:
    bus.commit(state(1, by="one"), (bar(0), 0, {}))
    with pytest.raises(LiveError, match="another trader of SWITCH is active"):
        bus.commit(state(1, by="two"), (bar(0), 0, {}))
    assert bus.trader_state() == state(1, by="one")
    assert bus.decisions.count_after(None) == 1


def test_a_redis_that_has_lost_commits_accepts_the_next_one(bus: Bus) -> None:
    bus.commit(state(1))
    bus.commit(state(7), (bar(3), 0, {}))
    assert bus.trader_state() == state(7)


def test_a_bar_may_have_a_second_decision(bus: Bus) -> None:
    bus.commit({"version": 1}, (bar(0), 0, {"reason": ""}))
    bus.commit({"version": 2}, (bar(0), 1, {"reason": "kill switch"}))
    assert [(entry.time, entry.values["reason"]) for entry in bus.decisions.newest(9)] == [
        (bar(0), ""),
        (bar(0), "kill switch"),
    ]


def test_a_dead_letter_has_the_candle_and_the_reason(bus: Bus) -> None:
    bus.add_dead_letter(bar(0), {"close": float("nan")}, "close is nan")
    (letter,) = bus.dead_letters()
    assert letter["reason"] == "close is nan"
    assert letter["time"] == str(bar(0))
    assert "close" in json.loads(letter["json"])


def test_the_kill_switch_stays_set_until_it_is_cleared(bus: Bus) -> None:
    assert not bus.kill_switch_is_set()
    bus.set_kill_switch(True)
    assert bus.kill_switch_is_set()
    bus.set_kill_switch(False)
    assert not bus.kill_switch_is_set()


def test_datasets_are_separate_and_forgotten_separately(bus: Bus) -> None:
    other = Bus(bus.redis, "OTHER")
    filled(bus, 2)
    filled(other, 3)
    bus.forget()
    assert bus.candles.last() is None
    assert other.candles.count_after(None) == 3


def test_milliseconds_do_not_depend_on_the_unit_of_a_time() -> None:
    assert {milliseconds(bar(0).as_unit(unit)) for unit in ("s", "ms", "us", "ns")} == {1704067200000}


def test_keys_of_another_program_are_an_error(bus: Bus, factory: ServiceFactory) -> None:
    bus.redis.set(bus.forecasts.key, "something else")
    with pytest.raises(LiveError, match=r"Redis rejects a command \(WRONGTYPE .* keys that begin with regimes:"):
        factory.paper_trader(factory.model_reloader(), "BTC/USDT").run(threading.Event())


@pytest.mark.parametrize("name", ["BTC[1]", "BTC?", "BTC*", "BTC\\1", "BTC", "BTC:1"])
def test_forget_removes_the_keys_of_exactly_one_dataset_whatever_its_name(bus: Bus, name: str) -> None:
    others = [Bus(bus.redis, other) for other in ("BTC1", "BTC[1]", "BTC:1", "BTC") if other != name]
    named = Bus(bus.redis, name)
    for one in (*others, named):
        one.store_facts({"symbol": one.name})
        filled(one, 2)
    assert bus.datasets() == sorted({name, "BTC1", "BTC[1]", "BTC:1", "BTC"})
    named.forget()
    assert (named.facts(), named.candles.last()) == ({}, None)
    for other in others:
        assert other.facts() == {"symbol": other.name}
        assert other.candles.last() is not None
