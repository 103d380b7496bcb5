"""Simulates Binance's kline websocket for the real ccxt.pro client; tests decide when it sends."""

from __future__ import annotations

import contextlib
import json
import logging
import socket
import threading
from http import HTTPStatus
from typing import Any

from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response
from websockets.sync.server import ServerConnection, serve

from tests.patience import PATIENCE_S

KLINES = "btcusdt@kline_4h"
SANDBOX = "/test"  # prefix of the sandbox's paths


class StreamServer:
    """Websocket connections, their subscriptions and faults.

    Every method may be called from any thread but the one that runs the client's event loop: there, those that wait
    would keep the client from what they wait for, so use ``await asyncio.to_thread(exchange.wait_for_subscriber)``.
    """

    def __init__(self) -> None:
        self.refuse_websockets = False  # answer new connections with HTTP 503
        self.refused = 0  # number of refused connections so far
        self.sandbox_requests = 0  # number of requests to REST and websocket so far
        self._changed = threading.Condition()  # guards the state of the exchange
        self._connections: dict[ServerConnection, set[str]] = {}  # and their streams
        self._last_events: list[dict[str, Any]] = []
        self._silent = False
        self._websockets = serve(
            self._serve_client,
            "127.0.0.1",
            0,
            process_request=self._admit,
            ping_interval=None,
            open_timeout=PATIENCE_S,
            logger=logging.Logger("exchange", logging.CRITICAL + 1),  # a dropped connection is not an error here
        )
        self.websocket_url = f"ws://127.0.0.1:{self._websockets.socket.getsockname()[1]}"

    def drop_connections(self) -> None:
        """Close all websockets without a closing handshake."""
        with self._changed:
            for connection in self._connections:
                with contextlib.suppress(OSError):  # its client has closed it already
                    connection.socket.shutdown(socket.SHUT_RDWR)
            self._connections.clear()

    def silence(self) -> None:
        """Drop all events from now on, but keep the connections and answer pings and subscriptions."""
        self._silent = True

    def speak(self) -> None:
        """End the silence."""
        self._silent = False

    def repeat(self) -> None:
        """Send the last events again."""
        self._send(self._last_events)

    def wait_for_subscriber(self, n: int = 1, timeout: float = PATIENCE_S) -> None:
        """Wait until ``n`` connections are subscribed to the candles.

        Raises
        ------
        TimeoutError
            If that takes longer than ``timeout`` seconds.
        """
        self._wait_for(lambda: sum(KLINES in streams for streams in self._connections.values()) >= n, timeout)

    def wait_for_refusals(self, n: int = 1, timeout: float = PATIENCE_S) -> None:
        """Wait until ``n`` connections were refused in total.

        Raises
        ------
        TimeoutError
            If that takes longer than ``timeout`` seconds.
        """
        self._wait_for(lambda: self.refused >= n, timeout)

    def _wait_for(self, condition: Any, timeout: float) -> None:
        with self._changed:
            if not self._changed.wait_for(condition, timeout):
                raise TimeoutError(f"waited {timeout} s: {self.refused} refused, subscribed {self._connections}")

    def _send(self, events: list[dict[str, Any]]) -> None:
        with self._changed:
            self._last_events = events
            if self._silent:
                return
            for connection, streams in self._connections.items():
                if KLINES in streams:
                    with contextlib.suppress(ConnectionClosed):  # its client is just leaving
                        for event in events:
                            connection.send(json.dumps(event))

    def _start(self) -> None:
        self._accepting = threading.Thread(target=self._websockets.serve_forever)
        self._accepting.start()

    def _stop(self) -> None:
        self.drop_connections()  # shutting down would wait for a client that does not answer any more
        self._websockets.shutdown()
        self._accepting.join()

    def _admit(self, connection: ServerConnection, request: Request) -> Response | None:
        with self._changed:
            self.sandbox_requests += request.path.startswith(SANDBOX)
            if not self.refuse_websockets:
                return None
            self.refused += 1
            self._changed.notify_all()
        return connection.respond(HTTPStatus.SERVICE_UNAVAILABLE, "")

    def _serve_client(self, connection: ServerConnection) -> None:
        with self._changed:
            streams = self._connections.setdefault(connection, set())
        with contextlib.suppress(ConnectionClosed):
            for message in connection:
                request = json.loads(message)
                with self._changed:
                    if request["method"] == "SUBSCRIBE":
                        streams.update(request["params"])
                    else:
                        streams.difference_update(request["params"])
                    connection.send(json.dumps({"result": None, "id": request["id"]}))
                    self._changed.notify_all()
        with self._changed:
            self._connections.pop(connection, None)
