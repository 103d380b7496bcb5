"""`regimes live status`, `kill`, `resume` and `forget`: how the services are, and the kill switch."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from data.errors import LiveError
from runners.live.bus.bus import Bus
from runners.live.bus.connection import MeetingPoint, reached
from runners.live.bus.lease import Lease
from runners.live.status import Status, read_services, read_status
from runners.terminal import notice, out, print_table, say

_PATIENCE = 60.0  # seconds that `kill` waits for the trader to stop
_LOOK = 0.1


def tell_status(point: MeetingPoint, *, json: bool) -> None:
    """Print how all services are."""
    _require_folder(point)
    with reached(point.connect) as bus:
        status = read_status(bus)
    if json:
        print(status.model_dump_json())
        return
    print_table(f"{status.name}: {status.mode or 'no trader yet'}", ["what", "is"], _rows(status))
    services = [
        [name, "SILENT" if one.silent else one.state, f"{one.seconds_ago:.0f} s ago", _count(one.behind)]
        for name, one in status.services.items()
    ]
    print_table("", ["service", "state", "last word", "bars behind"], services)
    if status.stopping:
        say(f"STOPPING: {status.stopped}. The position is not closed yet.")
    elif status.stopped:
        say(f"STOPPED: {status.stopped}. It goes on after: regimes live resume --dataset {status.name}")
    elif status.kill_switch or point.kill_file.exists():
        say("THE KILL SWITCH IS THROWN: the trader closes the position and ends, at once or when it is started.")


def ask_to_stop(point: MeetingPoint) -> bool:
    """Throw the kill switch, and wait for the trader to close the position and end.

    Returns
    -------
    bool
        Whether it has; where none is at work, the next one that starts does.

    Raises
    ------
    LiveError
        If there is nobody to tell, or Redis does not take the word.
    """
    try:
        with _known(point) as bus:
            stopped_before, at_work, held = _stopped(bus), Lease.is_taken(bus), _last_heard(bus)
            bus.ask_to_stop(True)
    except LiveError as error:
        raise LiveError(f"NOTHING WAS CLOSED: {error}") from None
    if stopped_before:
        say(f"The trader of {point.name} was stopped before, and held nothing then. Nothing is looked at now.")
        return True
    if not at_work:
        say(
            f"NOTHING WAS CLOSED: no trader of {point.name} is at work in this Redis. The next one that starts closes "
            f"the position at once, and ends.{held}"
        )
        return False
    notice(f"The trader of {point.name} was told to close its position and to stop.")
    trouble = _wait_until_stopped(point)
    if not trouble:
        say(f"The trader of {point.name} has stopped, and holds nothing.")
        return True
    say(f"THE POSITION MAY STILL BE OPEN: {trouble} Look at the account itself.{held}")
    return False


def _wait_until_stopped(point: MeetingPoint) -> str:
    """Why it is not known that the trader has stopped, after a minute at most; nothing if it has."""
    end, trouble = time.monotonic() + _PATIENCE, ""
    while time.monotonic() < end:
        try:
            with reached(point.connect) as bus:
                if _stopped(bus):
                    return ""
                state = bus.trader_state()
                if not Lease.is_taken(bus):
                    return "the trader ended before it said that all is closed. The next one that starts goes on."
                if not (bus.asked_to_stop() or (state and state["stopping"])):
                    return "the kill switch was taken back meanwhile."
                told = read_services(bus).get("trader")
                does = "starting" if told is None else told.state
                if told is not None and told.silent:
                    does = f"silent, its last word was {told.seconds_ago:.0f} s ago"
                trouble = f"after {_PATIENCE:.0f} s the trader has not stopped, but goes on trying; it is {does}."
        except LiveError as error:  # such as of a Redis that is started again
            trouble = f"the trader was told, but then: {error}"
        time.sleep(_LOOK)
    return trouble


def let_resume(point: MeetingPoint) -> None:
    """Take the kill switch back, in Redis and as a file.

    Raises
    ------
    LiveError
        If the trader is at it, or was when it ended.
    """
    with _known(point) as bus:
        thrown = bus.asked_to_stop() or point.kill_file.exists()
        stopped = bus.resume()
        point.kill_file.unlink(missing_ok=True)
    if stopped:
        out.print(
            f"The trader of {point.name} may start again; it begins with the next candle that is forecast.",
            soft_wrap=True,
        )
    elif thrown:
        out.print(f"The kill switch is taken back; the trader of {point.name} had not stopped yet.", soft_wrap=True)
    else:
        out.print(f"The trader of {point.name} was not stopped.")


def forget(point: MeetingPoint) -> None:
    """Remove all that Redis has of a dataset's services, and the file of the kill switch.

    Raises
    ------
    LiveError
        If one of them is at work, or an exchange's account holds what only they know of.
    """
    with _known(point) as bus:
        at_work = sorted(name for name, one in read_services(bus).items() if not (one.ended or one.silent))
        if at_work or Lease.is_taken(bus):
            raise LiveError(
                f"{point.name} is at work: {', '.join(at_work) or 'trader'} said something a moment ago. End all its "
                "services first."
            )
        held = _held_elsewhere(bus)
        if held:
            raise LiveError(f"the trader of {point.name} left {held}. Start it, then: regimes live kill")
        bus.forget()
        point.kill_file.unlink(missing_ok=True)
    out.print(f"All that Redis had of {point.name}'s live services is gone; they begin anew.", soft_wrap=True)


@contextmanager
def _known(point: MeetingPoint) -> Iterator[Bus]:
    """The bus of services that have been at work: a word to others would reach nobody, and seem to have been heard.

    Raises
    ------
    LiveError
        If there were none.
    """
    _require_folder(point)
    with reached(point.connect) as bus:
        if not (bus.facts() or bus.beats()):
            known = ", ".join(bus.others()) or "none at all"
            raise LiveError(
                f"this Redis knows no live services of {point.name}; it knows of {known}. Name --dataset, --home and "
                "--redis as they do."
            )
        yield bus


def _require_folder(point: MeetingPoint) -> None:
    """Look for the folder of an own Redis, which would be made otherwise."""
    if point.redis_url is None and not point.folder.is_dir():
        raise LiveError(
            f"nothing of {point.name} was live here: there is no {point.folder}. Name --dataset, --home and --redis as "
            "its services do."
        )


def _stopped(bus: Bus) -> bool:
    state = bus.trader_state()
    return bool(state and state["stopped"] and not state["stopping"])


def _last_heard(bus: Bus) -> str:
    """What the trader held when it committed something last, as a sentence; nothing if it never did."""
    state = bus.trader_state()
    if state is None:
        return ""
    position = state["broker"].get("size", state["broker"].get("position"))  # of a paper account, or an exchange's
    order = state["broker"]["order"]
    units = order["units"] if isinstance(order, dict) else order
    ordered = f", and {units:+g} was ordered" if units else ""
    return f" When it was heard of last, it held {position:g}{ordered}."


def _held_elsewhere(bus: Bus) -> str:
    """What an exchange's account holds or is about to, in words; on paper nothing is lost."""
    try:
        state = bus.trader_state()
    except LiveError:  # it cannot be read, and who is to mend that begins anew
        return ""
    if state is None or bus.facts().get("mode") == "paper":
        return ""
    broker: dict[str, Any] = state["broker"]
    if broker["order"]:
        return f"the order {broker['order']['id']} under way"
    return f"a position of {broker['position']:g}" if broker["position"] else ""


def _rows(status: Status) -> list[list[str]]:
    forecast, decision = status.forecast, status.decision
    rows = [["symbol", f"{status.symbol or '-'} {status.timeframe or ''}".strip()]]
    rows.append(["last candle opened", f"{status.last_candle:%Y-%m-%d %H:%M} UTC" if status.last_candle else "-"])
    if forecast:
        known = forecast.log_return is not None
        rows += [
            ["regime", forecast.regime_name or "not known yet"],
            ["forecast", f"{forecast.log_return:+.4%}" if known else "not known yet"],
            ["models", forecast.models or "-"],
        ]
    if decision:
        rows.append(["position", f"{decision.position:g}"])
        rows.append(["order", f"{decision.order:+g}" if decision.order else "none"])
        rows.append(["limited by", decision.reason or "-"])
        rows.append(["equity", f"{decision.equity:,.2f}"])
    return [*rows, ["dead letters", str(status.dead_letters)]]


def _count(bars: int | None) -> str:
    return "-" if bars is None else str(bars)
