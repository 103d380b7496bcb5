"""Of one dataset's traders one trades: who it is stands in Redis, for a minute after it said so last."""

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

_SAYS = 1.0  # seconds between two words of a trader that it is at work
_LOOK = 4.0  # seconds between two looks at whether another one says so


class Lease:
    """What makes a trader the only one.

    Attributes
    ----------
    mark
        Of this trader: its host and process, and what tells it from any other.
    """

    def __init__(self) -> None:
        self._kept_at = 0.0
        self.mark = json.dumps({"host": socket.gethostname(), "pid": os.getpid(), "mark": secrets.token_hex(8)})

    def take(self, bus: Bus, stop: threading.Event) -> None:
        """Become the only one, at once if the one before has ended or died on this machine; else wait for its minute.

        Raises
        ------
        LiveError
            If it is at work.
        """
        left = float("inf")
        while not stop.is_set():
            holder = bus.hold_trading(self.mark)
            if holder is None:
                return
            if _died_here(holder):
                bus.release_trading(holder)
                continue
            before, left = left, bus.trading_held_for()
            if before - left < _LOOK / 2:  # it has said so again
                raise LiveError(_at_work(bus, holder))
            if before == float("inf"):
                log = structlog.get_logger()
                log.warning("another trader may be at work", service="trader", **_known(holder), looks_for=round(left))
            stop.wait(_LOOK)

    def keep(self, bus: Bus) -> None:
        """Say that it is still at work, once a second at most.

        Raises
        ------
        LiveError
            If another one has taken its place.
        """
        now = time.monotonic()
        if now - self._kept_at < _SAYS:
            return
        self._kept_at = now
        holder = bus.hold_trading(self.mark)
        if holder is not None:
            raise LiveError(_at_work(bus, holder))

    @staticmethod
    def is_taken(bus: Bus) -> bool:
        """Whether a trader is at work, or may be: one that died elsewhere counts for a minute."""
        holder = bus.who_trades()
        return holder is not None and not _died_here(holder)

    def give_back(self, bus: Bus) -> None:
        """Let another trader begin at once."""
        bus.release_trading(self.mark)


def _known(holder: str) -> dict[str, object]:
    try:
        told = json.loads(holder)
        return {"pid": told["pid"], "host": told["host"]}
    except (ValueError, KeyError, TypeError):
        return {"pid": "?", "host": "?"}


def _at_work(bus: Bus, holder: str) -> str:
    told = _known(holder)
    return f"another trader of {bus.name} is at work: process {told['pid']} on {told['host']}. Let one run at a time."


def _died_here(holder: str) -> bool:
    told = _known(holder)
    if told["host"] != socket.gethostname():
        return False
    if told["pid"] == os.getpid():
        return True  # of this process, or of one that had its number before the machine or container was started anew
    with suppress(PermissionError):
        try:
            os.kill(int(str(told["pid"])), 0)
        except ProcessLookupError:
            return True
    return False
