"""Runs the live services: all in one process, one alone, or a replay that is compared with the backtest."""

from __future__ import annotations

import os
import signal
import tempfile
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from data.candles import read_candles
from data.errors import LiveError
from data.files import new_run_id, require_writable
from models.forecaster import require_compatible
from runners.backtesting.engine import backtest
from runners.live.assembly import ServiceFactory
from runners.live.bus.bus import DECISIONS_KEPT
from runners.live.bus.connection import durability_warning
from runners.live.bus.embedded_redis import disconnect
from runners.live.bus.stream import Entry
from runners.live.log import start_logging
from runners.live.replay import first_difference
from runners.live.server import KEY_VARIABLE
from runners.live.trading.exchange_client import credentials

_ALL = 10**9
_POLL_SECONDS = 0.05
_LINGER_SECONDS = 5.0  # after the kill switch, so that an open status page still shows it

Notify = Callable[[str], None]  # shows a message to the user


class Runnable(Protocol):
    def run(self, stop: threading.Event, /) -> None: ...


@dataclass(frozen=True)
class ReplayResult:
    """Result of a replay.

    Attributes
    ----------
    decisions
        One per bar.
    limits
        Names of the limits of orders that were set. With them nothing is compared, because a backtest has none.
    difference
        The first difference from the backtest; None if there is none or nothing was compared.
    """

    decisions: list[Entry]
    limits: list[str]
    difference: str | None


def run_live(factory: ServiceFactory, host: str, port: int, *, real: bool, sandbox: bool, notify: Notify) -> None:
    """Run all services in this process until Ctrl-C, SIGTERM or the kill switch."""
    _prepare(factory, notify)
    models = factory.model_reloader()
    market = factory.market(models)
    trader = factory.trader(models, real=real, sandbox=sandbox)
    server = factory.server(models, host, port)
    ingest = factory.ingest(models)
    hint = " and leaves the position open; `regimes live kill` closes it" if real else ""
    notify(f"{market.symbol} {market.timeframe} on {market.exchange}, {trader.facts['mode']}; Ctrl-C ends it{hint}.")
    messengers = [factory.messenger()] if factory.message_urls() else []
    # Engine and server reload models independently: the engine between two candles, the server at once.
    engine = factory.engine(factory.model_reloader())
    run_together([*messengers, ingest, engine, server, trader], linger=_LINGER_SECONDS)


def run_service(factory: ServiceFactory, build: Callable[[], Runnable], notify: Notify) -> None:
    """Run one service until Ctrl-C, SIGTERM or its own end."""
    _prepare(factory, notify)
    run_together([build()])


def run_replay(factory: ServiceFactory, file: Path, speed: float | None, notify: Notify) -> ReplayResult:
    """Replay a file's candles through all services, on paper, and compare the decisions with the backtest.

    It leaves no data behind: the replay has its own bus name, and its own embedded Redis if no URL is given.
    """
    start_logging(level="warning" if speed is None else "info")
    candles = read_candles(file)
    with tempfile.TemporaryDirectory() as folder:
        name = f"{factory.location.name}-replay-{new_run_id()}"
        factory = replace(factory, location=replace(factory.location, name=name, folder=Path(folder), durable=False))
        models = factory.model_reloader()
        model_set = models.forecaster.model_set
        require_compatible(candles, models.forecaster, source=str(file))
        for warning in models.forecaster.warnings(candles, file.stem):
            notify(warning)
        replay, trader = factory.replay(models, candles, speed), factory.paper_trader(models, file.stem, candles)
        run_together([replay, factory.engine(models), trader], lambda: replay.is_finished(trader.decided_up_to))
        bus = factory.location.connect()
        decisions = bus.decisions.newest(_ALL)
        bus.forget()
        disconnect(factory.location.folder)
    if not replay.is_finished(trader.decided_up_to):
        raise LiveError("the replay was interrupted.")
    limits, difference = factory.live.limits_of_orders(), None
    if not limits:
        trading = factory.live.applied_to(factory.trading)
        equity = backtest(candles, model_set, trading).equity
        kept = equity.iloc[-len(decisions) :] if len(decisions) >= DECISIONS_KEPT else equity
        difference = first_difference(decisions, kept, exact=not trading.needs_scale)
    return ReplayResult(decisions, limits, difference)


def _prepare(factory: ServiceFactory, notify: Notify) -> None:
    """Check the folder, start the log, and warn if Redis is not durable."""
    require_writable(factory.location.folder)
    factory.location.folder.mkdir(parents=True, exist_ok=True)  # for the kill switch's file
    secrets = [*credentials().values(), os.environ.get(KEY_VARIABLE, ""), factory.location.redis_password]
    start_logging([*secrets, *factory.message_urls()])
    warning = durability_warning(factory.location.connect)
    if warning:
        notify(warning)


def run_together(services: Sequence[Runnable], done: Callable[[], bool] | None = None, *, linger: float = 0.0) -> None:
    """Run the services in threads until one fails, the last one ends, ``done`` returns True, Ctrl-C or SIGTERM.

    After that the others run ``linger`` more seconds, unless one failed. Raises the first failure once all have ended.
    """
    stop = threading.Event()
    failures: list[BaseException] = []

    def run(service: Runnable) -> None:
        try:
            service.run(stop)
        except BaseException as error:
            failures.append(error)
            stop.set()

    handlers = {number: signal.signal(number, lambda *_: stop.set()) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        threads = [threading.Thread(target=run, args=(service,), name=type(service).__name__) for service in services]
        for thread in threads:
            thread.start()
        while not stop.is_set() and threads[-1].is_alive() and not (done and done()):
            stop.wait(_POLL_SECONDS)
        stop.wait(linger)
        stop.set()
        for thread in threads:
            thread.join()
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    if failures:
        raise failures[0]
