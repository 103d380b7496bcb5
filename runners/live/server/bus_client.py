"""Queries the bus without blocking the server when Redis hangs or cannot be reached."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import redis

from data.errors import LiveError
from runners.live.bus.bus import Bus, Connect
from runners.live.server.errors import ProblemError

_TIMEOUT = 2.0  # seconds

Answer = TypeVar("Answer")


class BusClient:
    """Runs queries one after the other in a thread, and reconnects after a lost connection.

    Parameters
    ----------
    connect
        Returns the bus; None for a server without Redis.
    """

    def __init__(self, connect: Connect | None) -> None:
        self.is_configured = connect is not None
        self._connect = connect
        self._bus: Bus | None = None
        self._thread = ThreadPoolExecutor(1, "bus")

    async def query(self, function: Callable[[Bus], Answer]) -> Answer:
        """The function's result for the bus; raises ProblemError 503 without an answer within two seconds."""
        if self._connect is None:
            raise ProblemError(503, "This server has no Redis, so it cannot show other services.")
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(_TIMEOUT):
                return await loop.run_in_executor(self._thread, self._query, self._connect, function)
        except LiveError:
            raise ProblemError(503, "The services' data in Redis are damaged.") from None
        except (redis.RedisError, TimeoutError):
            raise ProblemError(503, "Redis cannot be reached.", headers={"Retry-After": "1"}) from None

    def _query(self, connect: Connect, function: Callable[[Bus], Answer]) -> Answer:
        if self._bus is None:
            try:
                self._bus = connect()
            except Exception as error:  # such as an embedded Redis that does not start
                raise redis.ConnectionError(str(error)) from error
        try:
            return function(self._bus)
        except redis.RedisError:
            self._bus = None
            raise

    def close(self) -> None:
        """Accept no more queries; does not wait for one that hangs."""
        self._thread.shutdown(wait=False, cancel_futures=True)
