"""Faults of processes, Redis, the exchange, files and clocks change no decision.

The services are real processes that run through all tests of this file. After each fault the decisions of all bars so
far must equal those of an undisturbed run: none is lost, none is made twice.
"""

from __future__ import annotations

import platform
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest

from data.files import mark_latest, write_text
from models import ModelSet
from tests.exchange import Fault
from tests.patience import wait_until
from tests.runners.live.services import SERVICES, House

FAKETIME = Path("/usr/lib") / f"{platform.machine()}-linux-gnu" / "faketime" / "libfaketime.so.1"


CLOCK = "clock"


def fake_clock(house: House) -> None:
    """Let the services' clocks differ by the offset in a file."""
    write_text(house.workspace / CLOCK, "+0")
    house.environment |= {
        "LD_PRELOAD": str(FAKETIME),
        "FAKETIME_TIMESTAMP_FILE": str(house.workspace / CLOCK),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }
    house.configure(enableRateLimit=False)  # faketime breaks the system call of Python's sleep


@pytest.fixture(scope="module")
def house(candles: pd.DataFrame, model_set: ModelSet, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    known = int(candles.index.searchsorted(model_set.validation_end, side="right")) + 5
    with House(tmp_path_factory.mktemp("house"), candles, model_set, known) as one:
        if FAKETIME.exists():
            fake_clock(one)
        one.start(*SERVICES)
        one.ready()
        one.decide(3)
        assert one.difference() is None
        yield one


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_killed_between_two_bars_misses_none(house: House, name: str) -> None:
    house.kill(name)
    house.close_bars(3)
    house.start(name)
    house.wait()
    house.decide(2)
    assert house.difference() is None


def test_services_killed_at_work_do_nothing_twice(house: House) -> None:
    house.close_bars(4)
    for name in SERVICES:
        house.kill(name)  # at any point
    house.start(*SERVICES)
    house.close_bars(2)
    house.wait()
    assert house.difference() is None


def test_a_killed_redis_loses_nothing(house: House) -> None:
    house.close_bars(2)
    house.redis.kill()
    house.close_bars(2)
    assert wait_until(lambda: '"event": "no Redis"' in house.log("trader"))
    house.redis.start()
    house.wait()
    house.decide(2)
    assert house.difference() is None


def test_services_wait_for_an_exchange_that_is_silent_or_refuses(house: House) -> None:
    house.exchange.silence()
    house.exchange.faults.append(Fault(status=503, headers={"Content-Type": "text/html"}, body=""))
    house.close_bars(2)
    assert wait_until(lambda: not house.exchange.faults)
    house.exchange.speak()
    house.close_bars(1)
    house.wait()
    assert house.difference() is None


def test_dropped_connections_lose_no_candle(house: House) -> None:
    for _ in range(4):
        house.close_bars()
        house.exchange.drop_connections()
    house.exchange.wait_for_subscriber()
    house.decide()
    assert house.difference() is None


def test_damaged_newer_models_are_refused(house: House, saved: Path) -> None:
    trained = house.workspace / "models" / "trained" / "SWITCH"
    damaged = trained / "99990101T000000.000000Z"
    shutil.copytree(saved, damaged)
    weights = damaged / "SWITCH_all.pt"
    weights.write_bytes(weights.read_bytes()[:-100])
    mark_latest(damaged)
    assert wait_until(lambda: "newer models refused" in house.log("engine"))
    house.decide(2)
    assert house.difference() is None
    house.kill("engine")
    house.start("engine")
    assert house.processes["engine"].wait() == 2  # no valid models: this needs a person
    assert "has changed since it was written" in house.log("engine")
    house.close_bars(2)
    shutil.rmtree(damaged)
    house.start("engine")
    house.wait()
    assert house.difference() is None


def test_a_paused_reader_loses_no_candle_when_the_stream_is_trimmed(house: House) -> None:
    house.processes["engine"].send_signal(signal.SIGSTOP)
    house.close_bars(30)
    last = house.candles.index[house.advanced - 1]
    assert wait_until(lambda: (newest := house.bus.candles.last()) is not None and newest.time == last)
    house.processes["engine"].send_signal(signal.SIGCONT)
    house.wait()
    assert house.difference() is None


def test_a_second_trader_ends_and_other_duplicate_services_are_harmless(house: House) -> None:
    first, started = dict(house.processes), {name: house.log(name).count('"started"') for name in SERVICES}
    house.start(*SERVICES)
    second = dict(house.processes)
    assert wait_until(lambda: all(house.log(name).count('"started"') > started[name] for name in SERVICES))
    assert second["trader"].wait() == 2
    assert "another trader of SWITCH is active" in house.log("trader")
    house.close_bars(3)
    house.wait()
    assert first["trader"].poll() is None
    house.processes |= {"trader": first["trader"]}
    for name in ("ingest", "engine"):
        first[name].kill()
        first[name].wait()
    house.decide(2)
    assert house.difference() is None


def test_a_candle_that_the_exchange_corrects_after_its_close_changes_no_decision(house: House) -> None:
    closed = house.candles.index[house.advanced - 3 : house.advanced]
    house.exchange.broken.update(dict.fromkeys(closed, (1.0, 9.0, 1.0, 5.0, 7.0)))
    for back in range(1, 4):
        house.exchange.send_old(back)
    for name in ("ingest", "engine"):
        house.kill(name)
        house.start(name)
    house.decide(2)
    house.exchange.broken.clear()
    assert house.difference() is None


@pytest.mark.skipif(not FAKETIME.exists(), reason="needs the package faketime")
def test_clocks_that_jump_change_nothing(house: House) -> None:
    for days in (40, -400, 0):
        write_text(house.workspace / CLOCK, f"{days:+}d")
        house.decide(2)
        day = pd.Timestamp.now("UTC") + pd.Timedelta(days=days)
        assert f'"timestamp": "{day.year}-' in house.log("trader")
    assert house.difference() is None
