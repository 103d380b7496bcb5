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
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from data.errors import LiveError, SettingsError
from models.network import one_thread
from runners.live.bus.bus import Connect
from runners.live.server.app import DEFAULT_LIMITS, Limits, create_app
from runners.live.server.middleware import is_loopback
from runners.live.services.model_reloader import ModelReloader

KEY_VARIABLE = "REGIMES_SERVER_KEY"
_CONNECTIONS = 512
_GRACE = 10  # seconds to finish requests when the server stops
_HEAD_BYTES, _HEAD_SECONDS = 64 * 1024, 10.0  # limits of a request's header
_IDLE = 75  # seconds between two requests on a connection
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
        self._app = create_app(models, connect, key=key, limits=limits)

    def run(self, stop: threading.Event) -> None:
        """Serve until ``stop`` is set, then finish the requests in progress; raises LiveError if the port is taken."""
        config = uvicorn.Config(
            self._app,
            http=_Protocol,
            ws="none",
            lifespan="on",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            limit_concurrency=_CONNECTIONS,
            timeout_keep_alive=_IDLE,
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
            return socket.create_server((self.host, self.port), family=family, backlog=_CONNECTIONS)
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


class _Protocol(HttpToolsProtocol):
    """Closes connections without a request or with an endless header, before any key is checked."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._in_head, self._head_bytes = False, 0
        self._late = self.loop.call_later(_HEAD_SECONDS, transport.close)

    def connection_lost(self, exc: Exception | None) -> None:
        self._late.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._head_bytes += len(data) if self._in_head else 0  # the first chunk may also contain a body
        super().data_received(data)
        if self._head_bytes > _HEAD_BYTES and not self.transport.is_closing():
            self.send_400_response("The request's header is too long.")

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._in_head = True
        self._late.cancel()
        self._late = self.loop.call_later(_HEAD_SECONDS, self.transport.close)

    def on_headers_complete(self) -> None:
        self._in_head, self._head_bytes = False, 0
        self._late.cancel()
        super().on_headers_complete()


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
