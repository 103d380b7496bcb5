"""Limits connections to the model server, so that no client keeps others out."""

from __future__ import annotations

import asyncio

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from runners.live.server.middleware import shows_key

MOST_CONNECTIONS = 512
_MOST_WITHOUT_KEY = 384  # of one address
_HEAD_BYTES, _HEAD_SECONDS = 64 * 1024, 10.0  # limits of a request's header
_IDLE, _IDLE_WITHOUT_KEY = 75, 5  # seconds between two requests on a connection


class LimitedProtocol(HttpToolsProtocol):
    """Closes connections without a request or with a long header, before any key is checked.

    Above the limits, a new connection closes the oldest one that has neither shown the key nor a request in progress.
    So a new one is always answered, unless as many requests are in progress.

    Attributes
    ----------
    key
        The server's key, or None.
    opened
        All connections of the server, oldest first.
    """

    key: bytes | None
    opened: dict[LimitedProtocol, None]

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._in_head, self._head_bytes, self._is_known = False, 0, False
        self.timeout_keep_alive = _IDLE_WITHOUT_KEY if self.key else _IDLE
        self._late = self.loop.call_later(_HEAD_SECONDS, transport.close)
        self._make_room()
        self.opened[self] = None

    def _make_room(self) -> None:
        unknown = [one for one in self.opened if not one._is_known]
        of_address = [one for one in unknown if one._address == self._address]
        if len(of_address) >= _MOST_WITHOUT_KEY:
            unknown = of_address
        elif len(self.opened) < MOST_CONNECTIONS:
            return
        oldest = next((one for one in unknown if one.cycle is None or one.cycle.response_complete), self)
        self.opened.pop(oldest, None)
        oldest.transport.abort()

    @property
    def _address(self) -> str:
        return self.client[0] if self.client else ""

    def connection_lost(self, exc: Exception | None) -> None:
        self._late.cancel()
        self.opened.pop(self, None)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._head_bytes += len(data) if self._in_head else 0
        if self._head_bytes > _HEAD_BYTES and not self.transport.is_closing():
            self.send_400_response("The request's header is too long.")

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._in_head, self._head_bytes = True, 0
        self._late.cancel()
        self._late = self.loop.call_later(_HEAD_SECONDS, self.transport.close)

    def on_headers_complete(self) -> None:
        self._late.cancel()
        self._in_head, self._head_bytes = False, 0
        if len(self.url) + sum(len(name) + len(value) for name, value in self.headers) > _HEAD_BYTES:
            raise ValueError("the header is too long")  # answered 400, as other invalid requests
        if self.key and shows_key(dict(self.headers), self.key):
            self._is_known, self.timeout_keep_alive = True, _IDLE
        super().on_headers_complete()
