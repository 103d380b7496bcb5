"""Base class of the live services: reads its state from Redis and reconnects after a failure."""

from __future__ import annotations

import threading
import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Mapping

import structlog

from runners.live.bus.bus import Bus, Connect, redis_refusal

WAIT = 0.5  # seconds that a service waits for something new before it checks whether to stop
_HEARTBEAT_SECONDS = 1.0
_LONGEST_PAUSE = 30.0


class Service(ABC):
    """A loop that reads what is new on the bus, or outside, and writes what follows from it.

    A service keeps its state in Redis only, so after a lost connection it simply starts again. Subclasses implement
    `work`.

    Parameters
    ----------
    connect
        Returns the bus; called again whenever the connection was lost.

    Attributes
    ----------
    name
        Of the service, such as ``engine``.
    state
        What it is doing, in a word or two.
    counted
        Events since its start, by name.
    facts
        What it trades, which must not change: see `Bus.require_same_facts`. Subclasses store the facts in the bus once
        they know that this can be traded.
    """

    name: str
    facts: Mapping[str, str] = {}

    def __init__(self, connect: Connect) -> None:
        self.connect = connect
        self.state = "starting"
        self.counted: Counter[str] = Counter()
        self.log = structlog.get_logger().bind(service=self.name)
        self._heartbeat_at = 0.0

    def run(self, stop: threading.Event) -> None:
        """Work until ``stop`` is set; while Redis is away, try to reconnect.

        Raises
        ------
        RegimesError
            If going on is pointless.
        """
        import redis

        pause = WAIT
        while not stop.is_set():
            try:
                bus = self.connect()
                bus.require_same_facts(self.facts)
                self.log.info("started", bus=bus.name)
                pause = WAIT
                self.work(bus, stop)
                if stop.is_set():
                    self.heartbeat(bus, "ended")
                    self.log.info("ended")
                return
            except (redis.AuthenticationError, redis.ResponseError) as error:
                raise redis_refusal(error) from error
            except (redis.ConnectionError, redis.TimeoutError) as error:
                self.log.warning("no Redis", why=str(error), tries_again_in=pause)
                self.counted["redis_lost"] += 1
                stop.wait(pause)
                pause = min(2 * pause, _LONGEST_PAUSE)

    @abstractmethod
    def work(self, bus: Bus, stop: threading.Event) -> None:
        """Read the state from the bus, then loop until ``stop`` is set; a lost connection may end it anywhere."""

    def heartbeat(self, bus: Bus, state: str) -> None:
        """Store what the service is doing: whenever that changes, else once per second at most."""
        now = time.monotonic()
        if state != self.state or now - self._heartbeat_at >= _HEARTBEAT_SECONDS:
            self.state, self._heartbeat_at = state, now
            bus.heartbeat(self.name, state, self.counted)
