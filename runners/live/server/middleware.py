"""Checks requests before their route: key, size, time and number."""

from __future__ import annotations

import asyncio
import base64
import binascii
import hmac
import ipaddress
import time
from collections.abc import Mapping

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from runners.live.server.errors import ProblemError
from runners.live.server.metrics import ServerMetrics

KEY_HEADER = "X-API-Key"
WITHOUT_KEY = ("/health", "/ready")
_CHALLENGE = {"WWW-Authenticate": 'Basic realm="regimes", charset="UTF-8"'}
_HEADERS = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}

log = structlog.get_logger()


def is_loopback(host: str) -> bool:
    """Whether the address is this machine's own; a name other than localhost counts as another machine."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.lower() == "localhost"


class RequestMetrics:
    """Counts and times each request, and answers 500 without details after an internal error."""

    def __init__(self, app: ASGIApp, metrics: ServerMetrics) -> None:
        self._app, self._metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status, begin = 0, time.perf_counter()

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers[name] = value
            await send(message)

        self._metrics.begin()
        try:
            await self._app(scope, receive, send_with_headers)
        except Exception:
            log.exception("request failed", service="server", method=scope["method"], path=scope["path"][:200])
            if status:  # the response has begun, so only the connection can be closed
                raise
            problem = ProblemError(500, "Internal error. The server's log has the details.")
            await problem.response()(scope, receive, send_with_headers)
        finally:
            self._metrics.end(scope["path"], status, time.perf_counter() - begin)


class ApiKey:
    """Requires the key, in the header ``X-API-Key`` or as the password of HTTP Basic, except for health checks.

    If the key is None, the request's host must be this machine. Otherwise a web page in a browser on this machine could
    let its own domain point here, and read the answers (DNS rebinding).
    """

    def __init__(self, app: ASGIApp, key: str | None) -> None:
        self._app, self._key = app, key.encode() if key else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] not in WITHOUT_KEY:
            problem = self._problem(dict(scope["headers"]))
            if problem:
                await problem.response()(scope, receive, send)
                return
        await self._app(scope, receive, send)

    def _problem(self, headers: Mapping[bytes, bytes]) -> ProblemError | None:
        if self._key is None:
            host = headers.get(b"host", b"localhost").decode("latin-1")
            if is_loopback(host.rpartition(":")[0] if not host.endswith("]") and ":" in host else host):
                return None
            return ProblemError(421, "Without a key the server answers only requests to this machine, as localhost.")
        if shows_key(headers, self._key):
            return None
        return ProblemError(
            401, f"Send the key in the header {KEY_HEADER}, or as the password of HTTP Basic.", headers=_CHALLENGE
        )


def shows_key(headers: Mapping[bytes, bytes], key: bytes) -> bool:
    """Whether the headers, whose names are in lower case, have this key."""
    return hmac.compare_digest(headers.get(KEY_HEADER.lower().encode(), _password(headers)), key)


def _password(headers: Mapping[bytes, bytes]) -> bytes:
    """The password of HTTP Basic (RFC 7617); empty if there is none."""
    scheme, _, credentials = headers.get(b"authorization", b"").partition(b" ")
    if scheme.lower() != b"basic":
        return b""
    try:
        return base64.b64decode(credentials.strip(), validate=True).partition(b":")[2]
    except binascii.Error:
        return b""


class BodyLimits:
    """Reads the body of each POST to the route ``path``, and limits its size, its time and the number of requests.

    Parameters
    ----------
    requests
        Number of requests in progress; one more is answered 503.
    size
        Largest body in bytes.
    seconds
        Seconds in which a body must arrive.
    """

    def __init__(self, app: ASGIApp, path: str, requests: int, size: int, seconds: float) -> None:
        self._app, self._path, self._free, self._size, self._seconds = app, path, requests, size, seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or (scope["method"], scope["path"]) != ("POST", self._path):
            await self._app(scope, receive, send)
            return
        if self._free <= 0:
            full = ProblemError(503, "Too many requests. Try again shortly.", headers={"Retry-After": "1"})
            await full.response()(scope, receive, send)
            return
        self._free -= 1
        try:
            messages = [await self._read(Headers(scope=scope), receive)]

            async def replay() -> Message:
                return messages.pop() if messages else await receive()

            await self._app(scope, replay, send)
        except ProblemError as problem:
            await problem.response()(scope, receive, send)
        finally:
            self._free += 1

    async def _read(self, headers: Headers, receive: Receive) -> Message:
        if headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
            raise ProblemError(415, "Send JSON with the header Content-Type: application/json.")
        too_long = ProblemError(413, f"The body is longer than {self._size} bytes.")
        declared = headers.get("content-length", "0")
        if declared.isdigit() and int(declared[:20]) > self._size:
            raise too_long
        body, more = bytearray(), True
        try:
            async with asyncio.timeout(self._seconds):
                while more:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise ProblemError(400, "The connection ended before the end of the body.")
                    body += message.get("body", b"")
                    more = message.get("more_body", False)
                    if len(body) > self._size:
                        raise too_long
        except TimeoutError:
            detail = f"The body took longer than {self._seconds:g} s."
            raise ProblemError(408, detail, headers={"Connection": "close"}) from None
        return {"type": "http.request", "body": bytes(body), "more_body": False}
