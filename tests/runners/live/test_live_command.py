"""The command `regimes live`."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import requests
import tomli_w
from typer.testing import CliRunner

from data.errors import LiveError
from models import ModelSet
from runners import terminal
from runners.cli import app
from runners.live.assembly import ServiceFactory
from runners.live.bus.bus import Bus
from runners.live.bus.connection import BusLocation
from runners.live.bus.embedded_redis import disconnect
from runners.live.log import start_logging
from runners.live.running import run_together
from tests.conftest import ROOT, invoke, make_workspace
from tests.exchange import Exchange
from tests.patience import PATIENCE_S, wait_until
from tests.runners.live.conftest import run_until
from tests.runners.live.serving import one_redis
from tests.runners.live.test_crash_points import forecasts

COMMANDS = ["run", "ingest", "engine", "server", "trader", "messenger", "status", "kill", "resume", "forget"]


def in_workspace(factory: ServiceFactory, workspace: Path) -> ServiceFactory:
    return replace(factory, location=BusLocation("SWITCH", workspace / "results" / "SWITCH" / "live"))


def open_bus(workspace: Path) -> Bus:
    return BusLocation("SWITCH", workspace / "results" / "SWITCH" / "live").connect()


def trade(bus: Bus, factory: ServiceFactory) -> None:
    """Let a paper trader decide on two forecasts, which leaves it with a position."""
    entries = forecasts()[:2]
    for time, values in entries:
        bus.forecasts.append(time, values)
    trader = factory.paper_trader(factory.model_reloader(), "BTC/USDT")
    run_until([trader], lambda: trader.decided_up_to == entries[-1][0])


def test_all_services_run_in_one_process_until_ctrl_c(
    workspace: Path, candles: pd.DataFrame, model_set: ModelSet
) -> None:
    closed = int(candles.index.searchsorted(model_set.validation_end, side="right")) + 5
    log = workspace / "log"
    with Exchange(candles, closed=closed) as exchange, log.open("wb") as out:
        client = {"exchange": {"binance": exchange.client_options()}, "live": {"retry_seconds": 0.05}}
        (workspace / "regimes.toml").write_text(tomli_w.dumps(client))
        command = "SWITCH --exchange binance --symbol BTC/USDT --timeframe 4h --port 0"
        process = subprocess.Popen(
            [
                sys.executable,
                "-W",
                "error",
                "-m",
                "runners.cli",
                "live",
                *command.split(),
                "--workspace",
                str(workspace),
            ],
            cwd=ROOT,
            stdout=out,
            stderr=out,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        try:
            exchange.wait_for_subscriber()
            bus = open_bus(workspace)
            assert wait_until(lambda: bus.candles.last() is not None)  # what closes before that is history
            for number in range(3):
                exchange.advance()
                time = candles.index[closed + number]
                assert wait_until(lambda time=time: (last := bus.decisions.last()) is not None and last.time == time)
            assert wait_until(lambda: set(bus.heartbeats()) == {"ingest", "engine", "trader", "server"})
            events = [json.loads(line) for line in log.read_text().splitlines() if line.startswith("{")]
            port = next(one["port"] for one in events if one["service"] == "server" and one["event"] == "started")
            status = requests.get(f"http://127.0.0.1:{port}/status", timeout=PATIENCE_S).json()
            assert (status["mode"], status["symbol"], status["timeframe"]) == ("paper", "BTC/USDT", "4h")
            assert status["decision"]["time"] == f"{time:%Y-%m-%dT%H:%M:%SZ}"
            shown = invoke(workspace, "live", "status", "SWITCH")
            assert "SWITCH: paper" in shown.stdout
            assert f"{time:%Y-%m-%d %H:%M}" in shown.stdout
        finally:
            process.send_signal(signal.SIGINT)
            process.wait()
    assert process.returncode == 0
    assert "BTC/USDT 4h on binance, paper; Ctrl-C ends it." in log.read_text()
    assert {one["service"] for one in map(json.loads, log.read_text().splitlines()[1:]) if one["event"] == "ended"} == {
        "ingest",
        "engine",
        "trader",
        "server",
    }


def test_the_kill_switch_closes_the_position_and_stops_until_resume(workspace: Path, factory: ServiceFactory) -> None:
    bus = open_bus(workspace)
    here = in_workspace(factory, workspace)
    trade(bus, here)
    last = bus.decisions.newest(1)[0].values
    ran = invoke(workspace, "live", "kill", "SWITCH")
    assert ran.returncode == 1
    assert "NOTHING WAS CLOSED: no trader of SWITCH is active in this Redis." in ran.stdout
    assert f"Its last known position was {last['position']:g}, with an order of {last['order']:+g}." in ran.stdout
    assert "THE KILL SWITCH IS ACTIVE" in invoke(workspace, "live", "status", "SWITCH").stdout
    here.paper_trader(here.model_reloader(), "BTC/USDT").run(threading.Event())
    before, last = bus.decisions.newest(2)
    assert before.time == last.time
    assert last.values["reason"] == "kill switch: regimes live kill"
    assert before.values["position"] > 0
    assert (last.values["order"], last.values["position"]) == (0.0, 0.0)
    assert [fill["units"] for fill in last.values["fills"]] == [-before.values["position"]]
    shown = invoke(workspace, "live", "status", "SWITCH").stdout
    assert "STOPPED: kill switch: regimes live kill." in shown
    assert (bus.trader_state() or {})["vote"] == {"states": [], "filled_mean": 0.0}
    ran = invoke(workspace, "live", "kill", "SWITCH")
    assert (ran.returncode, "had already stopped without a position" in ran.stdout) == (0, True)
    with pytest.raises(LiveError, match=r"the trader of SWITCH was stopped .* regimes live resume SWITCH"):
        here.paper_trader(here.model_reloader(), "BTC/USDT").run(threading.Event())

    time, values = forecasts()[2]
    bus.forecasts.append(time, values)
    assert "may start again" in invoke(workspace, "live", "resume", "SWITCH").stdout
    time, values = forecasts()[3]
    bus.forecasts.append(time, values)
    trader = here.paper_trader(here.model_reloader(), "BTC/USDT")
    run_until([trader], lambda: trader.decided_up_to == time)
    assert [entry.time for entry in bus.decisions.newest(10)][-2:] == [last.time, time]
    assert "was not stopped" in invoke(workspace, "live", "resume", "SWITCH").stdout


def test_a_trader_of_version_0_1_is_upgraded_with_its_position(workspace: Path, factory: ServiceFactory) -> None:
    """Its state has no vote, its forecasts no members, and its decisions the direction in place of the vote."""
    bus, here = open_bus(workspace), in_workspace(factory, workspace)
    trade(bus, here)
    state, (time, values) = bus.trader_state() or {}, forecasts()[2]
    del state["vote"], state["ordered"], values["members"]
    newest = bus.decisions.newest(1)[0].values
    del newest["vote"]
    decision = (time - pd.Timedelta(hours=4), 1, {**newest, "wanted": -1})
    bus.commit({**state, "version": state["version"] + 1}, decision)
    assert "none yet" in invoke(workspace, "live", "status", "SWITCH").stdout
    bus.forecasts.append(time, values)
    trader = here.paper_trader(here.model_reloader(), "BTC/USDT")
    run_until([trader], lambda: trader.decided_up_to == time)
    last = bus.decisions.newest(1)[0].values
    assert last["position"] < 0
    assert (last["vote"], last["order"]) == (-1.0, 0.0)
    assert "-100%" in invoke(workspace, "live", "status", "SWITCH").stdout


def test_kill_waits_until_the_trader_has_stopped(workspace: Path) -> None:
    bus = open_bus(workspace)
    for time, values in forecasts()[:2]:
        bus.forecasts.append(time, values)
    command = [sys.executable, "-m", "runners.cli", "live", "trader", "--workspace", str(workspace), "SWITCH"]
    with (workspace / "log").open("wb") as log:
        process = subprocess.Popen(command, cwd=ROOT, stderr=log, env={**os.environ, "PYTHONPATH": str(ROOT)})
        try:
            assert wait_until(lambda: bus.decisions.count_after(None) == 2)
            refused = invoke(workspace, "live", "forget", "SWITCH")
            assert "services of SWITCH are still running (trader). Stop them first." in refused.stderr
            ran = invoke(workspace, "live", "kill", "SWITCH")
            assert (ran.returncode, "has stopped and holds no position" in ran.stdout) == (0, True)
            assert (bus.trader_state() or {})["broker"]["size"] == 0.0
            assert process.wait() == 0
        finally:
            process.kill()
            process.wait()


@pytest.mark.parametrize("command", ["status", "kill", "resume", "forget"])
def test_a_dataset_that_was_never_live_is_an_error(workspace: Path, command: str) -> None:
    ran = invoke(workspace, "live", command, "SWICHT")
    assert ran.returncode == 2
    assert "SWICHT was never live here: " in ran.stderr
    assert not (workspace / "results" / "SWICHT").exists()


@pytest.mark.parametrize("command", ["kill", "resume", "forget"])
def test_a_dataset_without_live_services_in_this_redis_is_an_error(workspace: Path, command: str) -> None:
    with one_redis() as store:
        store.connect().store_facts({"symbol": "BTC/USDT"})
        ran = invoke(workspace, "live", command, "SWICHT", "--redis", store.url)
    assert ran.returncode == 2
    assert "this Redis has no live services of SWICHT, only of: SWITCH." in ran.stderr


def test_resume_is_refused_while_the_position_is_being_closed(workspace: Path) -> None:
    bus = open_bus(workspace)
    bus.store_facts({"mode": "real"})
    bus.commit({"time": None, "stopped": "kill switch", "stopping": True, "version": 1})
    assert "STOPPING: kill switch." in invoke(workspace, "live", "status", "SWITCH").stdout
    ran = invoke(workspace, "live", "resume", "SWITCH")
    assert (ran.returncode, (bus.trader_state() or {})["version"]) == (2, 1)
    assert "the trader of SWITCH has not closed its position yet" in ran.stderr


def test_resume_clears_a_kill_switch_without_a_trader(workspace: Path) -> None:
    bus = open_bus(workspace)
    bus.store_facts({"mode": "paper"})
    bus.set_kill_switch(True)
    assert "The kill switch is cleared" in invoke(workspace, "live", "resume", "SWITCH").stdout
    assert not bus.kill_switch_is_set()


def test_forget_is_refused_while_a_position_is_open(workspace: Path) -> None:
    bus = open_bus(workspace)
    bus.store_facts({"symbol": "BTC/USDT:USDT", "mode": "sandbox"})
    broker = {"order": None, "position": -0.5, "flattened": 0, "fills": []}
    state = {"time": None, "stopped": None, "stopping": False}
    bus.commit({**state, "version": 1, "broker": broker})
    ran = invoke(workspace, "live", "forget", "SWITCH")
    assert (ran.returncode, bool(bus.facts())) == (2, True)
    assert "the trader of SWITCH left a position of -0.5. Start it, then run: regimes live kill" in ran.stderr
    bus.commit({**state, "version": 2, "broker": {**broker, "position": 0.0}})
    (workspace / "results" / "SWITCH" / "live" / "KILL").touch()
    ran = invoke(workspace, "live", "forget", "SWITCH")
    assert "Removed the live state of SWITCH from Redis." in ran.stdout
    assert (bus.facts(), bus.trader_state()) == ({}, None)
    assert not (workspace / "results" / "SWITCH" / "live" / "KILL").exists()


def test_damaged_state_is_an_error_and_can_be_forgotten(workspace: Path) -> None:
    bus = open_bus(workspace)
    bus.store_facts({"symbol": "BTC/USDT"})
    for damaged in ("{", "[]", "{}", "7"):
        bus.redis.set("regimes:SWITCH:trader", damaged)
        ran = invoke(workspace, "live", "status", "SWITCH")
        assert "the value of regimes:SWITCH:trader is not the trader's state" in ran.stderr
    bus.redis.set(bus.candles.key, "something else")
    bus.redis.delete("regimes:SWITCH:trader")
    ran = invoke(workspace, "live", "status", "SWITCH")
    assert "Redis rejects a command (WRONGTYPE" in ran.stderr
    assert invoke(workspace, "live", "forget", "SWITCH").returncode == 0
    assert "no trader yet" in invoke(workspace, "live", "status", "SWITCH").stdout


def test_a_wrong_redis_password_is_an_error(workspace: Path, factory: ServiceFactory) -> None:
    with one_redis() as store:
        store.connect().redis.config_set("requirepass", "hush")
        for arguments in (["status"], ["trader"], ["kill"]):
            ran = invoke(workspace, "live", *arguments, "SWITCH", "--redis", store.url)
            assert ran.returncode == 2
            assert "Redis rejects the login (" in ran.stderr
            assert ("NOTHING WAS CLOSED" in ran.stderr) == (arguments == ["kill"])


def test_a_file_is_also_a_kill_switch(workspace: Path, factory: ServiceFactory) -> None:
    bus = open_bus(workspace)
    folder = workspace / "results" / "SWITCH" / "live"
    here = in_workspace(factory, workspace)
    trade(bus, here)
    (folder / "KILL").touch()
    here.paper_trader(here.model_reloader(), "BTC/USDT").run(threading.Event())
    assert bus.decisions.newest(1)[0].values["reason"] == "kill switch: the file KILL"
    invoke(workspace, "live", "resume", "SWITCH")
    assert not (folder / "KILL").exists()


def test_the_status_is_available_as_json(workspace: Path, factory: ServiceFactory) -> None:
    here = in_workspace(factory, workspace)
    trade(open_bus(workspace), here)
    status = json.loads(invoke(workspace, "live", "status", "SWITCH", "--json").stdout)
    assert (status["name"], status["mode"], status["stopped"]) == ("SWITCH", "paper", None)
    assert status["services"]["trader"]["counted"]["decisions"] == 2
    assert status["services"]["trader"]["behind"] == 0
    assert [time for time, _ in status["recent"]] == ["2024-01-01T00:00:00Z", "2024-01-01T04:00:00Z"]


def test_the_status_without_a_trader_says_so(workspace: Path) -> None:
    open_bus(workspace)
    shown = invoke(workspace, "live", "status", "SWITCH")
    assert "SWITCH: no trader yet" in shown.stdout
    assert shown.returncode == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "--symbol is missing. Use ccxt's notation, such as BTC/USDT."),
        (["--symbol", "BTC/USDT", "--sandbox"], "--sandbox needs --real"),
        (["--replay", "--real"], "--replay trades on paper. Remove --real and --sandbox."),
        (["--symbol", "BTC/USDT", "--real"], "--real needs limits. Set max_position and max_daily_loss"),
        (
            ["--symbol", "BTC/USDT", "--real", "--max-position=9", "--max-daily-loss=0.1", "--stop-loss=0.1"],
            "stop_loss cannot be traded with --real: no stop order rests at the exchange yet",
        ),
        (["--symbol", "BTC/USDT", "--timeframe", "1h"], "the timeframe is 1h, but the models"),
        (["--symbol", "BTC/USDT", "--host", "0.0.0.0"], "which needs a key for that"),
        (["--symbol", "BTC/USDT", "--exchange", "binanse"], "there is no exchange 'binanse'. Did you mean 'binance'?"),
        (["--symbol", "BTC/USDT", "--models", "nowhere"], "nowhere: there is no model set"),
        (["--symbol", "BTC/USDT", "--redis", "http://localhost"], "--redis http://localhost"),
        (["--symbol", "BTC/USDT", "--redis", "redis://user:secret@[::1"], "--redis ***: Invalid IPv6 URL."),
        (["--symbol", "BTC/USDT", "--max-daily-loss", "2"], "--max-daily-loss: Input should be less than 1"),
    ],
)
def test_invalid_arguments_are_refused_before_anything_runs(
    workspace: Path, arguments: list[str], message: str
) -> None:
    ran = invoke(workspace, "live", "SWITCH", *arguments)
    assert ran.returncode == 2
    assert message in ran.stderr


def test_models_with_columns_that_no_exchange_has_are_refused(tmp_path: Path, labelled: pd.DataFrame) -> None:
    from tests.conftest import SMALL
    from training import TrainSettings, train

    workspace = make_workspace(tmp_path, labelled, train(labelled, "SWITCH", TrainSettings(**SMALL)))
    ran = invoke(workspace, "live", "SWITCH", "--symbol", "BTC/USDT", "--regime-source", "column")
    assert "the models of SWITCH read regime, which an exchange's candles do not have" in ran.stderr
    disconnect(tmp_path / "results" / "SWITCH" / "live")


def test_all_services_end_when_one_fails() -> None:
    ended = []

    class Fails:
        def run(self, stop: threading.Event) -> None:
            raise LiveError("it fails")

    class Waits:
        def run(self, stop: threading.Event) -> None:
            ended.append(stop.wait(PATIENCE_S))

    with pytest.raises(LiveError, match="it fails"):
        run_together([Fails(), Waits()])
    assert ended == [True]


def test_events_are_json_lines_outside_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    import structlog

    start_logging(["hush"])
    structlog.get_logger().info("decision", service="trader", order=1.5, why="hush, quietly", none=None)
    event = json.loads(capsys.readouterr().err)
    assert event.pop("timestamp").endswith("Z")
    assert event == {
        "event": "decision",
        "level": "info",
        "service": "trader",
        "order": 1.5,
        "why": "***, quietly",
        "none": None,
    }
    start_logging(level="warning")
    structlog.get_logger().info("hidden")
    assert capsys.readouterr().err == ""


def help_of(*command: str) -> str:
    """Help of a command of `regimes live` on a screen of 100 columns."""
    terminal.out.width = 100
    ran = CliRunner(env={"COLUMNS": "100"}).invoke(app, ["live", *command, "--help"])
    assert ran.exit_code == 0
    return ran.stdout


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_help_fits_a_screen(command: str) -> None:
    assert len(help_of(*command.split()).splitlines()) <= 55


def test_help_describes_a_shared_option_once_and_each_command_lists_it() -> None:
    group, run, trader, kill = help_of(), help_of("run"), help_of("trader"), help_of("kill")
    assert [text.count("Largest value of a position") for text in (group, run, trader, kill)] == [1, 0, 0, 0]
    assert ["--max-position" in text for text in (group, run, trader, kill)] == [True, True, True, False]
    assert all("--redis" in text for text in (group, run, trader, kill))
    assert ["--sandbox" in text for text in (group, run, trader, kill)] == [False, True, True, False]
