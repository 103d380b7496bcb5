"""Several live services in one process, each in a thread, until they are told to end."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

_LOOKS = 0.05  # seconds between two looks at whether all is done


class Runs(Protocol):
    def run(self, stop: threading.Event, /) -> None: ...


def run_together(services: Sequence[Runs], done: Callable[[], bool] | None = None, *, lingers: float = 0.0) -> None:
    """Run the services until one fails, the last one named ends, ``done`` says so, or Ctrl-C or SIGTERM comes.

    Parameters
    ----------
    lingers
        Seconds for which the others go on when the last one has ended.

    Raises
    ------
    Exception
        What the first of them failed with, once all have ended.
    """
    stop = threading.Event()
    failures: list[BaseException] = []

    def run(service: Runs) -> None:
        try:
            service.run(stop)
        except BaseException as error:
            failures.append(error)
            stop.set()

    with _stopped_by_signal(stop):
        threads = [threading.Thread(target=run, args=(service,), name=type(service).__name__) for service in services]
        for thread in threads:
            thread.start()
        while not stop.is_set() and threads[-1].is_alive() and not (done and done()):
            stop.wait(_LOOKS)
        stop.wait(lingers)
        stop.set()
        for thread in threads:
            thread.join()
    if failures:
        raise failures[0]


@contextmanager
def _stopped_by_signal(stop: threading.Event) -> Iterator[None]:
    """Within the block Ctrl-C and SIGTERM only set ``stop``."""

    def set_stop(*_: Any) -> None:
        stop.set()

    before = {one: signal.signal(one, set_stop) for one in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)
