"""The model server as a service: it listens, answers until it is told to stop, and then ends what it has begun."""

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
from models.lstm import one_thread
from runners.live.server.app import DEFAULT_LIMITS, Limits, create_app
from runners.live.server.middleware import is_loopback
from runners.live.services.model_reloader import NewestModels
from runners.live.services.service import Connect

KEY_VARIABLE = "REGIMES_SERVER_KEY"
_CONNECTIONS = 512
_GRACE = 10  # seconds to answer what was asked before the end
_HEAD_BYTES, _HEAD_SECONDS = 64 * 1024, 10.0  # of a request, up to its body
_IDLE = 75  # seconds between two requests on a connection
_LOOK = 0.05  # seconds between two looks at whether to stop

log = structlog.get_logger()


class Server:
    """Answers with forecasts over HTTP.

    Parameters
    ----------
    models
        Whose forecasts it gives, for this service alone: it takes newer ones as they come.
    connect
        Gives the bus whose services it tells of; None if there is none.
    host, port
        Where to listen; port 0 takes a free one.
    key
        That requests must bear; not needed where only this machine can reach the server.

    Attributes
    ----------
    started
        Set once it listens.
    port
        Where it listens.

    Raises
    ------
    SettingsError
        If others than this machine could reach it without a key.
    """

    def __init__(
        self,
        models: NewestModels,
        connect: Connect | None,
        host: str = "127.0.0.1",
        port: int = 8000,
        key: str | None = None,
        limits: Limits = DEFAULT_LIMITS,
    ) -> None:
        if not key and not is_loopback(host):
            raise SettingsError(
                f"--host {host} lets other machines reach the server, which needs a key for that. Put a long random "
                f"text into the environment variable {KEY_VARIABLE}, or serve 127.0.0.1 only."
            )
        self.host, self.port = "127.0.0.1" if host.lower() == "localhost" else host.strip("[]"), port
        self.started = threading.Event()
        self._app = create_app(models, connect, key=key, limits=limits)

    def run(self, stop: threading.Event) -> None:
        """Answer until ``stop`` is set, then end what was begun; in whatever thread.

        Raises
        ------
        LiveError
            If the port cannot be listened on.
        """
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
        with self._listening() as listener, one_thread(), _no_look_at_old_objects(), _warnings_into_our_log():
            self.port = listener.getsockname()[1]
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.run(self._serve(_Uvicorn(config), listener, stop))
        log.info("ended", service="server")

    async def _serve(self, server: _Uvicorn, listener: socket.socket, stop: threading.Event) -> None:
        watch = asyncio.create_task(self._watch(server, stop))
        try:
            await server.serve(sockets=[listener])
        finally:
            watch.cancel()

    async def _watch(self, server: _Uvicorn, stop: threading.Event) -> None:
        while not server.started:
            await asyncio.sleep(_LOOK)
        page = f"http://{f'[{self.host}]' if ':' in self.host else self.host}:{self.port}"
        log.info("started", service="server", host=self.host, port=self.port, page=page)
        self.started.set()
        while not stop.is_set():
            await asyncio.sleep(_LOOK)
        server.should_exit = True

    def _listening(self) -> socket.socket:
        try:
            family = socket.getaddrinfo(self.host, self.port, type=socket.SOCK_STREAM)[0][0]
            return socket.create_server((self.host, self.port), family=family, backlog=_CONNECTIONS)
        except OSError as error:
            why = str(error.strerror).partition(" (while")[0]
            raise LiveError(
                f"the server cannot listen on {self.host}, port {self.port} ({why}). Name another with "
                "--host and --port, or end what listens there."
            ) from None


class _Uvicorn(uvicorn.Server):
    """Leaves signals alone: whoever runs the services says when to stop."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class _Protocol(HttpToolsProtocol):
    """Ends connections that bring no request, or one whose head does not end: those that no key holds back."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._in_head, self._head_bytes = False, 0
        self._late = self.loop.call_later(_HEAD_SECONDS, transport.close)

    def connection_lost(self, exc: Exception | None) -> None:
        self._late.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._head_bytes += len(data) if self._in_head else 0  # the first piece may hold a body, too
        super().data_received(data)
        if self._head_bytes > _HEAD_BYTES and not self.transport.is_closing():
            self.send_400_response("The request's head is too long.")

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
def _no_look_at_old_objects() -> Iterator[None]:
    """Within the block the garbage collector leaves alone what was there before it.

    It would look through all that torch and pandas have made for a quarter of a second now and then, in which nobody is
    answered.
    """
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


@contextmanager
def _warnings_into_our_log() -> Iterator[None]:
    """Within the block, what uvicorn warns of is an event as all others are, and nothing else of it is said."""

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
