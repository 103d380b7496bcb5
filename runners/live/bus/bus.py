"""The bus between the services: streams in Redis whose entries are numbered by their bar's open time."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, NamedTuple

import pandas as pd

from data.errors import LiveError

Redis = Any  # redis-py's own types say of every answer that it may have to be awaited
_DEAD_LETTERS_KEPT = 1000
_STATE = {"version", "time", "stopped", "stopping"}  # what of the trader's state others than the trader read
_LEASE = 60  # seconds for which the only trader is that, after it said so last
DECISIONS_KEPT = 200_000

# Redis runs a script as one step: the state that the trader goes on from, and what it decided, are there both or not.
# What may fail, the decision, comes first: Redis takes back nothing.
_COMMIT = """
if redis.call('GET', KEYS[1]) == ARGV[2] then return 1 end
if tonumber(redis.call('GET', KEYS[2]) or '0') >= tonumber(ARGV[1]) then return 0 end
if ARGV[4] then redis.call('XADD', KEYS[3], 'MAXLEN', '~', ARGV[3], ARGV[4], 'json', ARGV[5]) end
redis.call('SET', KEYS[1], ARGV[2])
redis.call('SET', KEYS[2], ARGV[1])
return 1
"""


# Gives the place of the only one to who asks, if nobody else has it, and keeps it for who has it; else says who has.
_HOLD = """
local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[1] then return holder end
redis.call('SET', KEYS[1], ARGV[1], 'EX', ARGV[2])
return false
"""


# A decision's bar, a number above 0 if it is a further one at that bar, and its values.
BarDecision = tuple[pd.Timestamp, int, Mapping[str, Any]]


class Entry(NamedTuple):
    """What a stream holds of one bar: its open time and values out of JSON."""

    time: pd.Timestamp
    values: dict[str, Any]


class Stream:
    """One value a bar, in the order of time, each once.

    An entry's id in Redis is its bar's open time in milliseconds, and Redis takes no id that does not come after the
    last one. So what is appended again after a crash, or by a second service of the same kind, changes nothing.
    """

    def __init__(self, redis: Redis, key: str) -> None:
        self._redis, self.key = redis, key

    def append(self, time: pd.Timestamp, values: Mapping[str, Any]) -> bool:
        """Add a bar's values; False, and nothing done, if it or a later bar is there already."""
        import redis

        try:
            self._redis.xadd(self.key, {"json": json.dumps(values, allow_nan=False)}, id=f"{milliseconds(time)}-0")
        except redis.ResponseError as error:
            if "equal or smaller" in str(error):
                return False
            raise
        return True

    def last(self) -> Entry | None:
        found = self._redis.xrevrange(self.key, count=1)
        return _entry(*found[0]) if found else None

    def newest(self, count: int, until: pd.Timestamp | None = None) -> list[Entry]:
        """The last ``count`` entries up to the bar ``until``, oldest first."""
        most = "+" if until is None else str(milliseconds(until))
        return [_entry(*one) for one in reversed(self._redis.xrevrange(self.key, max=most, count=count))]

    def after(self, time: pd.Timestamp | None, count: int, wait: float = 0.0) -> list[Entry]:
        """Up to ``count`` entries of bars after ``time``, oldest first; waits up to ``wait`` seconds for the first."""
        start = 0 if time is None else f"{milliseconds(time)}-{2**63 - 1}"
        block = max(1, round(wait * 1000)) if wait else None
        answer = self._redis.xread({self.key: start}, count=count, block=block)
        return [_entry(*one) for _, entries in answer for one in entries]

    def count_after(self, time: pd.Timestamp | None, at_most: int = 10_000) -> int:
        """How many entries come after ``time``."""
        least = "-" if time is None else f"({milliseconds(time)}-{2**63 - 1}"
        return len(self._redis.xrange(self.key, min=least, count=at_most))

    def keep(self, count: int) -> None:
        """Drop all but about the last ``count`` entries, never fewer."""
        self._redis.xtrim(self.key, maxlen=count, approximate=True)

    def drop_before(self, time: pd.Timestamp) -> None:
        """Drop entries of bars before ``time``, or most of them."""
        self._redis.xtrim(self.key, minid=str(milliseconds(time)), approximate=True)


