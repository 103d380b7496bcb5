"""Stores what the live services of one dataset share in Redis: streams, state, facts, lease and kill switch."""

from __future__ import annotations

import json
import os
import re
import socket
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

import pandas as pd
import redis

from data.errors import LiveError
from runners.live.bus.stream import Redis, Stream, milliseconds, timestamp

DECISIONS_KEPT = 200_000
_DEAD_LETTERS_KEPT = 1000
_LEASE_SECONDS = 60
_LONGEST_QUEUE = 60.0  # seconds that requests to an exchange wait for one another
_STATE_FIELDS = {"version", "time", "stopped", "stopping"}  # fields of the trader's state that other modules read

# Redis runs a script atomically, so it stores both the trader's state and its decision, or neither. The decision comes
# first because it may fail, and Redis does not roll back.
_COMMIT = """
if redis.call('GET', KEYS[1]) == ARGV[2] then return 1 end
if tonumber(redis.call('GET', KEYS[2]) or '0') >= tonumber(ARGV[1]) then return 0 end
if ARGV[4] then redis.call('XADD', KEYS[3], 'MAXLEN', '~', ARGV[3], ARGV[4], 'json', ARGV[5]) end
redis.call('SET', KEYS[1], ARGV[2])
redis.call('SET', KEYS[2], ARGV[1])
return 1
"""

# Grants or renews the caller's lease. If another holder has it, returns that holder.
_ACQUIRE_LEASE = """
local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[1] then return holder end
redis.call('SET', KEYS[1], ARGV[1], 'EX', ARGV[2])
return false
"""

