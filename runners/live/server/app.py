"""Builds the model server's ASGI application and its OpenAPI description."""

# Without `from __future__ import annotations`, because FastAPI reads an annotation that only exists in a function.

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
from typing import Annotated, Any

from fastapi import APIRouter, Body, FastAPI, Response
from fastapi_offline import FastAPIOffline
from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4, generate_latest

from runners.live.bus.bus import Connect
from runners.live.server import schemas
from runners.live.server.background import BackgroundJobs
from runners.live.server.bus_client import BusClient
from runners.live.server.errors import PROBLEM_JSON, ProblemError, add_error_handlers, problem_responses
from runners.live.server.forecasts import compute_forecast, describe_models, window_example
from runners.live.server.metrics import ServerMetrics, StatusCollector
from runners.live.server.middleware import KEY_HEADER, WITHOUT_KEY, ApiKey, BodyLimits, RequestMetrics
from runners.live.services.model_reloader import ModelReloader
from runners.live.status import Status, read_status

_PAGE = Path(__file__).with_name("status.html")
_DESCRIPTION = "Forecasts of one expert per market regime, and the status of the live services."
_NO_REDIS = problem_responses({503: "The server has no Redis, or Redis cannot be reached."})
_SECURITY_SCHEMES = {
    "key": {"type": "apiKey", "in": "header", "name": KEY_HEADER},
    "password": {"type": "http", "scheme": "basic", "description": "Any name, and the key as the password."},
}


@dataclass(frozen=True)
class Limits:
    """Limits of the server's load.

    Attributes
    ----------
    body
        Largest body in bytes.
    body_seconds
        Seconds in which a body must arrive.
    threads
        Number of threads that compute batches and candles; single windows are computed without one.
    waiting
        Number of further requests for forecasts that may wait or still arrive.
    """

    body: int = 2 * 1024 * 1024
    body_seconds: float = 10.0
    threads: int = os.cpu_count() or 1
    waiting: int = 64


DEFAULT_LIMITS = Limits()


def create_app(
    models: ModelReloader, connect: Connect | None, *, key: str | None = None, limits: Limits = DEFAULT_LIMITS
) -> FastAPI:
    """The server as an ASGI application; parameters as in `runners.live.server.Server`."""
    metrics, bus, pool = ServerMetrics(models), BusClient(connect), ThreadPoolExecutor(limits.threads, "forecast")

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        jobs = asyncio.create_task(BackgroundJobs(models, bus, metrics).run())
        yield
        jobs.cancel()
        with suppress(asyncio.CancelledError):
            await jobs
        bus.close()
        pool.shutdown()

    app = FastAPIOffline(
        redoc_url=None,
        title="regimes",
        version="1",
        description=_DESCRIPTION,
        lifespan=lifespan,
        responses=problem_responses({"default": "Any other problem."}),
    )
    requests = limits.threads + limits.waiting
    app.add_middleware(BodyLimits, path="/forecast", requests=requests, size=limits.body, seconds=limits.body_seconds)
    app.add_middleware(ApiKey, key=key)
    app.add_middleware(RequestMetrics, metrics=metrics)
    add_error_handlers(app)
    routers = [_model_routes(models, pool), _status_routes(models, bus, metrics)]
    metrics.routes = frozenset(getattr(route, "path", "") for part in [app.router, *routers] for route in part.routes)
    for router in routers:
        app.include_router(router)
    app.openapi = cache(partial(_describe, app, keyed=bool(key)))  # type: ignore[method-assign]
    return app


def _model_routes(models: ModelReloader, pool: ThreadPoolExecutor) -> APIRouter:
    router = APIRouter()
    window = window_example(models.forecaster).model_dump()
    examples = {"window": {"value": window}, "batch": {"value": {"batch": [window, window]}}}

    @router.post(
        "/forecast",
        responses=problem_responses(
            {
                408: "The body took too long to arrive.",
                413: "The body is too long.",
                415: "The content type is not JSON.",
                422: "The body does not match the schema, or its values do not fit the models.",
                503: "Too many requests are waiting. The header Retry-After says when to retry.",
            }
        ),
    )
    async def forecast(
        request: Annotated[schemas.ForecastRequest, Body(openapi_examples=examples)],
    ) -> schemas.ForecastResponse:
        """Forecasts from the features of one regime, from candles, or from a batch of windows."""
        if isinstance(request, schemas.WindowRequest):  # faster than another thread
            return compute_forecast(models.loaded, request)
        return await asyncio.get_running_loop().run_in_executor(pool, compute_forecast, models.loaded, request)

    @router.get("/models")
    async def show_models() -> schemas.ModelsResponse:
        """The models in use, with each expert's columns, window and stride."""
        return describe_models(models.loaded, models.rejection)

    return router


def _status_routes(models: ModelReloader, bus: BusClient, metrics: ServerMetrics) -> APIRouter:
    router = APIRouter()
    page = _PAGE.read_bytes()
    policy = _policy(page.decode())

    @router.get("/health")
    async def health() -> schemas.HealthResponse:
        """Whether the process is alive. No key needed."""
        return schemas.HealthResponse()

    @router.get("/ready", responses=_NO_REDIS)
    async def ready() -> schemas.ReadyResponse:
        """Whether models are loaded and Redis, if configured, answers. No key needed."""
        if bus.is_configured:
            await bus.query(lambda bus: bus.redis.ping())
        return schemas.ReadyResponse(models=models.run, newer_models_refused=models.rejection is not None)

    @router.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
    async def show_metrics() -> Response:
        """Metrics of the server for Prometheus, and those of all services while Redis answers."""
        content = generate_latest(metrics.registry)
        with suppress(ProblemError):
            status = await bus.query(read_status)
            content += generate_latest(StatusCollector(status, models.forecaster.interval))
        return Response(content, media_type=CONTENT_TYPE_PLAIN_0_0_4)

    @router.get("/status", responses=_NO_REDIS)
    async def show_status() -> Status:
        """Status of all services."""
        return await bus.query(read_status)

    @router.get("/", response_class=Response, responses={200: {"content": {"text/html": {}}}})
    async def show_page() -> Response:
        """The status page, which updates itself."""
        return Response(page, media_type="text/html", headers={"Content-Security-Policy": policy})

    return router


def _describe(app: FastAPI, *, keyed: bool) -> dict[str, Any]:
    """FastAPI's OpenAPI description, with the problems' media type and the key added."""
    schema = FastAPI.openapi(app)
    schema["components"]["securitySchemes"] = _SECURITY_SCHEMES
    for path, operations in schema["paths"].items():
        for operation in operations.values():
            responses = operation["responses"]
            operation["security"] = []
            if keyed and path not in WITHOUT_KEY:
                operation["security"] = [{name: []} for name in _SECURITY_SCHEMES]
                responses["401"] = {**responses["default"], "description": "The key is missing or wrong."}
            for status in responses.keys() - {"200"}:
                responses[status]["content"] = {PROBLEM_JSON: responses[status]["content"]["application/json"]}
    return schema


def _policy(page: str) -> str:
    """Content-Security-Policy that allows only the page's own scripts and styles, and requests to this server."""
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
