"""Sends messages to people through apprise, without delaying the caller."""

from __future__ import annotations

import datetime as dt
import logging
import queue
import threading
import time
import warnings
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import structlog

from data.errors import SettingsError

MESSAGES_VARIABLE = "REGIMES_MESSAGES"
_QUEUED = 100  # messages per receiver
_ATTEMPTS, _FIRST_PAUSE = 5, 2.0  # a message is given up after pauses of 2 + 4 + 8 + 16 seconds
_GRACE = 10.0  # seconds for the messages that are left at the end


class Messages:
    """Sends each message to all receivers.

    Each receiver has a thread and a bounded queue, so one that hangs or refuses delays neither the caller nor the
    others. If its queue is full, its oldest message is dropped. No URL is shown or logged: a receiver is called by the
    name of its service and its position.

    Parameters
    ----------
    urls
        URLs of apprise, such as ``tgram://TOKEN/CHAT``; they contain secrets.
    title
        Title of each message.

    Raises
    ------
    SettingsError
        If apprise does not know a URL.
    """

    def __init__(self, urls: Sequence[str], title: str) -> None:
        plugins = [_plugin(url, number) for number, url in enumerate(urls, start=1)]
        names = [f"{plugin.service_name} {number}" for number, plugin in enumerate(plugins, start=1)]
        self._receivers = [_Receiver(name, plugin, title) for name, plugin in zip(names, plugins, strict=True)]

    @property
    def counted(self) -> Counter[str]:
        """Number of messages sent, failed and dropped, each once per receiver."""
        return sum((receiver.counted for receiver in self._receivers), Counter())

    def send(self, text: str) -> None:
        """Add a message with the current time to each queue; returns at once."""
        for receiver in self._receivers:
            receiver.add(f"{dt.datetime.now(dt.UTC):%Y-%m-%d %H:%M} UTC: {text}")

    def try_out(self, text: str) -> dict[str, bool]:
        """Send a message at once and once; returns for each receiver whether it accepted the message."""
        return {receiver.name: receiver.deliver(text) for receiver in self._receivers}

    def close(self) -> None:
        """Wait a few seconds until the messages so far are sent."""
        end = time.monotonic() + _GRACE
        for receiver in self._receivers:
            receiver.stop()
        for receiver in self._receivers:
            receiver.wait(end)


class _Receiver:
    def __init__(self, name: str, plugin: Any, title: str) -> None:
        self.name = name
        self.counted: Counter[str] = Counter()
        self._plugin, self._title = plugin, title
        self._log = structlog.get_logger().bind(service="messenger", receiver=name)
        self._queue: queue.Queue[str | None] = queue.Queue(_QUEUED)  # None is the end
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)  # it may hang for ever
        self._thread.start()

    def add(self, text: str | None) -> None:
        while True:
            try:
                return self._queue.put_nowait(text)
            except queue.Full:
                with suppress(queue.Empty):
                    self._queue.get_nowait()
                    self.counted["messages_dropped"] += 1
                    self._log.warning("message dropped, because the receiver is too slow", waiting=_QUEUED)

    def stop(self) -> None:
        self._closing.set()
        self.add(None)

    def wait(self, end: float) -> None:
        self._thread.join(max(0.0, end - time.monotonic()))
        if self._thread.is_alive():
            self._log.warning("messages not sent, because the receiver is too slow", waiting=self._queue.qsize())

    def deliver(self, text: str) -> bool:
        with suppress(Exception):  # a plugin may raise any
            return bool(self._plugin.notify(body=text, title=self._title))
        return False

    def _run(self) -> None:
        while (text := self._queue.get()) is not None:
            if self._deliver_patiently(text):
                self.counted["messages_sent"] += 1
            else:
                self.counted["messages_failed"] += 1
                self._log.warning("message not accepted by the receiver", attempts=_ATTEMPTS)

    def _deliver_patiently(self, text: str) -> bool:
        for attempt in range(_ATTEMPTS):
            if self.deliver(text):
                return True
            if attempt < _ATTEMPTS - 1:
                self._closing.wait(_FIRST_PAUSE * 2**attempt)
        return False


def _plugin(url: str, number: int) -> Any:
    """Apprise's plugin for a URL. Apprise is imported here, because that takes half a second."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # it loads all its plugins
        import apprise

        plugin = apprise.Apprise.instantiate(url)
    logging.getLogger("apprise").propagate = False  # its messages may contain parts of the URL
    if plugin is None:
        raise SettingsError(
            f"apprise does not know URL number {number} for messages. Check it, in {MESSAGES_VARIABLE} or [live]."
        )
    return plugin