# Reserves the caller's time of a request after those reserved so far; returns the milliseconds until then. A time that
# is too far ahead is from before the clock was set back.
_RESERVE = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local free = tonumber(redis.call('GET', KEYS[1]) or '0')
if free < now or free > now + tonumber(ARGV[2]) then free = now end
redis.call('SET', KEYS[1], free + ARGV[1], 'PX', ARGV[2])
return free - now
"""

# The decision's bar, a sequence number above 0 if the bar already has a decision, and the decision's values.
BarDecision = tuple[pd.Timestamp, int, Mapping[str, Any]]


class Bus:
    """Streams and state of one dataset's services, under keys that begin with ``regimes:NAME:``.

    Attributes
    ----------
    candles
        Closed candles: their columns, ``previous`` (open time of the previous candle in epoch milliseconds) and
        ``live`` (False if the candle only fills the lookback).
    forecasts
        One entry per live candle: ``open``, ``high``, ``low``, ``close``, ``volatility`` (of the last bars),
        ``models``, and ``regime``, ``log_return``, ``members``, ``probabilities``, ``scale``, ``quantiles`` and
        ``density``, which are null without a forecast. Version 0.1 wrote no ``members``: it had one.
    decisions
        One entry per forecast, see `runners.live.trading.decider.Decision`.
    """

    def __init__(self, client: Redis, name: str) -> None:
        self.redis, self.name = client, name
        self.candles = Stream(client, self._key("candles"))
        self.forecasts = Stream(client, self._key("forecasts"))
        self.decisions = Stream(client, self._key("decisions"))

    def _key(self, suffix: str) -> str:
        return f"regimes:{self.name}:{suffix}"

    def set_first_live(self, first_live: pd.Timestamp) -> pd.Timestamp:
        """Set the first traded bar unless it is already set; returns the stored one."""
        self.redis.setnx(self._key("first_live"), str(milliseconds(first_live)))
        return timestamp(int(self.redis.get(self._key("first_live"))))

    def require_same_facts(self, facts: Mapping[str, str]) -> None:
        """Raise LiveError if this Redis has other facts of the dataset."""
        stored = self.facts()
        for name, value in facts.items():
            if stored.get(name, value) != value:
                raise LiveError(
                    f"{self.name} is live with {name} {stored[name]}, not {value}. Use the same value. Or start over: "
                    f"stop its services and run regimes live forget {self.name}. Or use another Redis database."
                )

    def store_facts(self, facts: Mapping[str, str]) -> None:
        """Store what the services trade (exchange, symbol, mode...); raises LiveError if other facts are stored."""
        for name, value in facts.items():
            self.redis.hsetnx(self._key("facts"), name, value)
        self.require_same_facts(facts)

    def facts(self) -> dict[str, str]:
        return dict(self.redis.hgetall(self._key("facts")))

    def add_dead_letter(self, time: pd.Timestamp, values: Mapping[str, Any], reason: str) -> None:
        """Store an invalid candle with the reason."""
        fields = {"time": str(time), "json": json.dumps(dict(values)), "reason": reason}
        self.redis.xadd(self._key("dead_letters"), fields, maxlen=_DEAD_LETTERS_KEPT, approximate=True)

    def dead_letters(self) -> list[dict[str, str]]:
        return [fields for _, fields in self.redis.xrange(self._key("dead_letters"))]

    def trader_state(self) -> dict[str, Any] | None:
        """The trader's last committed state; raises LiveError if it is damaged."""
        text = self.redis.get(self._key("trader"))
        try:
            state = json.loads(text) if text else None
        except ValueError:
            state = text
        if state is None or (isinstance(state, dict) and state.keys() >= _STATE_FIELDS):
            return state
        raise LiveError(
            f"the value of {self._key('trader')} is not the trader's state. Restore a copy of it, or close the "
            f"position yourself and run: regimes live forget {self.name}"
        )

    def commit(self, state: Mapping[str, Any], decision: BarDecision | None = None) -> None:
        """Atomically replace the trader's state by one with a higher ``version``, and add a decision.

        Repeating a commit, such as after a lost connection, changes nothing. The version may jump if Redis has lost the
        commits in between.

        Raises
        ------
        LiveError
            If another trader has committed in the meantime.
        """
        entry: list[Any] = []
        if decision is not None:
            time, part, values = decision
            entry = [f"{milliseconds(time)}-{part}", json.dumps(values, allow_nan=False)]
        text = json.dumps(state, allow_nan=False)
        keys = [self._key("trader"), self._key("trader_version"), self.decisions.key]
        if not self.redis.eval(_COMMIT, len(keys), *keys, state["version"], text, DECISIONS_KEPT, *entry):
            raise LiveError(f"another trader of {self.name} is active. Run only one.")

    def acquire_lease(self, holder: str) -> str | None:
        """Acquire or renew the trader's lease for one minute; returns the holder if it is another one."""
        return self.redis.eval(_ACQUIRE_LEASE, 1, self._key("only_trader"), holder, _LEASE_SECONDS)

    def lease_holder(self) -> str | None:
        return self.redis.get(self._key("only_trader"))

    def lease_seconds_left(self) -> float:
        return max(0, self.redis.pttl(self._key("only_trader"))) / 1000

    def release_lease(self, holder: str) -> None:
        """Delete the lease if this holder has it."""
        if self.lease_holder() == holder:
            self.redis.delete(self._key("only_trader"))

    def pause_exchange(self, exchange: str, seconds: float) -> None:
        """Let this machine's services send no request to the exchange for this time, or as long as before if longer."""
        if seconds > self.exchange_pause(exchange):
            self.redis.set(_exchange_key(exchange, "pause"), "1", px=max(1, round(1000 * seconds)))

    def exchange_pause(self, exchange: str) -> float:
        """Seconds for which this machine's services must send no request to the exchange; 0 for none."""
        return max(0, self.redis.pttl(_exchange_key(exchange, "pause"))) / 1000

    def reserve_request(self, exchange: str, seconds: float) -> float:
        """Reserve this time of the exchange's limit for a request of this machine; returns the seconds until then."""
        key, longest = _exchange_key(exchange, "requests"), round(1000 * _LONGEST_QUEUE)
        return self.redis.eval(_RESERVE, 1, key, round(1000 * seconds), longest) / 1000

    def datasets(self) -> list[str]:
        """Names of all datasets whose services have used this Redis."""
        return sorted(_dataset_of(key) for key in self.redis.scan_iter("regimes:*:facts"))

    def forget(self) -> None:
        """Remove all of this dataset's keys."""
        # Compared here: in a pattern of Redis, the name BTC[1] would match BTC1's keys.
        for key in [key for key in self.redis.scan_iter("regimes:*") if _dataset_of(key) == self.name]:
            self.redis.delete(key)

    def messenger_state(self) -> dict[str, Any] | None:
        """What the messenger has told so far; None before its first start."""
        text = self.redis.get(self._key("messenger"))
        return json.loads(text) if text else None

    def store_messenger_state(self, state: Mapping[str, Any]) -> None:
        self.redis.set(self._key("messenger"), json.dumps(state))

    def set_kill_switch(self, on: bool) -> None:
        if on:
            self.redis.set(self._key("kill"), "1")
        else:
            self.redis.delete(self._key("kill"))

    def kill_switch_is_set(self) -> bool:
        return bool(self.redis.exists(self._key("kill")))

    def resume(self) -> bool:
        """Clear the kill switch, and let a stopped trader skip the forecasts so far; False if it was not stopped.

        Raises
        ------
        LiveError
            If the trader has not finished closing its position.
        """
        state = self.trader_state()
        if state and state["stopping"]:
            raise LiveError(
                f"the trader of {self.name} has not closed its position yet. If it does not run, start it: it closes "
                "the position and ends."
            )
        self.set_kill_switch(False)
        if not state or not state["stopped"]:
            return False
        newest = self.forecasts.last()
        time = newest.time.isoformat() if newest else state["time"]
        self.commit({**state, "stopped": None, "stopping": False, "time": time, "version": state["version"] + 1})
        return True

    def heartbeat(self, service: str, state: str, counted: Mapping[str, int]) -> None:
        """Store the time, the service's state in a word or two, and its event counts since its start."""
        seconds, microseconds = self.redis.time()
        process = {"beat": seconds * 1000 + microseconds // 1000, "pid": os.getpid(), "host": socket.gethostname()}
        content = json.dumps({**process, "state": state, "counted": dict(counted)})
        self.redis.hset(self._key("services"), service, content)

    def heartbeats(self) -> dict[str, dict[str, Any]]:
        """Each service's last heartbeat."""
        services = {}
        for name, text in self.redis.hgetall(self._key("services")).items():
            with suppress(ValueError):  # another program wrote this
                services[name] = json.loads(text)
        return services

    def now(self) -> pd.Timestamp:
        """Time of Redis's clock, which all services use to measure ages."""
        seconds, microseconds = self.redis.time()
        return pd.Timestamp(seconds * 1_000_000 + microseconds, unit="us", tz="UTC")


def _exchange_key(exchange: str, suffix: str) -> str:
    """Key of what all datasets of this machine share, because an exchange counts requests by address."""
    return f"regimes:exchange_{exchange}_{socket.gethostname()}_{suffix}"


def _dataset_of(key: str) -> str:
    """The name in ``regimes:NAME:suffix``; it may contain colons, the suffix does not."""
    return key.removeprefix("regimes:").rpartition(":")[0]


Connect = Callable[[], Bus]  # called again after each lost connection


# Error codes of a Redis that is full, has become a replica, has lost its replicas, cannot save, or is being configured.
_TEMPORARY = "OOM|READONLY|NOREPLICAS|MISCONF|NOPERM|MASTERDOWN|CLUSTERDOWN|TRYAGAIN|BUSY|LOADING"
_TEMPORARY += "|ACL failure in script|The user executing the script can't"  # NOPERM in a script; the latter before 7.0


def is_temporary(error: redis.ResponseError) -> bool:
    """Whether Redis may execute the command later, without a change of it."""
    temporary = (
        redis.exceptions.OutOfMemoryError,
        redis.exceptions.ReadOnlyError,
        redis.exceptions.NoPermissionError,
        redis.exceptions.ClusterDownError,
        redis.exceptions.TryAgainError,
    )  # redis-py removes the code from their messages
    return isinstance(error, temporary) or bool(re.search(rf"(^|[-'\s])({_TEMPORARY})\b", str(error)))


def redis_refusal(error: Exception) -> LiveError:
    """The exception for an error of Redis that a retry would not solve."""
    if isinstance(error, redis.AuthenticationError):
        return LiveError(f"Redis rejects the login ({error}). Check the password in --redis or REGIMES_REDIS.")
    return LiveError(
        f"Redis rejects a command ({error}). It needs version 6.2 or newer and free memory, and no other program may "
        "use keys that begin with regimes:"
    )
