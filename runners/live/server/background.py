"""What the server does beside answering, about every second: take newer models, and tell that it is alive."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from runners.live.bus.bus import Bus
from runners.live.server.bus_client import BusLine
from runners.live.server.errors import ProblemError
from runners.live.server.metrics import ServerMetrics
from runners.live.services.model_reloader import NewestModels

NAME = "server"
_EVERY = 1.0  # seconds

log = structlog.get_logger()


class Upkeep:
    """Keeps the models new and the bus informed; neither stops the other, and no fault stops either."""

    def __init__(self, models: NewestModels, line: BusLine, metrics: ServerMetrics) -> None:
        self._models, self._line, self._metrics = models, line, metrics
        self._log = log.bind(service=NAME)
        self._lost = False

    async def run(self) -> None:
        """Go on until cancelled; says at the end that the server has ended."""
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._repeat(self._refresh))
                if self._line.is_there:
                    tasks.create_task(self._repeat(self._beat))
        finally:
            if self._line.is_there:
                await self._beat("ended")

    async def _repeat(self, what: Callable[[], Awaitable[None]]) -> None:
        while True:
            try:
                await what()
            except Exception:
                self._log.exception("upkeep failed")
            await asyncio.sleep(_EVERY)

    async def _refresh(self) -> None:
        before = self._models.trouble
        taken = await asyncio.to_thread(self._models.refresh)
        trouble = self._models.trouble
        self._metrics.newer_models(taken=taken, refused=trouble is not None, told_before=trouble == before)
        if taken:
            self._log.info("took newer models", models=self._models.run)
        elif trouble not in (None, before):
            self._log.error("newer models refused", why=trouble, goes_on_with=self._models.run)

    async def _beat(self, state: str = "answering") -> None:
        told = {"state": state, "counted": dict(self._metrics.counted)}

        def beat(bus: Bus) -> None:
            bus.beat(NAME, told)

        try:
            await self._line.ask(beat)
        except ProblemError as problem:
            self._metrics.counted["beats_lost"] += 1
            if not self._lost:
                self._log.warning("cannot tell that it is alive, and goes on answering", why=problem.detail)
            self._lost = True
        else:
            self._lost = False
