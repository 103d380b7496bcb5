"""The trader: forecasts in, decisions and orders out, each once."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path

import pandas as pd

from data.errors import LiveError
from runners.live.bus.bus import BarDecision, Bus, Entry
from runners.live.bus.lease import Lease
from runners.live.services.service import WAIT, Connect, Service
from runners.live.trading.broker import BrokerAwayError, BrokerRefusesError
from runners.live.trading.decider import Desk

_AT_ONCE = 100
_FIRST_PAUSE, _LONGEST_PAUSE = 2.0, 30.0  # seconds until a broker that could not be reached is asked again
_LONGEST_STOPPING = 5.0  # with a position to be closed


class Trader(Service):
    """Decides on each forecast with the backtest's rule, and has its broker trade.

    A decision and all that is to be remembered after it are committed in one step, before an order is sent; the order's
    id is that of its bar. So a trader that is killed at any moment neither forgets an order nor sends one twice. There
    is one at a time: another one gives way, or waits until the one before is known to be gone.

    Parameters
    ----------
    new_desk
        Makes a desk as it is before its first bar.
    facts
        As in `Service`.
    kill_file
        While this file is there, nothing is traded: the position is closed at once, and the trader ends.

    Attributes
    ----------
    decided_up_to
        The last bar that it has decided on, None before the first.
    """

    name = "trader"

    def __init__(
        self, connect: Connect, new_desk: Callable[[], Desk], facts: Mapping[str, str], kill_file: Path
    ) -> None:
        super().__init__(connect)
        self.facts = facts
        self._new_desk, self._kill_file = new_desk, kill_file
        self._lease = Lease()
        self._told: str | None = None  # to stop, and why; Redis may forget that, but not this process
        self.decided_up_to: pd.Timestamp | None = None

    def work(self, bus: Bus, stop: threading.Event) -> None:
        self._lease.take(bus, stop)
        try:
            self._trade(bus, stop)
        finally:
            self._lease.give_back(bus)

    def _trade(self, bus: Bus, stop: threading.Event) -> None:
        desk, ended, pause = None, False, _FIRST_PAUSE
        while not (stop.is_set() or ended):
            self._lease.keep(bus)
            try:
                desk = desk or self._begin(bus)
                ended = self._step(bus, desk, stop)
                pause = _FIRST_PAUSE
            except BrokerAwayError as error:
                refuses = isinstance(error, BrokerRefusesError)
                self.counted["broker_lost"] += 1
                say = self.log.error if refuses else self.log.warning
                say("the broker refuses" if refuses else "the broker cannot be reached", why=str(error))
                if refuses and desk is None and not self._told_to_stop(bus):
                    raise LiveError(
                        f"the exchange does not let the trader in ({type(error.__cause__).__name__}; its words are in "
                        "the log). Are the key and its permissions right, and are they for this market?"
                    ) from None
                self._wait(bus, stop, pause, "refused by the broker" if refuses else "without broker")
                pause = min(2 * pause, _LONGEST_STOPPING if self._told else _LONGEST_PAUSE)

    def _begin(self, bus: Bus) -> Desk:
        """A desk that goes on from what was committed last, and from what is there."""
        state = bus.trader_state()
        if state and state["stopped"] and not state["stopping"]:
            raise LiveError(
                f"the trader of {bus.name} was stopped ({state['stopped']}). When all is well again: "
                f"regimes live resume --dataset {bus.name}"
            )
        desk = self._new_desk()
        desk.restore(state)
        if not (desk.stopped or self._told_to_stop(bus)):
            desk.broker.require_alone()
        bus.remember(self.facts)
        self._commit(bus, desk)  # what the account has is known from now on
        return desk

    def _wait(self, bus: Bus, stop: threading.Event, seconds: float, state: str) -> None:
        """Wait, but no longer than until the kill switch is thrown."""
        told, end = self._told_to_stop(bus), time.monotonic() + seconds
        while time.monotonic() < end and self._told_to_stop(bus) == told:
            self._lease.keep(bus)
            self.beat(bus, state)
            if stop.wait(WAIT):
                return

    def _step(self, bus: Bus, desk: Desk, stop: threading.Event) -> bool:
        """Take in what is there; True if the kill switch has ended all."""
        why = desk.stopped or self._told_to_stop(bus)
        if why:
            ended = self._stopped(bus, desk, why)
            if not ended:
                stop.wait(WAIT)
            return ended
        desk.broker.work()
        for entry in bus.forecasts.after(desk.time, _AT_ONCE, wait=WAIT):
            self._decide(bus, desk, entry)
            desk.broker.work()
            self._lease.keep(bus)
            self.beat(bus, "deciding")
            if stop.is_set() or self._told_to_stop(bus):
                return False
        if desk.time is not None:
            bus.forecasts.drop_before(desk.time)
        self.beat(bus, "waiting for a forecast")
        return False

    def _told_to_stop(self, bus: Bus) -> str | None:
        if self._told is None and self._kill_file.exists():
            self._told = f"kill switch: the file {self._kill_file.name}"
        elif self._told is None and bus.asked_to_stop():
            self._told = "kill switch: regimes live kill"
        return self._told

    def _decide(self, bus: Bus, desk: Desk, entry: Entry) -> None:
        decision = desk.decide(entry)
        values = asdict(decision)
        self._commit(bus, desk, (entry.time, 0, values))
        self.decided_up_to = entry.time
        self.counted["decisions"] += 1
        self.counted["orders"] += decision.order != 0
        self.log.info("decision", candle=str(entry.time), **values)

    def _commit(self, bus: Bus, desk: Desk, decision: BarDecision | None = None) -> None:
        bus.commit({**desk.state(), "by": self._lease.mark}, decision)

    def _stopped(self, bus: Bus, desk: Desk, why: str) -> bool:
        """Close the position; False if that could not be done yet."""
        if not desk.stopping:
            desk.begin_to_stop(why)
            self._commit(bus, desk)  # from now on it is not resumed before it has stopped
        decision = desk.stop(why, bus.now())
        if decision is None:
            self._commit(bus, desk)
            self.beat(bus, "stopping")
            return False
        last = (desk.time, desk.version + 1, asdict(decision)) if desk.time is not None else None
        self._commit(bus, desk, last)
        self.log.warning("stopped", why=why, position=decision.position, equity=decision.equity)
        self.beat(bus, "stopped")
        return True
