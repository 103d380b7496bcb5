"""Runs the live services as processes that tests can kill, with a Redis and an exchange."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import tomli_w

from models import ModelSet
from runners.backtesting.engine import backtest
from runners.backtesting.settings import BacktestSettings
from runners.cli import app
from runners.live.bus.connection import BusLocation
from runners.live.bus.embedded_redis import disconnect
from runners.live.replay import first_difference
from tests.conftest import ROOT, make_workspace
from tests.exchange import Exchange
from tests.patience import wait_until
from tests.runners.live.serving import OneRedis

SERVICES = ("ingest", "engine", "trader")
_THRESHOLDS = {"long_threshold": 0.0003, "short_threshold": -0.0003}  # the small models' forecasts reach them often


class House:
    """A workspace whose services trade the candles that the exchange closes from now on; a context manager.

    Parameters
    ----------
    closed
        Number of candles that have closed at the start.
    embedded
        Use the workspace's own Redis, which the services start, instead of one that the test starts.
    """

    def __init__(
        self, workspace: Path, candles: pd.DataFrame, model_set: ModelSet, closed: int, *, embedded: bool = False
    ) -> None:
        self.workspace, self.candles, self.model_set = make_workspace(workspace, candles, model_set), candles, model_set
        self.exchange = Exchange(candles, closed=closed)
        self.first = self.advanced = closed
        self.embedded = BusLocation("SWITCH", workspace / "results" / "SWITCH" / "live") if embedded else None
        self.environment: dict[str, str] = {}  # further variables of services that start from now on
        self.processes: dict[str, Any] = {}

    def __enter__(self) -> House:
        self.exchange.__enter__()
        self.configure()
        if self.embedded:
            self.bus = self.embedded.connect()
            return self
        folder = self.workspace / "redis"
        folder.mkdir()
        self.redis = OneRedis(str(folder), "--appendonly", "yes", "--appendfsync", "always")
        self.bus = self.redis.connect()
        return self

    def __exit__(self, *_: object) -> None:
        for process in self.processes.values():
            process.send_signal(signal.SIGCONT)
            process.terminate()
        for process in self.processes.values():
            process.wait()
        if self.embedded:
            disconnect(self.embedded.folder)
        else:
            self.bus.redis.close()
            self.redis.stop()
        self.exchange.__exit__()

    def configure(self, **options: Any) -> None:
        """Write the settings of services that start from now on, with options of the exchange's client."""
        client = {**self.exchange.client_options(), **options}
        live = {"symbol": "BTC/USDT", "retry_seconds": 0.05}
        tables = {"exchange": {"binance": client}, "live": live, "backtest": _THRESHOLDS}
        (self.workspace / "regimes.toml").write_text(tomli_w.dumps(tables))

    def start(self, *services: str) -> None:
        for name in services:
            where = ["--workspace", str(self.workspace), "SWITCH"]
            where += [] if self.embedded else ["--redis", self.redis.url]
            self.processes[name] = self._run(["live", name, *where], self.workspace / f"{name}.log")

    def _run(self, arguments: list[str], log: Path) -> Any:
        with log.open("ab") as output:
            return subprocess.Popen(
                [sys.executable, "-W", "error", "-m", "runners.cli", *arguments],
                cwd=ROOT,
                stdout=output,
                stderr=output,
                env={**os.environ, "PYTHONPATH": str(ROOT), **self.environment},
            )

    def kill(self, name: str) -> None:
        """With ``kill -9``."""
        self.processes[name].kill()
        self.processes[name].wait()

    def kill_embedded_redis(self) -> None:
        """With ``kill -9``; the services start it again."""
        assert self.embedded
        os.kill(self.embedded.connect().redis.info("server")["process_id"], signal.SIGKILL)

    def log(self, name: str) -> str:
        return (self.workspace / f"{name}.log").read_text()

    def close_bars(self, count: int = 1) -> None:
        """Let the next bars close on the exchange."""
        self.exchange.advance(count)
        self.advanced += count

    def decide(self, count: int = 1) -> None:
        """Let bars close, one by one, and wait for each decision."""
        for _ in range(count):
            self.close_bars()
            self.wait()

    def wait(self) -> None:
        """Wait for the decision on the last closed bar."""
        last = self.candles.index[self.advanced - 1]
        if self.embedded:
            self.embedded.connect()  # it may have been killed

        def decided() -> bool:
            newest = self.bus.decisions.last()
            return newest is not None and newest.time == last

        assert wait_until(decided), "\n".join(self.log(name)[-2000:] for name in self.processes)

    def ready(self) -> None:
        """Wait until all services run and have the history."""
        assert wait_until(lambda: (last := self.bus.candles.last()) is not None and last.time == self._last_known())
        assert wait_until(lambda: set(self.processes) <= set(self.bus.heartbeats())), self.bus.heartbeats()
        self.exchange.wait_for_subscriber()

    def _last_known(self) -> pd.Timestamp:
        return self.candles.index[self.advanced - 1]

    def difference(self) -> str | None:
        """The first difference between the decisions and a backtest's; each bar must have exactly one decision."""
        traded = self.candles.index[self.first : self.advanced]
        settings = BacktestSettings(start=traded[0].to_pydatetime(), end=traded[-1].to_pydatetime(), **_THRESHOLDS)
        decisions = self.bus.decisions.newest(100_000)
        assert len(decisions) == len(traded)
        return first_difference(decisions, backtest(self.candles, self.model_set, settings).equity)


_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(["runners.commands.live", "runners.live.assembly", "runners.live.running", "ccxt.pro"])


def _run_command(arguments: list[str], log: Path) -> None:
    with log.open("ab") as output:
        os.dup2(output.fileno(), 1)
        os.dup2(output.fileno(), 2)
    app(arguments)


class _Forked(_FORKS.Process):  # type: ignore[name-defined]
    """With the methods of `subprocess.Popen`."""

    def wait(self) -> int:
        self.join()
        return int(self.exitcode)

    def send_signal(self, number: int) -> None:
        os.kill(self.pid, number)


class ForkedHouse(House):
    """Forks its services from a process that has imported everything: they start in a tenth of the time."""

    def _run(self, arguments: list[str], log: Path) -> _Forked:
        process = _Forked(target=_run_command, args=(arguments, log))
        process.start()
        return process
