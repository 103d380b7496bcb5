"""Makes one decision per forecast and lets a broker trade."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path

import pandas as pd

from data.errors import LiveError
from runners.live.bus.bus import BarDecision, Bus, Connect
from runners.live.bus.lease import Lease
from runners.live.bus.stream import Entry
from runners.live.services.service import WAIT, Service
from runners.live.trading.broker import BrokerRejectedError, BrokerUnavailableError
from runners.live.trading.decider import PositionDecider

_BATCH = 100
_FIRST_PAUSE, _LONGEST_PAUSE = 2.0, 30.0  # seconds before the next request to an unavailable broker
_LONGEST_PAUSE_STOPPING = 5.0  # the same while the kill switch is set


class Trader(Service):
    """Decides on each forecast with the backtest's rule, and lets its broker trade.

    A decision and the state after it are committed together, before the order is sent. The order's id is made from its
    bar. So a trader that is killed at any moment neither loses an order nor sends one twice. A lease ensures a single
    active trader.

    Parameters
    ----------
    new_decider
        Returns a decider in its initial state.
    kill_file
        While this file exists, the trader closes the position and ends.

    Attributes
    ----------
    decided_up_to
        The last bar that has a decision; None before the first.
    """

    name = "trader"

    def __init__(
        self, connect: Connect, new_decider: Callable[[], PositionDecider], facts: Mapping[str, str], kill_file: Path
    ) -> None:
        super().__init__(connect)
        self.facts = facts
        self._new_decider, self._kill_file = new_decider, kill_file
        self._lease = Lease()
        self._stop_reason: str | None = None  # stored here too, because Redis may lose the kill switch
        self.decided_up_to: pd.Timestamp | None = None

    def work(self, bus: Bus, stop: threading.Event) -> None:
        self._lease.acquire(bus, stop)
        try:
            self._trade(bus, stop)
        finally:
            self._lease.release(bus)

    def _trade(self, bus: Bus, stop: threading.Event) -> None:
        decider, ended, pause = None, False, _FIRST_PAUSE
        while not (stop.is_set() or ended):
            self._lease.renew(bus)
            try:
                decider = decider or self._start_decider(bus)
                ended = self._step(bus, decider, stop)
                pause = _FIRST_PAUSE
            except BrokerUnavailableError as error:
                rejected = isinstance(error, BrokerRejectedError)
                self.counted["broker_lost"] += 1
                log = self.log.error if rejected else self.log.warning
                log("the broker rejects requests" if rejected else "the broker cannot be reached", why=str(error))
                if rejected and decider is None and not self._kill_reason(bus):
                    raise LiveError(
                        f"the exchange rejects the trader's requests ({type(error.__cause__).__name__}; the log has "
                        "its message). Check the key, its permissions, and whether it is for this market."
                    ) from None
                self._wait(bus, stop, pause, "rejected by the broker" if rejected else "broker unavailable")
                pause = min(2 * pause, _LONGEST_PAUSE_STOPPING if self._stop_reason else _LONGEST_PAUSE)

    def _start_decider(self, bus: Bus) -> PositionDecider:
        """A decider with the committed state, reconciled with the account."""
        state = bus.trader_state()
        if state and state["stopped"] and not state["stopping"]:
            raise LiveError(
                f"the trader of {bus.name} was stopped ({state['stopped']}). When the problem is solved, run: "
                f"regimes live resume {bus.name}"
            )
        decider = self._new_decider()
        decider.restore(state)
        if not (decider.stopped or self._kill_reason(bus)):
            decider.broker.require_exclusive()
        bus.store_facts(self.facts)
        self._commit(bus, decider)  # from now on Redis has the account's position
        return decider

    def _wait(self, bus: Bus, stop: threading.Event, seconds: float, state: str) -> None:
        """Wait until the time is over or the kill switch is set."""
        before, end = self._kill_reason(bus), time.monotonic() + seconds
        while time.monotonic() < end and self._kill_reason(bus) == before:
            self._lease.renew(bus)
            self.heartbeat(bus, state)
            if stop.wait(WAIT):
                return

    def _step(self, bus: Bus, decider: PositionDecider, stop: threading.Event) -> bool:
        """Decide on the new forecasts; True once the kill switch has ended trading."""
        reason = decider.stopped or self._kill_reason(bus)
        if reason:
            ended = self._close_position(bus, decider, reason)
            if not ended:
                stop.wait(WAIT)
            return ended
        self._process_order(bus, decider)
        for entry in bus.forecasts.after(decider.time, _BATCH, wait=WAIT):
            self._decide(bus, decider, entry)
            self._process_order(bus, decider)
            self._lease.renew(bus)
            self.heartbeat(bus, "deciding")
            if stop.is_set() or self._kill_reason(bus):
                return False
        if decider.time is not None:
            bus.forecasts.trim_before(decider.time)
        self.heartbeat(bus, "waiting for a forecast")
        return False

    def _kill_reason(self, bus: Bus) -> str | None:
        """How the kill switch was set; None if it is not set."""
        if self._stop_reason is None and self._kill_file.exists():
            self._stop_reason = f"kill switch: the file {self._kill_file.name}"
        elif self._stop_reason is None and bus.kill_switch_is_set():
            self._stop_reason = "kill switch: regimes live kill"
        return self._stop_reason

    def _decide(self, bus: Bus, decider: PositionDecider, entry: Entry) -> None:
        decision = decider.decide(entry)
        values = asdict(decision)
        self._commit(bus, decider, (entry.time, 0, values))
        self.decided_up_to = entry.time
        self.counted["decisions"] += 1
        self.counted["orders"] += decision.order != 0
        self.log.info("decision", candle=str(entry.time), **values)

    def _process_order(self, bus: Bus, decider: PositionDecider) -> None:
        if decider.broker.process_order():
            self._commit(bus, decider)  # so that a fill is known before the next bar

    def _commit(self, bus: Bus, decider: PositionDecider, decision: BarDecision | None = None) -> None:
        bus.commit({**decider.state(), "by": self._lease.holder}, decision)

    def _close_position(self, bus: Bus, decider: PositionDecider, reason: str) -> bool:
        """Close the position and stop trading; False until that is done."""
        if not decider.stopping:
            decider.begin_to_stop(reason)
            self._commit(bus, decider)  # from now on `resume` is refused until the position is closed
        decision = decider.stop(reason, bus.now())
        if decision is None:
            self._commit(bus, decider)
            self.heartbeat(bus, "stopping")
            return False
        last = (decider.time, decider.version + 1, asdict(decision)) if decider.time is not None else None
        self._commit(bus, decider, last)
        self.log.warning("stopped", why=reason, position=decision.position, equity=decision.equity)
        self.heartbeat(bus, "stopped")
        return True
