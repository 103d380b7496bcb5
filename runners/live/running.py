"""What `regimes live` and its services do: put together, run, and end with a word."""

from __future__ import annotations

import os
import tempfile
from dataclasses import replace
from pathlib import Path

import pandas as pd

from data.candles import read_candles
from data.errors import LiveError, SettingsError
from data.files import new_run_id, require_writable
from runners.backtesting.compatibility import require_fit
from runners.backtesting.engine import backtest, trading_range
from runners.live.agreement import first_difference
from runners.live.bus.bus import DECISIONS_KEPT
from runners.live.bus.connection import tells_loss
from runners.live.bus.embedded_redis import leave
from runners.live.log import start_logging
from runners.live.replay import Replay
from runners.live.server import KEY_VARIABLE, Server
from runners.live.services.model_reloader import NewestModels
from runners.live.services.trader import Trader
from runners.live.setup import Setup
from runners.live.together import run_together
from runners.live.trading.exchange_account import credentials
from runners.terminal import notice, out, print_json, say

_ALL = 10**9
_SEEN = 5.0  # seconds after the kill switch in which an open page learns of it


def run_live(setup: Setup, host: str, port: int, *, real: bool, sandbox: bool) -> None:
    """All services in this process, until Ctrl-C or the kill switch."""
    _begin(setup)
    models = setup.newest_models()
    market = setup.market(models)
    trader = _trader(setup, models, real=real, sandbox=sandbox)
    server = _server(setup, models, host, port)
    ingest = setup.ingest(models)
    stays = " and leaves the position open, `regimes live kill` closes it" if real else ""
    notice(f"{market.symbol} {market.timeframe} on {market.exchange}, {trader.facts['mode']}; Ctrl-C ends it{stays}.")
    # the engine takes newer models on its own: between two candles, while the server takes them at once
    run_together([ingest, setup.engine(setup.newest_models()), server, trader], lingers=_SEEN)


def run_ingest(setup: Setup, replay: Path | None, speed: float | None) -> None:
    """Candles of the exchange, or of a file."""
    _begin(setup)
    models = setup.newest_models()
    run_together([_replay(setup, models, read_candles(replay), speed) if replay else setup.ingest(models)])


def run_engine(setup: Setup) -> None:
    _begin(setup)
    run_together([setup.engine(setup.newest_models())])


def run_trader(setup: Setup, *, real: bool, sandbox: bool) -> None:
    _begin(setup)
    run_together([_trader(setup, setup.newest_models(), real=real, sandbox=sandbox)])


def run_server(setup: Setup, host: str, port: int) -> None:
    _begin(setup)
    run_together([_server(setup, setup.newest_models(), host, port)])


def run_replay(setup: Setup, file: Path, speed: float | None, *, json: bool) -> bool:
    """Send a file's candles through all services, on paper, and compare what they decide with the backtest.

    Nothing of it stays: the services meet under a name of their own, and in a Redis of their own if none is given.

    Returns
    -------
    bool
        Whether both agree on every bar.
    """
    start_logging(level="warning" if speed is None else "info")
    candles = read_candles(file)
    with tempfile.TemporaryDirectory() as folder:
        name = f"{setup.point.name}-replay-{new_run_id()}"
        setup = replace(setup, point=replace(setup.point, name=name, folder=Path(folder), durable=False))
        models = setup.newest_models()
        model_set = models.forecaster.model_set
        require_fit(file, candles, model_set, regime_source=setup.trading.regime_source)
        replay, trader = _replay(setup, models, candles, speed), setup.paper_trader(models, file.stem)
        run_together([replay, setup.engine(models), trader], lambda: replay.passed_on(trader.decided_up_to))
        bus = setup.point.connect()
        decisions = bus.decisions.newest(_ALL)
        bus.forget()
        leave(setup.point.folder)
    if not replay.passed_on(trader.decided_up_to):
        raise LiveError("the replay was stopped before its end.")
    limited = setup.live.limits()
    difference = None
    if not limited:
        equity = backtest(candles, model_set, setup.trading).equity
        kept = equity.iloc[-len(decisions) :] if len(decisions) >= DECISIONS_KEPT else equity
        difference = first_difference(decisions, kept)
    orders, equity = sum(entry.values["order"] != 0 for entry in decisions), decisions[-1].values["equity"]
    if json:
        told = {"decisions": len(decisions), "orders": orders, "equity": equity}
        print_json({**told, "compared": not limited, "difference": difference})
        return difference is None
    first, last = decisions[0].time, decisions[-1].time
    out.print(f"{len(decisions):,} decisions from {first:%Y-%m-%d %H:%M} to {last:%Y-%m-%d %H:%M}")
    out.print(f"{orders:,} orders, equity {equity:,.2f} at the end")
    if limited:
        say(f"Not compared with the backtest, which knows no limits ({', '.join(limited)}).")
    elif difference:
        say(f"DIFFERS from the backtest at {difference}.")
    else:
        say("The same as the backtest's on every bar: regime, forecast, position and equity.")
    return difference is None


def _replay(setup: Setup, models: NewestModels, candles: pd.DataFrame, speed: float | None) -> Replay:
    """The bars that a backtest would trade, and as many before them as a forecast looks back on."""
    forecaster = models.forecaster
    traded, _ = trading_range(pd.DatetimeIndex(candles.index), forecaster.model_set, setup.trading)
    fed = candles.iloc[max(0, traded.start - forecaster.lookback) : traded.stop]
    first_live = pd.Timestamp(candles.index[traded.start])
    return Replay(setup.point.connect, fed[forecaster.columns()], first_live, forecaster.interval, speed)


def _trader(setup: Setup, models: NewestModels, *, real: bool, sandbox: bool) -> Trader:
    if real:
        return setup.real_trader(models, sandbox=sandbox)
    if sandbox:
        raise SettingsError("--sandbox is for --real: paper trading asks no exchange to fill orders.")
    return setup.paper_trader(models, setup.live.symbol or setup.point.name)


def _server(setup: Setup, models: NewestModels, host: str, port: int) -> Server:
    return Server(models, setup.point.connect, host, port, key=os.environ.get(KEY_VARIABLE))


def _begin(setup: Setup) -> None:
    """What every service does before it starts to work."""
    require_writable(setup.point.folder)
    setup.point.folder.mkdir(parents=True, exist_ok=True)  # for the file of the kill switch, at least
    start_logging([*credentials().values(), os.environ.get(KEY_VARIABLE, ""), setup.point.redis_password])
    loss = tells_loss(setup.point.connect)
    if loss:
        notice(loss)
