"""Receivers of messages on this machine: by HTTP, by mail, and one that never answers."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from email import message_from_bytes, policy
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from aiosmtpd.controller import Controller

SECRET = "n0t-to-be-seen"


class HttpReceiver:
    """Keeps the texts and titles of the messages that it accepts; ``refuses`` all with status 500 if set."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.titles: set[str] = set()
        self.refuses, self.refused = False, 0
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                content = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                if receiver.refuses:
                    receiver.refused += 1
                else:
                    receiver.texts.append(content["message"].partition(" UTC: ")[2])
                    receiver.titles.add(content["title"])
                self.send_response(500 if receiver.refuses else 200)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))

    @property
    def url(self) -> str:
        return f"json://127.0.0.1:{self._server.server_port}/{SECRET}"

    def __enter__(self) -> HttpReceiver:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class MailReceiver:
    """Keeps subject and body of each mail."""

    def __init__(self) -> None:
        self.mails: list[tuple[str, str]] = []
        self._controller = Controller(self, hostname="127.0.0.1", port=free_port())

    @property
    def url(self) -> str:
        return f"mailto://127.0.0.1:{self._controller.port}?from=bot@example.com&to={SECRET}@example.com"

    async def handle_DATA(self, _server: Any, _session: Any, envelope: Any) -> str:  # noqa: N802
        mail = message_from_bytes(envelope.content, policy=policy.default)
        body = mail.get_body(("plain", "html"))
        assert body is not None
        self.mails.append((mail["Subject"], body.get_content()))
        return "250 OK"

    def __enter__(self) -> MailReceiver:
        self._controller.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._controller.stop()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


@contextmanager
def hanging_receiver() -> Iterator[str]:
    """URL of a receiver that accepts connections and never answers, until the block ends."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"json://127.0.0.1:{listener.getsockname()[1]}/{SECRET}?rto=600"
