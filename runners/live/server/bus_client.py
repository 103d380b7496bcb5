"""The server's way to the bus: Redis may be away or hang, and the server goes on answering."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import redis

from data.errors import LiveError
from runners.live.bus.bus import Bus
from runners.live.server.errors import ProblemError
from runners.live.services.service import Connect

_PATIENCE = 2.0  # seconds

Answer = TypeVar("Answer")


class BusLine:
    """Asks the bus, one question after the other in a thread of its own, connecting anew whenever it was lost.

    Parameters
    ----------
    connect
        Gives the bus; None where there is none.
    """

    def __init__(self, connect: Connect | None) -> None:
        self.is_there = connect is not None
        self._connect = connect
        self._bus: Bus | None = None
        self._thread = ThreadPoolExecutor(1, "bus")

    async def ask(self, what: Callable[[Bus], Answer]) -> Answer:
        """What the bus says.

        Raises
        ------
        ProblemError
            503 if there is none, or it does not say so within two seconds.
        """
        if self._connect is None:
            raise ProblemError(503, "This server has no Redis, so it knows nothing of other services.")
        try:
            async with asyncio.timeout(_PATIENCE):
                return await asyncio.get_running_loop().run_in_executor(self._thread, self._ask, self._connect, what)
        except LiveError:
            raise ProblemError(503, "What Redis has of the services cannot be read.") from None
        except (redis.RedisError, TimeoutError):
            raise ProblemError(503, "Redis cannot be reached.", headers={"Retry-After": "1"}) from None

    def _ask(self, connect: Connect, what: Callable[[Bus], Answer]) -> Answer:
        if self._bus is None:
            try:
                self._bus = connect()
            except Exception as error:  # such as of a program that does not start
                raise redis.ConnectionError(str(error)) from error
        try:
            return what(self._bus)
        except redis.RedisError:
            self._bus = None
            raise

    def close(self) -> None:
        """Take no more questions; one that hangs may end by itself."""
        self._thread.shutdown(wait=False, cancel_futures=True)
