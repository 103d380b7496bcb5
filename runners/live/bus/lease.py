"""Ensures a single active trader per dataset, through a 60-second lease in Redis."""

from __future__ import annotations

import json
import os
import secrets
import socket
import threading
import time
from contextlib import suppress

from data.errors import LiveError
from runners.live.bus.bus import Bus

_RENEW_SECONDS = 1.0
_POLL_SECONDS = 4.0  # between two looks at whether another holder still renews


class Lease:
    """One trader's claim to be the only one.

    Attributes
    ----------
    holder
        Identifies this trader: host, process and a random mark.
    """

    def __init__(self) -> None:
        self._renewed_at = 0.0
        self.holder = json.dumps({"host": socket.gethostname(), "pid": os.getpid(), "mark": secrets.token_hex(8)})

    def acquire(self, bus: Bus, stop: threading.Event) -> None:
        """Acquire the lease: at once if its holder ended or died on this machine, else when it has expired.

        Raises
        ------
        LiveError
            If another trader renews it.
        """
        left = float("inf")
        while not stop.is_set():
            holder = bus.acquire_lease(self.holder)
            if holder is None:
                return
            if _died_here(holder):
                bus.release_lease(holder)
                continue
            before, left = left, bus.lease_seconds_left()
            if before - left < _POLL_SECONDS / 2:  # renewed since the last look
                raise LiveError(_at_work(bus, holder))
            if before == float("inf"):
                import structlog

                log = structlog.get_logger().bind(service="trader")
                log.warning("another trader may be at work", **_process(holder), looks_for=round(left))
            stop.wait(_POLL_SECONDS)

    def renew(self, bus: Bus) -> None:
        """Renew the lease, once per second at most.

        Raises
        ------
        LiveError
            If another trader has taken it.
        """
        now = time.monotonic()
        if now - self._renewed_at < _RENEW_SECONDS:
            return
        self._renewed_at = now
        holder = bus.acquire_lease(self.holder)
        if holder is not None:
            raise LiveError(_at_work(bus, holder))

    @staticmethod
    def is_held(bus: Bus) -> bool:
        """Whether a trader may be running: one that died on another machine counts until its lease expires."""
        holder = bus.lease_holder()
        return holder is not None and not _died_here(holder)

    def release(self, bus: Bus) -> None:
        """Let another trader start at once."""
        bus.release_lease(self.holder)


def _process(holder: str) -> dict[str, object]:
    """Process id and host of a holder."""
    try:
        fields = json.loads(holder)
        return {"pid": fields["pid"], "host": fields["host"]}
    except (ValueError, KeyError, TypeError):
        return {"pid": "?", "host": "?"}


def _at_work(bus: Bus, holder: str) -> str:
    pid, host = _process(holder).values()
    return f"another trader of {bus.name} is at work: process {pid} on {host}. Let one run at a time."


def _died_here(holder: str) -> bool:
    pid, host = _process(holder).values()
    if host != socket.gethostname():
        return False
    if pid == os.getpid():
        return True  # of this process, or of one with the same number before the machine or container restarted
    with suppress(PermissionError):
        try:
            os.kill(int(str(pid)), 0)
        except ProcessLookupError:
            return True
    return False
