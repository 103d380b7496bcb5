"""What every request passes before it is answered: who asks, how many at once, how much they send."""

from __future__ import annotations

import asyncio
import base64
import binascii
import hmac
import ipaddress
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import structlog
from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from runners.live.server.errors import ProblemError
from runners.live.server.metrics import ServerMetrics

KEY_HEADER = "X-API-Key"
WITHOUT_KEY = ("/health", "/ready")
_CHALLENGE = {"WWW-Authenticate": 'Basic realm="regimes", charset="UTF-8"'}
_HEADERS = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}

log = structlog.get_logger()


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches the address; a name other than localhost might lead anywhere."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.lower() == "localhost"


class Watch:
    """Outermost: counts and times each request, and turns a fault into an answer that tells nothing of the inside."""

    def __init__(self, app: ASGIApp, metrics: ServerMetrics) -> None:
        self._app, self._metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status, begin = 0, time.perf_counter()

        async def note_and_send(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers[name] = value
            await send(message)

        self._metrics.begin()
        try:
            await self._app(scope, receive, note_and_send)
        except Exception:
            log.exception("request failed", service="server", method=scope["method"], path=scope["path"][:200])
            if status:  # the answer had begun: all that is left is to break it off
                raise
            problem = ProblemError(500, "The server failed to answer this; its log says why.")
            await problem.response()(scope, receive, note_and_send)
        finally:
            self._metrics.end(scope["path"], status, time.perf_counter() - begin)


class Keyed:
    """Lets through who knows the key, on every route but those that tell whether the server is well.

    Without a key it lets through who came by a name of this machine: a page that a browser on it has open could
    otherwise have its own name point here, and read what the server says.

    Parameters
    ----------
    key
        Expected in the header ``X-API-Key``, or as the password of HTTP Basic; None lets everybody on this machine in.
    """

    def __init__(self, app: ASGIApp, key: str | None) -> None:
        self._app, self._key = app, key.encode() if key else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] not in WITHOUT_KEY:
            refused = self._refusal(scope)
            if refused:
                await refused.response()(scope, receive, send)
                return
        await self._app(scope, receive, send)

    def _refusal(self, scope: Scope) -> ProblemError | None:
        headers: dict[bytes, bytes] = dict(scope["headers"])
        if self._key is None:
            host = headers.get(b"host", b"localhost").decode("latin-1")
            if is_loopback(host.rpartition(":")[0] if not host.endswith("]") and ":" in host else host):
                return None
            return ProblemError(
                421, "Without a key the server answers only to names of this machine, such as localhost."
            )
        given = headers.get(KEY_HEADER.lower().encode(), _password(headers))
        if hmac.compare_digest(given, self._key):
            return None
        return ProblemError(
            401, f"Send the key in the header {KEY_HEADER}, or as the password of HTTP Basic.", headers=_CHALLENGE
        )


def _password(headers: Mapping[bytes, bytes]) -> bytes:
    """The password of HTTP Basic (RFC 7617); empty if there is none."""
    scheme, _, credentials = headers.get(b"authorization", b"").partition(b" ")
    if scheme.lower() != b"basic":
        return b""
    try:
        return base64.b64decode(credentials.strip(), validate=True).partition(b":")[2]
    except binascii.Error:
        return b""


class Places:
    """How many requests may be in the house: those at work and those that wait."""

    def __init__(self, number: int) -> None:
        self._free = number

    @contextmanager
    def taken(self) -> Iterator[None]:
        """A place for the block.

        Raises
        ------
        ProblemError
            503 if there is none.
        """
        if self._free <= 0:
            raise ProblemError(503, "All places are taken; try again shortly.", headers={"Retry-After": "1"})
        self._free -= 1
        try:
            yield
        finally:
            self._free += 1


async def read_body(request: Request, most: int, seconds: float) -> bytes:
    """The body, of at most so many bytes, sent within so many seconds.

    Raises
    ------
    ProblemError
        415 if it is not declared to be JSON, 413 if it is longer, 408 if it takes longer, 400 if the client leaves.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise ProblemError(415, "Send JSON, with the header Content-Type: application/json.")
    too_long = ProblemError(413, f"The body is longer than {most} bytes.")
    declared = request.headers.get("content-length", "0")
    if declared.isdigit() and int(declared[:20]) > most:
        raise too_long
    body = bytearray()
    try:
        async with asyncio.timeout(seconds):
            while True:
                message = await request.receive()
                if message["type"] == "http.disconnect":
                    raise ProblemError(400, "The connection ended within the body.")
                body += message.get("body", b"")
                if len(body) > most:
                    raise too_long
                if not message.get("more_body", False):
                    return bytes(body)
    except TimeoutError:
        raise ProblemError(408, f"The body took longer than {seconds:g} s.", headers={"Connection": "close"}) from None
