"""Stores one value per bar in a Redis stream, with the bar's open time as id."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

import pandas as pd
import redis

Redis = Any  # a client; redis-py types every answer as possibly awaitable


class Entry(NamedTuple):
    """One bar of a stream: its open time and its JSON values."""

    time: pd.Timestamp
    values: dict[str, Any]


class Stream:
    """One entry per bar, in time order, each written once.

    The id of an entry in Redis is its bar's open time in milliseconds, and Redis accepts only increasing ids. So
    writing a bar again, after a crash or by a second service, changes nothing.
    """

    def __init__(self, client: Redis, key: str) -> None:
        self._redis, self.key = client, key

    def append(self, time: pd.Timestamp, values: Mapping[str, Any]) -> bool:
        """Add a bar's values; returns False without a change if the stream has this bar or a later one."""
        try:
            self._redis.xadd(self.key, {"json": json.dumps(values, allow_nan=False)}, id=f"{milliseconds(time)}-0")
        except redis.ResponseError as error:
            if "equal or smaller" in str(error):
                return False
            raise
        return True

    def last(self) -> Entry | None:
        newest = self._redis.xrevrange(self.key, count=1)
        return _entry(*newest[0]) if newest else None

    def newest(self, count: int, until: pd.Timestamp | None = None) -> list[Entry]:
        """The last ``count`` entries, at most up to the bar ``until``, oldest first."""
        maximum = "+" if until is None else str(milliseconds(until))
        return [_entry(*one) for one in reversed(self._redis.xrevrange(self.key, max=maximum, count=count))]

    def after(self, time: pd.Timestamp | None, count: int, wait: float = 0.0) -> list[Entry]:
        """At most ``count`` entries after ``time``, oldest first; waits up to ``wait`` seconds for the first one."""
        start = 0 if time is None else f"{milliseconds(time)}-{2**63 - 1}"
        block = max(1, round(wait * 1000)) if wait else None
        answer = self._redis.xread({self.key: start}, count=count, block=block)
        return [_entry(*one) for _, entries in answer for one in entries]

    def last_id(self) -> str:
        """Id of the last entry; a bar may have several. ``0`` for an empty stream."""
        newest = self._redis.xrevrange(self.key, count=1)
        return newest[0][0] if newest else "0"

    def after_id(self, entry_id: str, count: int) -> list[tuple[str, Entry]]:
        """At most ``count`` entries after the one with this id, oldest first, each with its id."""
        found = self._redis.xrange(self.key, min=f"({entry_id}", count=count)
        return [(one[0], _entry(*one)) for one in found]

    def count_after(self, time: pd.Timestamp | None) -> int:
        """Number of entries after ``time``, at most 10,000."""
        minimum = "-" if time is None else f"({milliseconds(time)}-{2**63 - 1}"
        return len(self._redis.xrange(self.key, min=minimum, count=10_000))

    def trim(self, count: int) -> None:
        """Remove old entries, but keep at least the last ``count``."""
        self._redis.xtrim(self.key, maxlen=count, approximate=True)

    def trim_before(self, time: pd.Timestamp) -> None:
        """Remove most entries before ``time``."""
        self._redis.xtrim(self.key, minid=str(milliseconds(time)), approximate=True)


def milliseconds(time: pd.Timestamp) -> int:
    """Epoch milliseconds."""
    return time.value // 1_000_000  # `value` counts nanoseconds, whatever the unit


def timestamp(milliseconds: int) -> pd.Timestamp:
    return pd.Timestamp(milliseconds, unit="ms", tz="UTC").as_unit("us")


def _entry(number: str, fields: dict[str, str]) -> Entry:
    return Entry(timestamp(int(number.split("-")[0])), json.loads(fields["json"]))
