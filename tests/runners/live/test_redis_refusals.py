"""Services outlast a Redis that rejects their commands for a time."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import psutil
import pytest
import redis
from structlog.testing import capture_logs

from data.errors import LiveError
from runners.live.assembly import ServiceFactory
from runners.live.bus.bus import Bus
from runners.live.bus.connection import BusLocation
from runners.live.bus.embedded_redis import _locked, _socket, disconnect
from tests.patience import wait_until
from tests.runners.live.conftest import run_until
from tests.runners.live.serving import one_redis, serving
from tests.runners.live.test_crash_points import forecasts

_REPLICAS = ["CONFIG", "SET", "min-replicas-to-write"]
_REFUSALS = {
    "full": (["CONFIG", "SET", "maxmemory", "1"], ["CONFIG", "SET", "maxmemory", "0"]),
    "a replica after a failover": (["REPLICAOF", "127.0.0.1", "1"], ["REPLICAOF", "NO", "ONE"]),
    "without replicas": (
        ["CONFIG", "SET", "min-replicas-to-write", "1"],
        ["CONFIG", "SET", "min-replicas-to-write", "0"],
    ),
    "no longer permitted": (["ACL", "SETUSER", "default", "-@write"], ["ACL", "SETUSER", "default", "+@all"]),
    "unable to save": (["CONFIG", "SET", "save", "1 0"], ["CONFIG", "SET", "save", ""]),
}


@pytest.fixture(autouse=True)
def _in_a_hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("service", "trader"):
        monkeypatch.setattr(f"runners.live.services.{module}.WAIT", 0.01)
    monkeypatch.setattr("runners.live.services.service._HEARTBEAT_SECONDS", 0.01)
    monkeypatch.setattr("runners.live.services.service._LONGEST_PAUSE", 0.05)


@pytest.mark.parametrize("refusal", _REFUSALS)
def test_a_trader_waits_for_a_redis_that_is(bus: Bus, factory: ServiceFactory, refusal: str) -> None:
    begin, end = _REFUSALS[refusal]
    (first, values), (second, later), *_ = forecasts()
    bus.forecasts.append(first, values)
    trader = factory.paper_trader(factory.model_reloader(), "BTC/USDT")

    def refuse_for_a_while() -> bool:
        assert wait_until(lambda: trader.decided_up_to == first)
        if refusal == "unable to save":
            fail_to_save(bus)
        bus.redis.execute_command(*begin)
        assert wait_until(lambda: trader.counted["redis_refused"] > 2)
        bus.redis.execute_command(*end)
        bus.forecasts.append(second, later)
        return wait_until(lambda: trader.decided_up_to == second)

    run_until([trader], refuse_for_a_while)
    assert [entry.time for entry in bus.decisions.newest(9)] == [first, second]


def fail_to_save(bus: Bus) -> None:
    """Let a snapshot fail, after which Redis rejects writes (MISCONF) while it is to make snapshots."""
    folder = bus.redis.config_get("dir")["dir"]
    (Path(folder) / "dump.rdb").mkdir()
    bus.redis.bgsave()
    assert wait_until(lambda: bus.redis.info("persistence")["rdb_last_bgsave_status"] == "err")


def test_a_trader_waits_for_an_embedded_redis_that_does_not_start(bus: Bus, factory: ServiceFactory) -> None:
    (first, values), *_ = forecasts()
    folder = factory.location.folder
    trader = factory.paper_trader(factory.model_reloader(), "BTC/USDT")

    def prevent_the_start_for_a_while() -> bool:
        assert wait_until(lambda: trader.state == "waiting for a forecast")
        process = psutil.Process(bus.redis.info("server")["process_id"])
        path = _socket(folder.absolute())
        with _locked(folder):
            process.kill()
            path.unlink()
            path.mkdir()  # Redis cannot listen there
        assert wait_until(lambda: trader.counted["redis_lost"] > 1)
        path.rmdir()
        assert wait_until(lambda: _answers(bus))
        bus.forecasts.append(first, values)
        return wait_until(lambda: trader.decided_up_to == first)

    run_until([trader], prevent_the_start_for_a_while)


@pytest.fixture
def on_a_small_disk(factory: ServiceFactory, tmp_path: Path) -> Iterator[ServiceFactory]:
    """The embedded Redis is in a file system of its own, of 1 MB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", disk], capture_output=True).returncode:
        pytest.skip("only root can mount a small disk")
    yield replace(factory, location=BusLocation("SWITCH", disk / "live"))
    disconnect(disk / "live")
    subprocess.run(["umount", disk], check=True)


def test_a_trader_waits_longer_each_time_while_the_disk_is_full(on_a_small_disk: ServiceFactory) -> None:
    (first, values), (second, later), *_ = forecasts()
    factory = on_a_small_disk
    trader, bus = factory.paper_trader(factory.model_reloader(), "BTC/USDT"), factory.location.connect()
    bus.forecasts.append(first, values)

    def fill_the_disk_for_a_while() -> bool:
        assert wait_until(lambda: trader.decided_up_to == first)
        filler = factory.location.folder / "filler"
        with pytest.raises(OSError, match="No space left"):
            filler.write_bytes(bytes(2**20))
        assert wait_until(lambda: 0.05 in [event.get("tries_again_in") for event in logged])
        filler.unlink()
        assert wait_until(lambda: _answers(bus))
        bus.forecasts.append(second, later)
        return wait_until(lambda: trader.decided_up_to == second)

    with capture_logs() as logged:
        run_until([trader], fill_the_disk_for_a_while)
    assert [entry.time for entry in bus.decisions.newest(9)] == [first, second]
    pauses = [event["tries_again_in"] for event in logged if "tries_again_in" in event]
    assert all(later == min(2 * earlier, 0.05) or later == 0.01 for earlier, later in pairwise(pauses))


def _answers(bus: Bus) -> bool:
    try:
        return bool(bus.redis.ping())
    except redis.ConnectionError:
        return False


def test_a_wrong_password_ends_a_service_at_its_start_only(factory: ServiceFactory) -> None:
    with one_redis() as server, server.connect().redis as admin:
        shared = replace(factory, location=replace(factory.location, redis_url=server.url))
        trader = shared.paper_trader(shared.model_reloader(), "BTC/USDT")

        def change_the_password() -> bool:
            assert wait_until(lambda: trader.state == "waiting for a forecast")
            admin.config_set("requirepass", "another")
            admin.client_kill_filter(_type="normal", skipme=True)
            assert wait_until(lambda: trader.counted["redis_lost"] > 2)
            with pytest.raises(LiveError, match="Redis rejects the login"):
                shared.paper_trader(shared.model_reloader(), "BTC/USDT").run(threading.Event())
            admin.config_set("requirepass", "")
            beat = server.connect().heartbeats()["trader"]["beat"]
            return wait_until(lambda: server.connect().heartbeats()["trader"]["beat"] > beat)

        run_until([trader], change_the_password)


def test_the_server_has_an_alarm_metric(factory: ServiceFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("runners.live.server.background._INTERVAL", 0.01)
    with one_redis() as server, serving(factory.models, server.connect) as client:
        assert wait_until(lambda: client.metric("regimes_server_redis_lost") == 0)
        with server.connect().redis as admin:
            admin.execute_command(*_REFUSALS["full"][0])
            assert wait_until(lambda: client.metric("regimes_server_redis_lost") == 1)
            admin.execute_command(*_REFUSALS["full"][1])
        assert wait_until(lambda: client.metric("regimes_server_redis_lost") == 0)
