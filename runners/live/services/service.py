"""What every live service has in common: it starts from what Redis knows, and so goes on after any failure."""

from __future__ import annotations

import threading
import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Mapping

import structlog

from runners.live.bus.bus import Bus, redis_refuses

WAIT = 0.5  # seconds that a service waits for something new before it looks at whether it is to stop
_BEAT = 1.0
_LONGEST_PAUSE = 30.0

Connect = Callable[[], Bus]
log = structlog.get_logger()


class Service(ABC):
    """A loop that takes in what is new and passes on what follows from it.

    Whatever it must know it finds in Redis when it starts, so losing Redis is one more start. Subclasses write `work`.

    Parameters
    ----------
    connect
        Gives the bus; called anew whenever the connection was lost.

    Attributes
    ----------
    name
        Of the service, such as ``engine``.
    state
        What it is doing, in a word or two.
    counted
        Events since its start, by name.
    facts
        What it trades, which must not change while the bus remembers: see `Bus.require_same`. Subclasses let the bus
        remember it, once they know that it can be traded.
    """

    name: str
    facts: Mapping[str, str] = {}

    def __init__(self, connect: Connect) -> None:
        self.connect = connect
        self.state = "starting"
        self.counted: Counter[str] = Counter()
        self.log = log.bind(service=self.name)
        self._beat_at = 0.0

    def run(self, stop: threading.Event) -> None:
        """Work until ``stop`` is set; without Redis, try to reach it again and again.

        Raises
        ------
        RegimesError
            What makes it pointless to go on.
        """
        import redis

        pause = WAIT
        while not stop.is_set():
            try:
                bus = self.connect()
                bus.require_same(self.facts)
                self.log.info("started", bus=bus.name)
                pause = WAIT
                self.work(bus, stop)
                if stop.is_set():
                    self._say_ended(bus)
                return
            except (redis.AuthenticationError, redis.ResponseError) as error:
                raise redis_refuses(error) from error
            except (redis.ConnectionError, redis.TimeoutError) as error:
                self.log.warning("no Redis", why=str(error), tries_again_in=pause)
                self.counted["redis_lost"] += 1
                stop.wait(pause)
                pause = min(2 * pause, _LONGEST_PAUSE)

    @abstractmethod
    def work(self, bus: Bus, stop: threading.Event) -> None:
        """Set up from what the bus knows, then loop until ``stop`` is set; a lost connection may end it anywhere."""

    def beat(self, bus: Bus, state: str) -> None:
        """Say that the service is alive and what it does, once a second at most."""
        now = time.monotonic()
        if state != self.state or now - self._beat_at >= _BEAT:
            self.state, self._beat_at = state, now
            bus.beat(self.name, {"state": state, "counted": dict(self.counted)})

    def _say_ended(self, bus: Bus) -> None:
        self.beat(bus, "ended")
        self.log.info("ended")
