"""Everything that the live services of one dataset share in Redis."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

import pandas as pd

from data.errors import LiveError
from runners.live.bus.stream import Redis, Stream, milliseconds, timestamp

DECISIONS_KEPT = 200_000
_DEAD_LETTERS_KEPT = 1000
_LEASE_SECONDS = 60
_STATE_FIELDS = {"version", "time", "stopped", "stopping"}  # of the trader's state, those that others read

# Redis runs a script atomically: the trader's state and its decision are both stored, or neither. The decision, which
# may fail, comes first, because Redis does not roll back.
_COMMIT = """
if redis.call('GET', KEYS[1]) == ARGV[2] then return 1 end
if tonumber(redis.call('GET', KEYS[2]) or '0') >= tonumber(ARGV[1]) then return 0 end
if ARGV[4] then redis.call('XADD', KEYS[3], 'MAXLEN', '~', ARGV[3], ARGV[4], 'json', ARGV[5]) end
redis.call('SET', KEYS[1], ARGV[2])
redis.call('SET', KEYS[2], ARGV[1])
return 1
"""

# Gives the lease to the caller, or renews it, unless somebody else holds it; then returns the holder.
_ACQUIRE_LEASE = """
local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[1] then return holder end
redis.call('SET', KEYS[1], ARGV[1], 'EX', ARGV[2])
return false
"""

# A decision's bar, a number above 0 if the bar has one already, and the decision's values.
BarDecision = tuple[pd.Timestamp, int, Mapping[str, Any]]


class Bus:
    """Streams and state of one dataset's services, under keys that begin with ``regimes:NAME:``.

    Attributes
    ----------
    candles
        Closed candles: their columns, ``previous`` (open time of the candle before, in epoch milliseconds) and ``live``
        (whether it is traded, or only fills the lookback).
    forecasts
        One per live candle: ``open``, ``close``, and ``regime``, ``log_return``, ``probabilities``, ``models``, which
        are null where there is no forecast.
    decisions
        One per forecast: `runners.live.trading.decider.Decision`.
    """

    def __init__(self, redis: Redis, name: str) -> None:
        self.redis, self.name = redis, name
        self.candles = Stream(redis, self._key("candles"))
        self.forecasts = Stream(redis, self._key("forecasts"))
        self.decisions = Stream(redis, self._key("decisions"))

    def _key(self, suffix: str) -> str:
        return f"regimes:{self.name}:{suffix}"

    def set_first_live(self, first_live: pd.Timestamp) -> pd.Timestamp:
        """Set the first bar that is traded, unless it is set already; returns the one that is set."""
        self.redis.setnx(self._key("first_live"), str(milliseconds(first_live)))
        return timestamp(int(self.redis.get(self._key("first_live"))))

    def require_same_facts(self, facts: Mapping[str, str]) -> None:
        """Check that these services trade what the bus was used for before.

        Raises
        ------
        LiveError
            Naming what differs.
        """
        known = self.facts()
        for name, value in facts.items():
            if known.get(name, value) != value:
                raise LiveError(
                    f"{self.name} is live with {name} {known[name]}, not {value}. Give what it has; or, to begin anew, "
                    f"stop its services and run regimes live forget {self.name}; or use another Redis "
                    "database."
                )

    def store_facts(self, facts: Mapping[str, str]) -> None:
        """Store what these services trade, such as exchange, symbol and mode; raises as `require_same_facts`."""
        for name, value in facts.items():
            self.redis.hsetnx(self._key("facts"), name, value)
        self.require_same_facts(facts)

    def facts(self) -> dict[str, str]:
        return dict(self.redis.hgetall(self._key("facts")))

    def add_dead_letter(self, time: pd.Timestamp, values: Mapping[str, Any], reason: str) -> None:
        """Keep a candle that cannot be used, with the reason."""
        fields = {"time": str(time), "json": json.dumps(dict(values)), "reason": reason}
        self.redis.xadd(self._key("dead_letters"), fields, maxlen=_DEAD_LETTERS_KEPT, approximate=True)

    def dead_letters(self) -> list[dict[str, str]]:
        return [fields for _, fields in self.redis.xrange(self._key("dead_letters"))]

    def trader_state(self) -> dict[str, Any] | None:
        """The trader's state as committed last.

        Raises
        ------
        LiveError
            If it is damaged.
        """
        text = self.redis.get(self._key("trader"))
        try:
            state = json.loads(text) if text else None
        except ValueError:
            state = text
        if state is None or (isinstance(state, dict) and state.keys() >= _STATE_FIELDS):
            return state
        raise LiveError(
            f"what Redis has under {self._key('trader')} is not the trader's state. Put it back from a copy; or close "
            f"the position yourself, and: regimes live forget {self.name}"
        )

    def commit(self, state: Mapping[str, Any], decision: BarDecision | None = None) -> None:
        """Replace the trader's state, with a higher ``version``, and add a decision: both or neither.

        Repeating a commit, such as after a lost connection, changes nothing. The version may jump: then Redis has lost
        the commits in between.

        Raises
        ------
        LiveError
            If another trader has committed meanwhile.
        """
        entry: list[Any] = []
        if decision is not None:
            time, part, values = decision
            entry = [f"{milliseconds(time)}-{part}", json.dumps(values, allow_nan=False)]
        text = json.dumps(state, allow_nan=False)
        keys = [self._key("trader"), self._key("trader_version"), self.decisions.key]
        if not self.redis.eval(_COMMIT, len(keys), *keys, state["version"], text, DECISIONS_KEPT, *entry):
            raise LiveError(f"another trader of {self.name} is at work. Let one run at a time.")

    def acquire_lease(self, holder: str) -> str | None:
        """Acquire or renew the trader's lease for a minute; returns the other holder if somebody else has it."""
        return self.redis.eval(_ACQUIRE_LEASE, 1, self._key("only_trader"), holder, _LEASE_SECONDS)

    def lease_holder(self) -> str | None:
        return self.redis.get(self._key("only_trader"))

    def lease_seconds_left(self) -> float:
        return max(0, self.redis.pttl(self._key("only_trader"))) / 1000

    def release_lease(self, holder: str) -> None:
        """Let another trader start at once."""
        if self.lease_holder() == holder:
            self.redis.delete(self._key("only_trader"))

    def datasets(self) -> list[str]:
        """Names of all datasets whose services have used this Redis."""
        return sorted(key.split(":")[1] for key in self.redis.scan_iter("regimes:*:facts"))

    def forget(self) -> None:
        """Remove all of this dataset's keys."""
        for key in list(self.redis.scan_iter(f"regimes:{self.name}:*")):
            self.redis.delete(key)

    def set_kill_switch(self, on: bool) -> None:
        if on:
            self.redis.set(self._key("kill"), "1")
        else:
            self.redis.delete(self._key("kill"))

    def kill_switch_is_set(self) -> bool:
        return bool(self.redis.exists(self._key("kill")))

    def resume(self) -> bool:
        """Let a stopped trader go on with the next candle, without those forecast meanwhile; False if it was running.

        Raises
        ------
        LiveError
            If the trader is closing its position, or was when it ended.
        """
        state = self.trader_state()
        if state and state["stopping"]:
            raise LiveError(
                f"the trader of {self.name} has not closed its position yet. Start it, if none is at work; it goes on "
                "closing, and ends."
            )
        self.set_kill_switch(False)
        if not state or not state["stopped"]:
            return False
        newest = self.forecasts.last()
        time = newest.time.isoformat() if newest else state["time"]
        self.commit({**state, "stopped": None, "stopping": False, "time": time, "version": state["version"] + 1})
        return True

    def heartbeat(self, service: str, state: str, counted: Mapping[str, int]) -> None:
        """Store that a service is alive, its state in a word or two, and its event counts since its start."""
        seconds, microseconds = self.redis.time()
        process = {"beat": seconds * 1000 + microseconds // 1000, "pid": os.getpid(), "host": socket.gethostname()}
        content = json.dumps({**process, "state": state, "counted": dict(counted)})
        self.redis.hset(self._key("services"), service, content)

    def heartbeats(self) -> dict[str, dict[str, Any]]:
        """Each service's last heartbeat."""
        services = {}
        for name, text in self.redis.hgetall(self._key("services")).items():
            with suppress(ValueError):  # not written by a service
                services[name] = json.loads(text)
        return services

    def now(self) -> pd.Timestamp:
        """Redis's clock, which all services use to measure ages."""
        seconds, microseconds = self.redis.time()
        return pd.Timestamp(seconds * 1_000_000 + microseconds, unit="us", tz="UTC")


Connect = Callable[[], Bus]  # called again whenever the connection was lost


def redis_refusal(error: Exception) -> LiveError:
    """The error to raise for an answer of Redis that would be the same on a retry."""
    import redis

    if isinstance(error, redis.AuthenticationError):
        return LiveError(f"Redis does not let us in ({error}). The password is that in --redis or REGIMES_REDIS.")
    return LiveError(
        f"Redis refuses what is asked of it ({error}). It must be of version 6.2 or newer, with room, and what begins "
        "with regimes: must be these services' alone."
    )
