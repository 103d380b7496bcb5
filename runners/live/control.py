"""Implements the commands `status`, `kill`, `resume` and `forget`."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

from data.errors import LiveError
from runners.live.bus.bus import Bus
from runners.live.bus.connection import BusLocation, connected
from runners.live.bus.lease import Lease
from runners.live.status import Status, read_services, read_status

_KILL_TIMEOUT = 60.0  # seconds that `kill` waits for the trader to stop
_POLL_SECONDS = 0.1


class KillResult(NamedTuple):
    """Whether the trader confirmed that it stopped without a position, and a message for the user."""

    is_closed: bool
    message: str


def current_status(location: BusLocation) -> Status:
    """Status of all services; raises LiveError if the dataset was never live here or Redis cannot be reached."""
    _require_folder(location)
    with connected(location.connect) as bus:
        return read_status(bus)


def kill(location: BusLocation, notify: Callable[[str], None]) -> KillResult:
    """Set the kill switch, and wait until the trader has closed the position and ended.

    Without a running trader, the next one that starts closes the position. ``notify`` is called before the wait.

    Raises
    ------
    LiveError
        If Redis cannot be reached or has no data of the dataset.
    """
    try:
        with _used_bus(location) as bus:
            was_stopped, is_running, position = _stopped(bus), Lease.is_held(bus), _last_position(bus)
            bus.set_kill_switch(True)
    except LiveError as error:
        raise LiveError(f"NOTHING WAS CLOSED: {error}") from None
    if was_stopped:
        message = f"The trader of {location.name} had already stopped without a position. The account was not checked."
        return KillResult(True, message)
    if not is_running:
        message = (
            f"NOTHING WAS CLOSED: no trader of {location.name} is active in this Redis. The next one that starts "
            f"closes the position and ends.{position}"
        )
        return KillResult(False, message)
    notify(f"The trader of {location.name} is closing its position.")
    problem = _wait_until_stopped(location)
    if problem:
        return KillResult(False, f"THE POSITION MAY STILL BE OPEN: {problem} Check the account itself.{position}")
    return KillResult(True, f"The trader of {location.name} has stopped and holds no position.")


def _wait_until_stopped(location: BusLocation) -> str:
    """Wait at most one minute; returns why the trader may not have stopped, or an empty string."""
    end, problem = time.monotonic() + _KILL_TIMEOUT, ""
    while time.monotonic() < end:
        try:
            with connected(location.connect) as bus:
                if _stopped(bus):
                    return ""
                state = bus.trader_state()
                if not Lease.is_held(bus):
                    return "the trader ended before the position was closed. The next one that starts continues."
                if not (bus.kill_switch_is_set() or (state and state["stopping"])):
                    return "the kill switch was cleared in the meantime."
                trader = read_services(bus).get("trader")
                state_text = "starting" if trader is None else trader.state
                if trader is not None and trader.silent:
                    state_text = f"silent, last heartbeat {trader.seconds_ago:.0f} s ago"
                problem = f"after {_KILL_TIMEOUT:.0f} s the trader is still trying to stop (state: {state_text})."
        except LiveError as error:  # Redis may be restarting
            problem = f"the kill switch is set, but then: {error}"
        time.sleep(_POLL_SECONDS)
    return problem


def resume(location: BusLocation) -> str:
    """Clear the kill switch, in Redis and as a file; returns a message for the user.

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
        return f"The trader of {location.name} may start again. It begins with the next candle that is forecast."
    if was_set:
        return f"The kill switch is cleared; the trader of {location.name} had not stopped yet."
    return f"The trader of {location.name} was not stopped."


def forget(location: BusLocation) -> None:
    """Remove a dataset's state from Redis, and the kill switch's file.

    Raises
    ------
    LiveError
        If a service is running, or the trader left a position or an order at the exchange.
    """
    with _used_bus(location) as bus:
        running = sorted(name for name, one in read_services(bus).items() if not (one.ended or one.silent))
        if running or Lease.is_held(bus):
            names = ", ".join(running) or "trader"
            raise LiveError(f"services of {location.name} are still running ({names}). Stop them first.")
        held = _exchange_position(bus)
        if held:
            raise LiveError(f"the trader of {location.name} left {held}. Start it, then run: regimes live kill")
        bus.forget()
        location.kill_file.unlink(missing_ok=True)


@contextmanager
def _used_bus(location: BusLocation) -> Iterator[Bus]:
    """The bus; raises LiveError if no service has used it, because the dataset may be mistyped."""
    _require_folder(location)
    with connected(location.connect) as bus:
        if not (bus.facts() or bus.heartbeats()):
            raise LiveError(
                f"this Redis has no live services of {location.name}, only of: {', '.join(bus.datasets()) or 'none'}. "
                "Use the dataset, --workspace and --redis of the services."
            )
        yield bus


def _require_folder(location: BusLocation) -> None:
    """Check that the embedded Redis's folder exists, because connecting would create it."""
    if location.redis_url is None and not location.folder.is_dir():
        raise LiveError(
            f"{location.name} was never live here: {location.folder} does not exist. Use the dataset, --workspace and "
            "--redis of the services."
        )


def _stopped(bus: Bus) -> bool:
    state = bus.trader_state()
    return bool(state and state["stopped"] and not state["stopping"])


def _last_position(bus: Bus) -> str:
    """Sentence with the position at the trader's last commit; empty without one."""
    state = bus.trader_state()
    if state is None:
        return ""
    position = state["broker"].get("size", state["broker"].get("position"))  # paper account or exchange
    order = state["broker"]["order"]
    units = order["units"] if isinstance(order, dict) else order
    ordered = f", with an order of {units:+g}" if units else ""
    return f" Its last known position was {position:g}{ordered}."


def _exchange_position(bus: Bus) -> str:
    """Text with the position or pending order that the trader left at the exchange; empty on paper."""
    try:
        state = bus.trader_state()
    except LiveError:  # a damaged state is a reason to forget it
        return ""
    if state is None or bus.facts().get("mode") == "paper":
        return ""
    broker = state["broker"]
    if broker["order"]:
        return f"the order {broker['order']['id']} pending"
    return f"a position of {broker['position']:g}" if broker["position"] else ""
