"""Messages to people: what is told, and that no receiver delays a decision."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import tomli_w

from data.errors import SettingsError
from runners.live.assembly import ServiceFactory
from runners.live.bus.bus import Bus
from runners.live.log import start_logging
from runners.live.messages import Messages
from runners.live.services.messenger import Messenger
from runners.live.settings import LiveSettings
from tests.conftest import ROOT, invoke
from tests.exchange import Exchange
from tests.patience import wait_until
from tests.runners.live.conftest import run_until
from tests.runners.live.receivers import SECRET, HttpReceiver, MailReceiver, hanging_receiver
from tests.runners.live.serving import OneRedis
from tests.runners.live.test_crash_points import forecasts
from tests.runners.live.test_trader import real_trader

_UP, _CALM, _DOWN = [0.01], [0.0], [-0.01]


@pytest.fixture(autouse=True)
def _in_a_hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("runners.live.messages._FIRST_PAUSE", 0.001)
    for module in ("messenger", "trader", "service"):
        monkeypatch.setattr(f"runners.live.services.{module}.WAIT", 0.01)


@pytest.fixture
def receiver() -> Iterator[HttpReceiver]:
    with HttpReceiver() as one:
        yield one


def tell(bus: Bus, receiver: HttpReceiver) -> list[str]:
    """Let a messenger start, tell what is new, and end; returns the texts."""
    before, stop = len(receiver.texts), threading.Event()
    stop.set()
    messages = Messages([receiver.url], "regimes SWITCH")
    Messenger(lambda: bus, messages).work(bus, stop)
    messages.close()
    return receiver.texts[before:]


def wait_for_end(thread: str) -> None:
    assert wait_until(lambda: all(one.name != thread for one in threading.enumerate()))


def decide(bus: Bus, factory: ServiceFactory, *members: list[float], **limits: float) -> None:
    """Let a paper trader decide on these forecasts, four hours apart, which follow those so far."""
    limited = replace(factory, live=LiveSettings(symbol="BTC/USDT", **limits))
    trader = limited.paper_trader(limited.model_reloader(), "BTC/USDT")
    last = bus.forecasts.last()
    shift = last.time + pd.Timedelta(hours=4) - forecasts()[0][0] if last else pd.Timedelta(0)
    bus.store_facts({"symbol": "BTC/USDT"})
    for time, values in forecasts(*members):
        bus.forecasts.append(time + shift, values)
    run_until([trader], lambda: trader.decided_up_to == time + shift)


def test_a_message_arrives_by_http_and_by_mail(receiver: HttpReceiver) -> None:
    with MailReceiver() as mail:
        messages = Messages([receiver.url, mail.url], "regimes SWITCH")
        messages.send("equity 100,512.00")
        messages.close()
    assert (receiver.texts, receiver.titles) == (["equity 100,512.00"], {"regimes SWITCH"})
    ((subject, body),) = mail.mails
    assert subject == "regimes SWITCH"
    assert "UTC: equity 100,512.00" in body
    assert messages.counted == {"messages_sent": 2}


def test_a_message_that_is_refused_is_sent_again_and_then_given_up(
    receiver: HttpReceiver, capfd: pytest.CaptureFixture[str]
) -> None:
    start_logging()
    receiver.refuses = True
    messages = Messages([receiver.url], "regimes SWITCH")
    messages.send("lost")
    assert wait_until(lambda: messages.counted["messages_failed"] == 1)
    assert receiver.refused == 5
    receiver.refuses = False
    messages.send("arrives")
    messages.close()
    assert (receiver.texts, messages.counted["messages_sent"]) == (["arrives"], 1)
    logged = capfd.readouterr().err
    assert json.loads(logged)["event"] == "message not accepted by the receiver"
    assert SECRET not in logged


def test_a_receiver_that_cannot_be_reached_is_a_refusal() -> None:
    with HttpReceiver() as gone:
        url = gone.url
    messages = Messages([url], "regimes SWITCH")
    messages.send("lost")
    messages.close()
    assert messages.counted == {"messages_failed": 1}


def test_a_receiver_that_hangs_loses_its_oldest_messages_and_delays_no_other(
    receiver: HttpReceiver, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("runners.live.messages._GRACE", 0.01)
    monkeypatch.setattr("runners.live.messages._QUEUED", 5)
    start_logging()
    with hanging_receiver() as url:
        messages = Messages([url, receiver.url], "regimes SWITCH")
        for number in range(30):
            messages.send(str(number))
            assert wait_until(lambda number=number: len(receiver.texts) == number + 1)
        dropped = messages.counted["messages_dropped"]
        assert dropped in (24, 25)  # one is being sent, or not yet
        messages.close()
    wait_for_end("JSON 1")
    assert receiver.texts == [str(number) for number in range(30)]
    logged = capfd.readouterr().err
    events = [json.loads(line) for line in logged.splitlines()]
    assert sum(one["event"] == "message dropped, because the receiver is too slow" for one in events) >= dropped
    assert {one["receiver"] for one in events} == {"JSON 1"}
    assert SECRET not in logged


def test_a_url_that_apprise_does_not_know_is_an_error_that_does_not_show_it() -> None:
    with pytest.raises(SettingsError, match="apprise does not know URL number 2") as error:
        Messages(["json://127.0.0.1", f"nosuch://{SECRET}"], "regimes SWITCH")
    assert SECRET not in str(error.value)


def test_it_tells_fills_a_closed_position_and_the_day(
    bus: Bus, factory: ServiceFactory, receiver: HttpReceiver
) -> None:
    assert tell(bus, receiver) == []
    decide(bus, factory, _UP, _DOWN, *[_CALM] * 4)
    bought, turned, day = tell(bus, receiver)
    units = bus.decisions.newest(5)[0].values["position"]
    assert bought.startswith(f"paper: bought {units:g} BTC/USDT at 101.05; position {units:g}")
    assert turned.startswith("paper: sold ")
    assert "position -" in turned
    equity = bus.decisions.newest(1)[0].values["equity"]
    assert day.startswith(f"2024-01-01: equity {equity:,.2f} ({equity / 100_000 - 1:+.2%}), 2 orders, position -")
    bus.set_kill_switch(True)
    factory.paper_trader(factory.model_reloader(), "BTC/USDT").run(threading.Event())
    closed, stopped = tell(bus, receiver)
    assert closed.startswith("paper: bought ")
    assert closed.endswith("; the position is closed")
    assert stopped == "trading has stopped without a position (kill switch: regimes live kill)"
    bus.resume()
    assert tell(bus, receiver) == ["the kill switch is cleared; trading may continue"]


def test_a_day_whose_last_bars_are_missing_is_told_with_the_next_day(
    bus: Bus, factory: ServiceFactory, receiver: HttpReceiver
) -> None:
    tell(bus, receiver)
    decide(bus, factory, _CALM, _CALM)
    assert tell(bus, receiver) == []
    (time, values) = forecasts(_CALM)[0]
    bus.forecasts.append(time + pd.Timedelta(days=1), values)
    trader = factory.paper_trader(factory.model_reloader(), "BTC/USDT")
    run_until([trader], lambda: trader.decided_up_to == time + pd.Timedelta(days=1))
    assert tell(bus, receiver) == ["2024-01-01: equity 100,000.00 (+0.00%), 0 orders, position 0"]


def test_it_tells_once_that_a_limit_is_reached(bus: Bus, factory: ServiceFactory, receiver: HttpReceiver) -> None:
    tell(bus, receiver)
    decide(bus, factory, _UP, _DOWN, _CALM, max_orders_per_day=1, max_order=1000)
    told = [text for text in tell(bus, receiver) if "limit" in text]
    assert told == [
        "limit reached: max_order (bar 2024-01-01 00:00)",
        "limit reached: max_orders_per_day (bar 2024-01-01 04:00)",
    ]


def test_it_tells_that_nobody_closes_the_position(bus: Bus, receiver: HttpReceiver) -> None:
    tell(bus, receiver)
    bus.set_kill_switch(True)
    (text,) = tell(bus, receiver)
    assert text.startswith("the kill switch is set, but NO TRADER IS ACTIVE")


def test_it_tells_of_other_models_and_of_refused_ones(bus: Bus, receiver: HttpReceiver) -> None:
    first, second = forecasts()[:2]
    bus.forecasts.append(*first)
    tell(bus, receiver)
    bus.forecasts.append(second[0], {**second[1], "models": "20260101T000000.000000Z"})
    bus.heartbeat("engine", "forecasting; newer models refused", {})
    assert tell(bus, receiver) == [
        "forecasts are made by the models 20260101T000000.000000Z now",
        "newer models are refused, and 20260101T000000.000000Z go on; the engine's log has the reason",
    ]
    assert tell(bus, receiver) == []


def test_it_tells_that_a_service_is_silent_or_failed_and_works_again(
    bus: Bus, receiver: HttpReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, state in (("engine", "forecasting"), ("trader", "failed"), ("server", "ended")):
        bus.heartbeat(name, state, {})
    monkeypatch.setattr("runners.live.status._SILENT_SECONDS", -1.0)
    assert tell(bus, receiver) == ["engine is silent: it hangs or was killed", "trader has ended with an error"]
    monkeypatch.undo()
    assert tell(bus, receiver) == ["engine works again"]
    bus.heartbeat("trader", "deciding", {})
    assert tell(bus, receiver) == ["trader works again"]


def test_a_service_that_ends_with_an_error_has_failed(bus: Bus, factory: ServiceFactory) -> None:
    trader = factory.paper_trader(factory.model_reloader(), "BTC/USDT")
    (time, values), (later, _) = forecasts()[:2]
    bus.forecasts.append(time, values)
    bus.forecasts.append(later, {})
    with pytest.raises(KeyError):
        trader.run(threading.Event())
    assert bus.heartbeats()["trader"]["state"] == "failed"


def test_an_order_on_an_exchange_is_told_before_the_next_bar(
    bus: Bus, exchange: Exchange, factory: ServiceFactory, receiver: HttpReceiver
) -> None:
    tell(bus, receiver)
    messages = Messages([receiver.url], "regimes SWITCH")
    time, values = forecasts(_UP)[0]
    bus.forecasts.append(time, {**values, "open": exchange.price, "close": exchange.price})

    run_until([real_trader(factory, exchange)(), Messenger(lambda: bus, messages)], lambda: bool(receiver.texts))
    assert bus.decisions.count_after(None) == 1
    held = exchange.account.swap_position
    assert receiver.texts[0].startswith(f"real: bought {held:g} BTC/USDT:USDT at ")
    assert receiver.texts[0].endswith(f"; position {held:g}")


def test_the_fills_before_the_first_start_are_not_told(
    bus: Bus, factory: ServiceFactory, receiver: HttpReceiver
) -> None:
    decide(bus, factory, _UP, _DOWN)
    assert tell(bus, receiver) == []
    decide(bus, factory, _CALM)
    (text,) = tell(bus, receiver)
    assert text.startswith("paper: sold ")


def test_decisions_do_not_wait_for_a_receiver_that_hangs(
    bus: Bus, factory: ServiceFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runners.live.messages._GRACE", 0.01)
    monkeypatch.setattr("runners.live.messages._QUEUED", 1)
    with hanging_receiver() as url:
        messenger = Messenger(lambda: bus, Messages([url], "regimes SWITCH"))
        trader = factory.paper_trader(factory.model_reloader(), "BTC/USDT")
        entries = forecasts(*[_UP, _DOWN] * 5)

        def all_decided() -> bool:
            assert wait_until(lambda: messenger.state == "watching")
            for time, values in entries:
                bus.forecasts.append(time, values)
            assert wait_until(lambda: trader.decided_up_to == entries[-1][0])
            return wait_until(lambda: bus.heartbeats()["messenger"]["counted"].get("messages_dropped", 0) > 5)

        run_until([messenger, trader], all_decided)
    wait_for_end("JSON 1")
    assert bus.decisions.count_after(None) == len(entries)


@pytest.mark.parametrize("loss", ["killed", "full"])
def test_it_tells_once_that_redis_is_away_and_works_again(
    tmp_path: Path, receiver: HttpReceiver, monkeypatch: pytest.MonkeyPatch, loss: str
) -> None:
    monkeypatch.setattr("runners.live.services.service._LONGEST_PAUSE", 0.01)
    redis = OneRedis(str(tmp_path))
    messenger = Messenger(redis.connect, Messages([receiver.url], "regimes SWITCH"))

    def lose_for_a_while() -> bool:
        assert wait_until(lambda: messenger.state == "watching")
        with redis.connect().redis as admin:
            if loss == "full":
                admin.set("regimes:SWITCH:kill", "1")
                admin.config_set("maxmemory", "1")
            else:
                redis.kill()
            lost = "redis_refused" if loss == "full" else "redis_lost"
            assert wait_until(lambda: messenger.counted[lost] > 20)
            if loss == "full":
                admin.config_set("maxmemory", "0")
            else:
                redis.start()
        return wait_until(lambda: receiver.texts[-1:] == ["Redis works again"])

    run_until([messenger], lose_for_a_while)
    redis.stop()
    away = ["Redis is away or stores nothing: no service works until it does", "Redis works again"]
    assert [text for text in receiver.texts if text.startswith("Redis")] == away
    assert sum("NO TRADER IS ACTIVE" in text for text in receiver.texts) == (loss == "full")


def test_a_live_start_without_urls_does_not_import_apprise() -> None:
    probe = "import sys, runners.commands.live, runners.live.running; print('apprise' in sys.modules)"
    ran = subprocess.run([sys.executable, "-c", probe], cwd=ROOT, capture_output=True, text=True, check=True)
    assert ran.stdout == "False\n"


@pytest.mark.parametrize("place", ["settings", "a single one in the settings", "the environment"])
def test_the_command_sends_a_test_message(
    workspace: Path, receiver: HttpReceiver, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    urls: Any = receiver.url if place.startswith("a single") else [receiver.url, receiver.url]
    if place == "the environment":
        monkeypatch.setenv("REGIMES_MESSAGES", "\n".join(urls))
        urls = ["json://127.0.0.1:1"]
    (workspace / "regimes.toml").write_text(tomli_w.dumps({"live": {"messages": urls}}))
    ran = invoke(workspace, "live", "messenger", "SWITCH", "--test")
    assert (ran.returncode, "JSON 1: accepted" in ran.stdout) == (0, True)
    assert len(receiver.texts) == (1 if place.startswith("a single") else 2)
    assert SECRET not in ran.stdout + ran.stderr
    receiver.refuses = True
    ran = invoke(workspace, "live", "messenger", "SWITCH", "--test")
    assert (ran.returncode, "JSON 1: NOT ACCEPTED" in ran.stdout) == (1, True)


def test_without_urls_the_command_says_where_to_set_them(workspace: Path) -> None:
    ran = invoke(workspace, "live", "messenger", "SWITCH", "--test")
    assert ran.returncode == 2
    assert "there is nobody to send messages to. Set REGIMES_MESSAGES, or messages in [live]." in ran.stderr


def test_urls_are_never_shown(workspace: Path) -> None:
    config = workspace / "regimes.toml"
    config.write_text(tomli_w.dumps({"live": {"messages": [f"json://{SECRET}"]}}))
    for command in (["config"], ["config", "--json"]):
        ran = invoke(workspace, *command)
        assert ran.returncode == 0
        assert "live.messages" in ran.stdout
        assert SECRET not in ran.stdout
    config.write_text(tomli_w.dumps({"live": {"messages": {"url": f"json://{SECRET}"}}}))
    ran = invoke(workspace, "live", "messenger", "SWITCH")
    assert ran.returncode == 2
    assert "messages: Input should be a valid tuple, but something else was given" in ran.stderr
    assert "--messages" not in invoke(workspace, "live", "run", "--help").stdout
