"""Shares among a machine's services how long the exchange asked for no requests."""

from __future__ import annotations

import time
from contextlib import suppress

import redis

from data.errors import LiveError
from runners.live.bus.bus import Bus, Connect


class ExchangeGate:
    """A `data.exchange.RequestGate` for all services of one dataset on this machine, through Redis.

    While Redis cannot be reached, it counts only what this process was asked for.
    """

    def __init__(self, connect: Connect) -> None:
        self._connect = connect
        self._bus: Bus | None = None
        self._closed_until = 0.0

    def seconds_left(self) -> float:
        shared = 0.0
        with suppress(redis.RedisError, LiveError):
            shared = self._connected().exchange_pause()
        return max(0.0, shared, self._closed_until - time.monotonic())

    def close(self, seconds: float) -> None:
        self._closed_until = max(self._closed_until, time.monotonic() + seconds)
        with suppress(redis.RedisError, LiveError):
            self._connected().pause_exchange(seconds)

    def _connected(self) -> Bus:
        self._bus = self._bus or self._connect()
        return self._bus
