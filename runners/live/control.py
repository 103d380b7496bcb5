"""Reads the services' status, operates the kill switch and removes stored state."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from data.errors import LiveError
from runners.live.bus.bus import Bus
from runners.live.bus.connection import BusLocation, connected
from runners.live.bus.lease import Lease
from runners.live.status import Status, read_services, read_status

_KILL_TIMEOUT = 60.0  # seconds that `kill` waits for the trader to stop
_POLL_SECONDS = 0.1


@dataclass(frozen=True)
class KillResult:
    """Result of `kill`.

    Attributes
    ----------
    is_closed
        Whether it is known that the trader has stopped and holds nothing.
    message
        The same in a sentence, with what to do otherwise.
    """

    is_closed: bool
    message: str


def current_status(location: BusLocation) -> Status:
    """State of all services, as Redis has it.

    Raises
    ------
    LiveError
        If the dataset never was live here, or Redis cannot be reached.
    """
    _require_folder(location)
    with connected(location.connect) as bus:
        return read_status(bus)


def kill(location: BusLocation, notify: Callable[[str], None]) -> KillResult:
    """Set the kill switch, and wait for the trader to close the position and end.

    Without a running trader, the next one that starts closes the position. ``notify`` is called before the wait.

    Raises
    ------
    LiveError
        If Redis cannot be reached, or knows nothing of the dataset.
    """
    try:
        with _used_bus(location) as bus:
            was_stopped, is_running, position = _stopped(bus), Lease.is_held(bus), _last_position(bus)
            bus.set_kill_switch(True)
    except LiveError as error:
        raise LiveError(f"NOTHING WAS CLOSED: {error}") from None
    if was_stopped:
        return KillResult(
            True, f"The trader of {location.name} was stopped before, and held nothing then. Nothing is looked at now."
        )
    if not is_running:
        return KillResult(
            False,
            f"NOTHING WAS CLOSED: no trader of {location.name} is at work in this Redis. The next one that starts "
            f"closes the position at once, and ends.{position}",
        )
    notify(f"The trader of {location.name} was told to close its position and to stop.")
    problem = _wait_until_stopped(location)
    if problem:
        return KillResult(False, f"THE POSITION MAY STILL BE OPEN: {problem} Look at the account itself.{position}")
    return KillResult(True, f"The trader of {location.name} has stopped, and holds nothing.")


def _wait_until_stopped(location: BusLocation) -> str:
    """Wait a minute at most; returns why the trader may not have stopped, or an empty string."""
    end, problem = time.monotonic() + _KILL_TIMEOUT, ""
    while time.monotonic() < end:
        try:
            with connected(location.connect) as bus:
                if _stopped(bus):
                    return ""
                state = bus.trader_state()
                if not Lease.is_held(bus):
                    return "the trader ended before it said that all is closed. The next one that starts goes on."
                if not (bus.kill_switch_is_set() or (state and state["stopping"])):
                    return "the kill switch was taken back meanwhile."
                trader = read_services(bus).get("trader")
                doing = "starting" if trader is None else trader.state
                if trader is not None and trader.silent:
                    doing = f"silent, its last word was {trader.seconds_ago:.0f} s ago"
                problem = f"after {_KILL_TIMEOUT:.0f} s the trader has not stopped, but goes on trying; it is {doing}."
        except LiveError as error:  # Redis may be restarting
            problem = f"the trader was told, but then: {error}"
        time.sleep(_POLL_SECONDS)
    return problem


def resume(location: BusLocation) -> str:
    """Clear the kill switch, in Redis and as a file; returns what that changed, as a sentence.

    Raises
    ------
    LiveError
        If the trader is closing its position, or was when it ended.
    """
    with _used_bus(location) as bus:
        was_set = bus.kill_switch_is_set() or location.kill_file.exists()
        stopped = bus.resume()
        location.kill_file.unlink(missing_ok=True)
    if stopped:
        return f"The trader of {location.name} may start again; it begins with the next candle that is forecast."
    if was_set:
        return f"The kill switch is taken back; the trader of {location.name} had not stopped yet."
    return f"The trader of {location.name} was not stopped."


def forget(location: BusLocation) -> None:
    """Remove a dataset's state from Redis, and the kill switch's file.

    Raises
    ------
    LiveError
        If a service is running, or an exchange's account holds a position or an order of the trader's.
    """
    with _used_bus(location) as bus:
        running = sorted(name for name, one in read_services(bus).items() if not (one.ended or one.silent))
        if running or Lease.is_held(bus):
            raise LiveError(
                f"{location.name} is at work: {', '.join(running) or 'trader'} said something a moment ago. End all "
                "its services first."
            )
        held = _exchange_position(bus)
        if held:
            raise LiveError(f"the trader of {location.name} left {held}. Start it, then: regimes live kill")
        bus.forget()
        location.kill_file.unlink(missing_ok=True)


@contextmanager
def _used_bus(location: BusLocation) -> Iterator[Bus]:
    """The bus, if services have used it: a command to a mistyped dataset would reach nobody without an error.

    Raises
    ------
    LiveError
        If none have.
    """
    _require_folder(location)
    with connected(location.connect) as bus:
        if not (bus.facts() or bus.heartbeats()):
            known = ", ".join(bus.datasets()) or "none at all"
            raise LiveError(
                f"this Redis knows no live services of {location.name}; it knows of {known}. Name the dataset, "
                "--workspace and --redis as they do."
            )
        yield bus


def _require_folder(location: BusLocation) -> None:
    """Check that the embedded Redis's folder exists, because connecting would create it."""
    if location.redis_url is None and not location.folder.is_dir():
        raise LiveError(
            f"nothing of {location.name} was live here: there is no {location.folder}. Name the dataset, --workspace "
            "and --redis as its services do."
        )


def _stopped(bus: Bus) -> bool:
    state = bus.trader_state()
    return bool(state and state["stopped"] and not state["stopping"])


def _last_position(bus: Bus) -> str:
    """What the trader held at its last commit, as a sentence; empty without one."""
    state = bus.trader_state()
    if state is None:
        return ""
    position = state["broker"].get("size", state["broker"].get("position"))  # paper account or exchange
    order = state["broker"]["order"]
    units = order["units"] if isinstance(order, dict) else order
    ordered = f", and {units:+g} was ordered" if units else ""
    return f" When it was heard of last, it held {position:g}{ordered}."


def _exchange_position(bus: Bus) -> str:
    """What an exchange's account holds or has ordered, in words; empty on paper."""
    try:
        state = bus.trader_state()
    except LiveError:  # a damaged state is a reason to forget it
        return ""
    if state is None or bus.facts().get("mode") == "paper":
        return ""
    broker: dict[str, Any] = state["broker"]
    if broker["order"]:
        return f"the order {broker['order']['id']} under way"
    return f"a position of {broker['position']:g}" if broker["position"] else ""
