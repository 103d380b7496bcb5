"""Shares among a machine's services the exchange's limit of requests, and how long it asked for none."""

from __future__ import annotations

import time
from contextlib import suppress

import redis

from data.errors import LiveError
from runners.live.bus.bus import Bus, Connect


class ExchangeGate:
    """A `data.exchange.RequestGate` for all services on this machine that use the same Redis and exchange.

    While Redis cannot be reached, it counts only what this process was asked for.

    Parameters
    ----------
    waits
        Whether requests wait for those of others. Those of a trader only count, so that orders are not held back.
    """

    def __init__(self, connect: Connect, exchange: str, *, waits: bool = True) -> None:
        self._connect, self._exchange, self._waits = connect, exchange, waits
        self._bus: Bus | None = None
        self._closed_until = 0.0

    def seconds_left(self) -> float:
        shared = 0.0
        with suppress(redis.RedisError, LiveError):
            shared = self._connected().exchange_pause(self._exchange)
        return max(0.0, shared, self._closed_until - time.monotonic())

    def close(self, seconds: float) -> None:
        self._closed_until = max(self._closed_until, time.monotonic() + seconds)
        with suppress(redis.RedisError, LiveError):
            self._connected().pause_exchange(self._exchange, seconds)

    def reserve(self, seconds: float) -> float:
        with suppress(redis.RedisError, LiveError):
            wait = self._connected().reserve_request(self._exchange, seconds)
            return wait if self._waits else 0.0
        return 0.0

    def _connected(self) -> Bus:
        self._bus = self._bus or self._connect()
        return self._bus
