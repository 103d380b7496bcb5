"""Runs the model server with uvicorn."""

from __future__ import annotations

import asyncio
import gc
import logging
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import structlog
import uvicorn
import uvloop

from data.errors import LiveError, SettingsError
from models.network import one_thread
from runners.live.bus.bus import Connect
from runners.live.server.app import DEFAULT_LIMITS, Limits, create_app
from runners.live.server.connections import MOST_CONNECTIONS, LimitedProtocol
from runners.live.server.middleware import is_loopback
from runners.live.services.model_reloader import ModelReloader

KEY_VARIABLE = "REGIMES_SERVER_KEY"
_GRACE = 10  # seconds to finish requests when the server stops
_POLL_SECONDS = 0.05

log = structlog.get_logger()


class Server:
    """Serves forecasts over HTTP.

    Parameters
    ----------
    models
        Models that forecast; no other service may refresh them.
    connect
        Returns the services' bus; None without Redis.
    host, port
        Address to listen on; ``port`` 0 takes a free one, and is the actual one once ``started`` is set.
    key
        Key that every request needs; None if only this machine can reach the server.

    Raises
    ------
    SettingsError
        If other machines could reach the server without a key.
    """

    def __init__(
        self,
        models: ModelReloader,
        connect: Connect | None,
        host: str = "127.0.0.1",
        port: int = 8000,
        key: str | None = None,
        limits: Limits = DEFAULT_LIMITS,
    ) -> None:
        if not key and not is_loopback(host):
            raise SettingsError(
                f"--host {host} lets other machines reach the server, which needs a key for that. Set the environment "
                f"variable {KEY_VARIABLE} to a long random text, or use 127.0.0.1."
            )
        self.host, self.port = "127.0.0.1" if host.lower() == "localhost" else host.strip("[]"), port
        self.started = threading.Event()
        self._key = key.encode() if key else None
        self._app = create_app(models, connect, key=key, limits=limits)

    def run(self, stop: threading.Event) -> None:
        """Serve until ``stop`` is set, then finish the requests in progress; raises LiveError if the port is taken."""
        config = uvicorn.Config(
            self._app,
            http=type("_Protocol", (LimitedProtocol,), {"key": self._key, "opened": {}}),
            ws="none",
            lifespan="on",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_graceful_shutdown=_GRACE,
        )
        with self._listen() as listener, one_thread(), _old_objects_frozen(), _uvicorn_logged():
            self.port = listener.getsockname()[1]
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.run(self._serve(_Uvicorn(config), listener, stop))
        log.info("ended", service="server")

    async def _serve(self, server: _Uvicorn, listener: socket.socket, stop: threading.Event) -> None:
        watcher = asyncio.create_task(self._wait_for_stop(server, stop))
        try:
            await server.serve(sockets=[listener])
        finally:
            watcher.cancel()

    async def _wait_for_stop(self, server: _Uvicorn, stop: threading.Event) -> None:
        while not server.started:
            await asyncio.sleep(_POLL_SECONDS)
        page = f"http://{f'[{self.host}]' if ':' in self.host else self.host}:{self.port}"
        log.info("started", service="server", host=self.host, port=self.port, page=page)
        self.started.set()
        while not stop.is_set():
            await asyncio.sleep(_POLL_SECONDS)
        server.should_exit = True

    def _listen(self) -> socket.socket:
        try:
            family = socket.getaddrinfo(self.host, self.port, type=socket.SOCK_STREAM)[0][0]
            return socket.create_server((self.host, self.port), family=family, backlog=MOST_CONNECTIONS)
        except OSError as error:
            reason = str(error.strerror).partition(" (while")[0]
            raise LiveError(
                f"the server cannot listen on {self.host}, port {self.port} ({reason}). Use another --host or --port, "
                "or stop the program that listens there."
            ) from None


class _Uvicorn(uvicorn.Server):
    """Does not handle signals; the caller does."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@contextmanager
def _old_objects_frozen() -> Iterator[None]:
    """Within the block, the garbage collector ignores older objects.

    Otherwise it sometimes stops the server for a quarter of a second, to scan the objects of torch and pandas.
    """
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


@contextmanager
def _uvicorn_logged() -> Iterator[None]:
    """Within the block, write uvicorn's warnings to our log and drop its other messages."""

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            log.warning("uvicorn", service="server", message=record.getMessage(), exc_info=record.exc_info)

    logger, handler = logging.getLogger("uvicorn"), Handler(logging.WARNING)
    before, logger.propagate = logger.propagate, False
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.propagate = before
