"""Ensures a single active trader per dataset, through a 60-second lease in Redis."""

from __future__ import annotations

import json
import os
import secrets
import socket
import threading
import time
from contextlib import suppress

import structlog

from data.errors import LiveError
from runners.live.bus.bus import Bus

_RENEW_SECONDS = 1.0
_POLL_SECONDS = 4.0  # between two checks whether another holder still renews the lease


class Lease:
    """The lease of one trader; ``holder`` identifies it by host, process id and a random mark."""

    def __init__(self) -> None:
        self._renewed_at = 0.0
        self.holder = json.dumps({"host": socket.gethostname(), "pid": os.getpid(), "mark": secrets.token_hex(8)})

    def acquire(self, bus: Bus, stop: threading.Event) -> None:
        """Acquire the lease: at once if its holder died on this machine, otherwise when it has expired.

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
            if before - left < _POLL_SECONDS / 2:  # renewed since the last check
                raise _other_trader(bus, holder)
            if before == float("inf"):
                log = structlog.get_logger().bind(service="trader")
                log.warning("another trader may be active", **_process(holder), looks_for=round(left))
            stop.wait(_POLL_SECONDS)

    def renew(self, bus: Bus) -> None:
        """Renew the lease, at most once per second; raises LiveError if another trader has it."""
        now = time.monotonic()
        if now - self._renewed_at < _RENEW_SECONDS:
            return
        self._renewed_at = now
        holder = bus.acquire_lease(self.holder)
        if holder is not None:
            raise _other_trader(bus, holder)

    @staticmethod
    def is_held(bus: Bus) -> bool:
        """Whether a trader may be active; one that died on another machine counts until its lease expires."""
        holder = bus.lease_holder()
        return holder is not None and not _died_here(holder)

    def release(self, bus: Bus) -> None:
        """Let another trader start at once."""
        bus.release_lease(self.holder)


def _process(holder: str) -> dict[str, object]:
    """Process id and host of a holder; "?" if it cannot be read."""
    try:
        fields = json.loads(holder)
        return {"pid": fields["pid"], "host": fields["host"]}
    except (ValueError, KeyError, TypeError):
        return {"pid": "?", "host": "?"}


def _other_trader(bus: Bus, holder: str) -> LiveError:
    pid, host = _process(holder).values()
    return LiveError(f"another trader of {bus.name} is active: process {pid} on {host}. Run only one.")


def _died_here(holder: str) -> bool:
    pid, host = _process(holder).values()
    if host != socket.gethostname():
        return False
    if pid == os.getpid():
        return True  # this process, or one with the same id before the machine or container restarted
    with suppress(PermissionError):
        try:
            os.kill(int(str(pid)), 0)
        except ProcessLookupError:
            return True
    return False
