"""Defines the base class of the live services, which connects to Redis and sends heartbeats."""

from __future__ import annotations

import threading
import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress

import redis
import structlog

from data.errors import LiveError
from runners.live.bus.bus import Bus, Connect, is_temporary, redis_refusal

WAIT = 0.5  # seconds that a service waits for new entries before it checks whether to stop
_HEARTBEAT_SECONDS = 1.0
_LONGEST_PAUSE = 30.0


class Service(ABC):
    """A loop that reads new entries and writes results. Subclasses implement `work`.

    A service keeps its state in Redis only, so after a lost connection it calls `work` again.

    Attributes
    ----------
    name
        Name of the service, such as ``engine``.
    state
        What the service is doing, in a word or two.
    counted
        Number of events since the start, by name.
    facts
        What the service trades (`Bus.require_same_facts`). Subclasses store the facts once they have checked them.
    """

    name: str
    facts: Mapping[str, str] = {}

    def __init__(self, connect: Connect) -> None:
        self.connect = connect
        self.state = "starting"
        self.counted: Counter[str] = Counter()
        self.log = structlog.get_logger().bind(service=self.name)
        self._heartbeat_at = 0.0
        self._redis_pause, self._has_worked = WAIT, False

    def run(self, stop: threading.Event) -> None:
        """Work until ``stop`` is set, and again after a lost connection to Redis or a temporary refusal by it.

        Raises
        ------
        RegimesError
            If a retry would not help.
        """
        try:
            self._run(stop)
        except Exception:
            if self._has_worked:
                with suppress(Exception):
                    self.heartbeat(self.connect(), "failed")
            raise

    def _run(self, stop: threading.Event) -> None:
        while not stop.is_set():
            try:
                bus = self._connected()
                bus.require_same_facts(self.facts)
                self.log.info("started", bus=bus.name)
                self.work(bus, stop)
                if stop.is_set():
                    self.heartbeat(bus, "ended")
                    self.log.info("ended")
                return
            except redis.ResponseError as error:
                if not is_temporary(error):
                    raise redis_refusal(error) from error
                self.log.error("Redis rejects commands", why=str(error), tries_again_in=self._redis_pause)
                self._wait_for_redis("redis_refused", stop)
            except (redis.ConnectionError, redis.TimeoutError) as error:
                if isinstance(error, redis.AuthenticationError) and not self._has_worked:
                    raise redis_refusal(error) from error
                self.log.warning("no Redis", why=str(error), tries_again_in=self._redis_pause)
                self._wait_for_redis("redis_lost", stop)

    def _connected(self) -> Bus:
        """The bus; once this service has worked, a failure to start the embedded Redis counts as a lost connection."""
        try:
            return self.connect()
        except (LiveError, OSError) as error:  # such as a full disk
            if not self._has_worked:
                raise
            raise redis.ConnectionError(str(error)) from error

    def _wait_for_redis(self, event: str, stop: threading.Event) -> None:
        """Count the event and wait, each time longer until a heartbeat is stored."""
        self.counted[event] += 1
        stop.wait(self._redis_pause)
        self._redis_pause = min(2 * self._redis_pause, _LONGEST_PAUSE)

    @abstractmethod
    def work(self, bus: Bus, stop: threading.Event) -> None:
        """Read the state from the bus, then loop until ``stop`` is set; a lost connection may end it anywhere."""

    def heartbeat(self, bus: Bus, state: str) -> None:
        """Store the state whenever it changes, otherwise at most once per second."""
        now = time.monotonic()
        if state != self.state or now - self._heartbeat_at >= _HEARTBEAT_SECONDS:
            self.state, self._heartbeat_at = state, now
            bus.heartbeat(self.name, state, self.counted)
            self._redis_pause, self._has_worked = WAIT, True
