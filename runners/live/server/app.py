"""The model server's routes, and its description of them."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import os
import re
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

from fastapi import FastAPI, Request, Response
from fastapi_offline import FastAPIOffline
from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from starlette.exceptions import HTTPException

from data.errors import DataError
from runners.live.server import schemas
from runners.live.server.background import Upkeep
from runners.live.server.bus_client import BusLine
from runners.live.server.errors import ProblemError, answer_http_error, answer_problem, declared
from runners.live.server.forecasts import answer, models_answer, window_example
from runners.live.server.metrics import ServerMetrics, StatusCollector
from runners.live.server.middleware import Keyed, Places, Watch, read_body
from runners.live.server.openapi import describe
from runners.live.services.model_reloader import NewestModels
from runners.live.services.service import Connect
from runners.live.status import Status, read_status

_PAGE = Path(__file__).with_name("status.html")
_DESCRIPTION = "Forecasts of one expert per market regime, and how the services are that trade on them."
_LONG = 64 * 1024  # bytes of a body that takes more than a moment to read


@dataclass(frozen=True)
class Limits:
    """What the server takes on at most.

    Attributes
    ----------
    body
        Bytes of a request.
    body_seconds
        That a request may take to arrive.
    at_work
        Batches and candles that are computed at once; one window is computed at once, in between.
    waiting
        Requests for forecasts that wait for that, or still arrive.
    """

    body: int = 2 * 1024 * 1024
    body_seconds: float = 10.0
    at_work: int = os.cpu_count() or 1
    waiting: int = 64


DEFAULT_LIMITS = Limits()


def create_app(
    models: NewestModels, connect: Connect | None, *, key: str | None = None, limits: Limits = DEFAULT_LIMITS
) -> FastAPI:
    """The server as an ASGI application, to be run by `runners.live.server.Server`.

    Parameters
    ----------
    models
        Whose forecasts it gives; newer ones are taken as they come, so no other service should refresh them.
    connect
        Gives the bus whose services it tells of; None if there is none.
    key
        Without which nothing is answered but whether it is well; None: everybody on this machine is answered.
    """
    metrics, line, places = ServerMetrics(), BusLine(connect), Places(limits.at_work + limits.waiting)
    pool = ThreadPoolExecutor(limits.at_work, "forecast")

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        upkeep = asyncio.create_task(Upkeep(models, line, metrics).run())
        yield
        upkeep.cancel()
        with suppress(asyncio.CancelledError):
            await upkeep
        line.close()
        pool.shutdown()

    app = FastAPIOffline(redoc_url=None, title="regimes", version="1", description=_DESCRIPTION, lifespan=lifespan)
    app.add_middleware(Keyed, key=key)
    app.add_middleware(Watch, metrics=metrics)
    app.add_exception_handler(ProblemError, answer_problem)
    app.add_exception_handler(HTTPException, answer_http_error)
    no_redis = "There is no Redis, or it cannot be reached."

    @app.post(
        "/forecast",
        response_model=None,
        responses={
            200: {"model": schemas.WindowForecast | schemas.CandlesForecast | schemas.BatchForecast},
            **declared(
                _408="The body took too long to arrive.",
                _413="The body is too long.",
                _415="The body is not declared to be JSON.",
                _422="The body is no such request, or the models cannot read what it holds.",
                _503="Too many requests wait; the header Retry-After tells when to ask again.",
            ),
        },
    )
    async def forecast(request: Request) -> Response:
        """What a regime's expert makes of given values, or the models of given candles; alone or in a batch."""
        with places.taken():
            body = await read_body(request, limits.body, limits.body_seconds)

            def work(ask: schemas.Ask | None) -> str:
                try:
                    return answer(models.loaded, ask or schemas.ask_of(body)).model_dump_json()
                except DataError as error:
                    raise ProblemError(422, str(error)) from None

            ask = schemas.ask_of(body) if len(body) <= _LONG else None
            if isinstance(ask, schemas.WindowAsk):  # less than a millisecond: quicker done than handed over
                content = work(ask)
            else:
                content = await asyncio.get_running_loop().run_in_executor(pool, work, ask)
        return Response(content, media_type="application/json")

    @app.get("/models", responses=declared())
    async def show_models() -> schemas.ModelsAnswer:
        """Which models answer, and what each of them reads."""
        return models_answer(models.loaded, models.trouble)

    @app.get("/health", responses=declared())
    async def health() -> schemas.HealthAnswer:
        """Whether the process is alive. Needs no key."""
        return schemas.HealthAnswer()

    @app.get("/ready", responses=declared(_503=no_redis))
    async def ready() -> schemas.ReadyAnswer:
        """Whether models are loaded and Redis, if there is one, answers. Needs no key."""
        if line.is_there:
            await line.ask(lambda bus: bus.redis.ping())
        return schemas.ReadyAnswer(models=models.run, newer_models_refused=models.trouble is not None)

    @app.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}, **declared()})
    async def show_metrics() -> Response:
        """For Prometheus: figures of the server, and of all services while Redis answers."""
        content = generate_latest(metrics.registry)
        with suppress(ProblemError):
            status = await line.ask(read_status)
            content += generate_latest(StatusCollector(status, models.forecaster.interval))
        return Response(content, media_type=CONTENT_TYPE_PLAIN_0_0_4)

    @app.get("/status", responses=declared(_503=no_redis))
    async def show_status() -> Status:
        """How all services are."""
        return await line.ask(read_status)

    page = _PAGE.read_bytes()
    policy = _policy(page.decode())

    @app.get("/", response_class=Response, responses={200: {"content": {"text/html": {}}}, **declared()})
    async def show_page() -> Response:
        """A page that shows how all services are, and keeps itself up to date."""
        return Response(page, media_type="text/html", headers={"Content-Security-Policy": policy})

    metrics.routes = frozenset(getattr(route, "path", "") for route in app.routes)
    app.openapi = cache(partial(describe, app, keyed=bool(key), example=window_example(models.forecaster)))  # type: ignore[method-assign]
    return app


def _policy(page: str) -> str:
    """Content-Security-Policy that lets the page run what stands in it, and ask this server, and nothing else."""
    allowed = {
        kind: " ".join(
            f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
            for text in re.findall(rf"<{kind}>(.*?)</{kind}>", page, re.DOTALL)
        )
        for kind in ("script", "style")
    }
    return (
        f"default-src 'none'; script-src {allowed['script']}; style-src {allowed['style']}; connect-src 'self'; "
        "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
