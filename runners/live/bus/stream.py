"""One Redis stream of bars, whose entries are numbered by their bar's open time."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

import pandas as pd

Redis = Any  # redis-py types every answer as possibly awaitable


class Entry(NamedTuple):
    """One bar of a stream: its open time, and its values from JSON."""

    time: pd.Timestamp
    values: dict[str, Any]


class Stream:
    """One value per bar, in time order, each written once.

    An entry's id in Redis is its bar's open time in milliseconds, and Redis accepts only increasing ids. So appending a
    bar again, after a crash or by a second service of the same kind, changes nothing.
    """

    def __init__(self, redis: Redis, key: str) -> None:
        self._redis, self.key = redis, key

    def append(self, time: pd.Timestamp, values: Mapping[str, Any]) -> bool:
        """Add a bar's values; returns False without a change if this bar or a later one is there."""
        import redis

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
        """The last ``count`` entries up to the bar ``until``, oldest first."""
        maximum = "+" if until is None else str(milliseconds(until))
        return [_entry(*one) for one in reversed(self._redis.xrevrange(self.key, max=maximum, count=count))]

    def after(self, time: pd.Timestamp | None, count: int, wait: float = 0.0) -> list[Entry]:
        """Up to ``count`` entries after ``time``, oldest first; waits up to ``wait`` seconds for the first one."""
        start = 0 if time is None else f"{milliseconds(time)}-{2**63 - 1}"
        block = max(1, round(wait * 1000)) if wait else None
        answer = self._redis.xread({self.key: start}, count=count, block=block)
        return [_entry(*one) for _, entries in answer for one in entries]

    def count_after(self, time: pd.Timestamp | None, at_most: int = 10_000) -> int:
        """Number of entries after ``time``."""
        minimum = "-" if time is None else f"({milliseconds(time)}-{2**63 - 1}"
        return len(self._redis.xrange(self.key, min=minimum, count=at_most))

    def trim(self, count: int) -> None:
        """Remove all but about the last ``count`` entries, never fewer."""
        self._redis.xtrim(self.key, maxlen=count, approximate=True)

    def trim_before(self, time: pd.Timestamp) -> None:
        """Remove most entries before ``time``, and none after."""
        self._redis.xtrim(self.key, minid=str(milliseconds(time)), approximate=True)


def milliseconds(time: pd.Timestamp) -> int:
    """Epoch milliseconds."""
    return time.value // 1_000_000  # `value` counts nanoseconds, whatever the unit


def timestamp(milliseconds: int) -> pd.Timestamp:
    return pd.Timestamp(milliseconds, unit="ms", tz="UTC").as_unit("us")


def _entry(number: str, fields: dict[str, str]) -> Entry:
    return Entry(timestamp(int(number.split("-")[0])), json.loads(fields["json"]))