class Bus:
    """All that the services of one set of models share, under keys that begin with ``regimes:NAME:``.

    Attributes
    ----------
    candles
        Closed candles: their columns, ``previous`` (open time of the candle before, in epoch milliseconds) and ``live``
        (whether it is to be traded, or only fills the lookback).
    forecasts
        Of each live candle: ``open``, ``close``, and ``regime``, ``log_return``, ``probabilities``, ``models``, which
        are null where nothing is known.
    decisions
        What the trader made of each: `runners.live.services.trader.Decision`.
    """

    def __init__(self, redis: Redis, name: str) -> None:
        self.redis, self.name = redis, name
        self.candles = Stream(redis, self._key("candles"))
        self.forecasts = Stream(redis, self._key("forecasts"))
        self.decisions = Stream(redis, self._key("decisions"))

    def _key(self, what: str) -> str:
        return f"regimes:{self.name}:{what}"

    def begin(self, first_live: pd.Timestamp) -> pd.Timestamp:
        """Say, once and for all restarts, which bar is the first that trades; gives what was said first."""
        self.redis.setnx(self._key("first_live"), str(milliseconds(first_live)))
        return _time(int(self.redis.get(self._key("first_live"))))

    def require_same(self, facts: Mapping[str, str]) -> None:
        """Refuse to trade something else than these services do.

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
                    f"stop its services and run regimes live forget --dataset {self.name}; or use another Redis "
                    "database."
                )

    def remember(self, facts: Mapping[str, str]) -> None:
        """What these services trade from now on; see `require_same`, whose error it raises."""
        for name, value in facts.items():
            self.redis.hsetnx(self._key("facts"), name, value)
        self.require_same(facts)

    def facts(self) -> dict[str, str]:
        return dict(self.redis.hgetall(self._key("facts")))

    def bury(self, time: pd.Timestamp, values: Mapping[str, Any], reason: str) -> None:
        """Keep a candle that could not be used, with the reason, in the stream of dead letters."""
        fields = {"time": str(time), "json": json.dumps(dict(values)), "reason": reason}
        self.redis.xadd(self._key("dead_letters"), fields, maxlen=_DEAD_LETTERS_KEPT, approximate=True)

    def dead_letters(self) -> list[dict[str, str]]:
        return [fields for _, fields in self.redis.xrange(self._key("dead_letters"))]

    def trader_state(self) -> dict[str, Any] | None:
        """What the trader must remember, as it was committed last."""
        text = self.redis.get(self._key("trader"))
        try:
            state = json.loads(text) if text else None
        except ValueError:
            state = text
        if state is None or (isinstance(state, dict) and state.keys() >= _STATE):
            return state
        raise LiveError(
            f"what Redis has under {self._key('trader')} is not the trader's state. Put it back from a copy; or close "
            f"the position yourself, and: regimes live forget --dataset {self.name}"
        )

    def commit(self, state: Mapping[str, Any], decision: BarDecision | None = None) -> None:
        """Replace the trader's state, whose ``version`` is above the last, and add a decision: both or none.

        Repeating it, such as after a lost connection, changes nothing. A version that is far above tells of a Redis
        that has forgotten what came between.

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
        done = self.redis.eval(_COMMIT, len(keys), *keys, state["version"], text, DECISIONS_KEPT, *entry)
        if not done:
            raise LiveError(f"another trader of {self.name} is at work. Let one run at a time.")

    def hold_trading(self, holder: str) -> str | None:
        """Be the only trader for a minute from now on; gives who else is it, if somebody is."""
        return self.redis.eval(_HOLD, 1, self._key("only_trader"), holder, _LEASE)

    def who_trades(self) -> str | None:
        return self.redis.get(self._key("only_trader"))

    def trading_held_for(self) -> float:
        """Seconds for which the only trader still is that."""
        return max(0, self.redis.pttl(self._key("only_trader"))) / 1000

    def release_trading(self, holder: str) -> None:
        """Let another trader begin at once."""
        if self.who_trades() == holder:
            self.redis.delete(self._key("only_trader"))

    def others(self) -> list[str]:
        """The names of all whose services this Redis knows."""
        return sorted(key.split(":")[1] for key in self.redis.scan_iter("regimes:*:facts"))

    def forget(self) -> None:
        """Remove all of it from Redis."""
        for key in list(self.redis.scan_iter(f"regimes:{self.name}:*")):
            self.redis.delete(key)

    def ask_to_stop(self, wanted: bool) -> None:
        """Throw the kill switch, or take that back."""
        if wanted:
            self.redis.set(self._key("kill"), "1")
        else:
            self.redis.delete(self._key("kill"))

    def asked_to_stop(self) -> bool:
        return bool(self.redis.exists(self._key("kill")))

    def resume(self) -> bool:
        """Let a stopped trader go on with the next candle; False if it was not stopped.

        What was forecast meanwhile is passed over.

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
        self.ask_to_stop(False)
        if not state or not state["stopped"]:
            return False
        newest = self.forecasts.last()
        time = newest.time.isoformat() if newest else state["time"]
        self.commit({**state, "stopped": None, "stopping": False, "time": time, "version": state["version"] + 1})
        return True

    def beat(self, service: str, told: Mapping[str, Any]) -> None:
        """Say that a service is alive, and its figures; ``counted`` in it are numbers since its start."""
        seconds, microseconds = self.redis.time()
        mark = {"beat": seconds * 1000 + microseconds // 1000, "pid": os.getpid(), "host": socket.gethostname()}
        self.redis.hset(self._key("services"), service, json.dumps({**mark, **told}))

    def beats(self) -> dict[str, dict[str, Any]]:
        """What each service said last."""
        told = {}
        for name, text in self.redis.hgetall(self._key("services")).items():
            with suppress(ValueError):  # of somebody else
                told[name] = json.loads(text)
        return told

    def now(self) -> pd.Timestamp:
        """Redis's clock, by which all services tell how long ago something was."""
        seconds, microseconds = self.redis.time()
        return pd.Timestamp(seconds * 1_000_000 + microseconds, unit="us", tz="UTC")


def redis_refuses(error: Exception) -> LiveError:
    """What to say of an answer of Redis that will be the same when it is asked again."""
    import redis

    if isinstance(error, redis.AuthenticationError):
        return LiveError(f"Redis does not let us in ({error}). The password is that in --redis or REGIMES_REDIS.")
    return LiveError(
        f"Redis refuses what is asked of it ({error}). It must be of version 6.2 or newer, with room, and what begins "
        "with regimes: must be these services' alone."
    )


def milliseconds(time: pd.Timestamp) -> int:
    """Epoch milliseconds."""
    return time.value // 1_000_000  # whatever its unit, `value` counts nanoseconds


def _time(milliseconds: int) -> pd.Timestamp:
    return pd.Timestamp(milliseconds, unit="ms", tz="UTC").as_unit("us")


def _entry(number: str, fields: dict[str, str]) -> Entry:
    return Entry(_time(int(number.split("-")[0])), json.loads(fields["json"]))
