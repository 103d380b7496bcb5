"""Loads newer models and sends the server's heartbeat, once per second."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from runners.live.server.bus_client import BusClient
from runners.live.server.errors import ProblemError
from runners.live.server.metrics import ServerMetrics
from runners.live.services.model_reloader import ModelReloader

NAME = "server"
_INTERVAL = 1.0  # seconds

log = structlog.get_logger()


class BackgroundJobs:
    """Runs both jobs concurrently; a failure stops neither."""

    def __init__(self, models: ModelReloader, bus: BusClient, metrics: ServerMetrics) -> None:
        self._models, self._bus, self._metrics = models, bus, metrics
        self._log = log.bind(service=NAME)

    async def run(self) -> None:
        """Run until cancelled, then send a last heartbeat."""
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._repeat(self._reload))
                if self._bus.is_configured:
                    tasks.create_task(self._repeat(self._heartbeat))
        finally:
            if self._bus.is_configured:
                await self._heartbeat("ended")

    async def _repeat(self, job: Callable[[], Awaitable[None]]) -> None:
        while True:
            try:
                await job()
            except Exception:
                self._log.exception("background job failed")
            await asyncio.sleep(_INTERVAL)

    async def _reload(self) -> None:
        await asyncio.to_thread(self._models.refresh, self._metrics.counted, self._log)

    async def _heartbeat(self, state: str = "answering") -> None:
        counted = dict(self._metrics.counted)
        try:
            await self._bus.query(lambda bus: bus.heartbeat(NAME, state, counted))
        except ProblemError as problem:
            self._metrics.counted["beats_lost"] += 1
            if not self._metrics.redis_is_lost:
                self._log.warning("heartbeat failed; the server continues", why=problem.detail)
            self._metrics.redis_is_lost = True
        else:
            self._metrics.redis_is_lost = False
