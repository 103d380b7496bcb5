"""Runs studies in parallel child processes, which end with their parent."""

from __future__ import annotations

import signal
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing import get_context, resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import TYPE_CHECKING

from data.errors import RegimesError

if TYPE_CHECKING:
    from training.search.optimize import StudyTask
    from training.search.worker import SearchProgress

_PROCESSES = get_context("spawn")
_DONE = "done"


def run_side_by_side(
    tasks: Sequence[StudyTask], jobs: int, on_progress: Callable[[SearchProgress], None] = lambda progress: None
) -> None:
    """Run studies in ``jobs`` processes.

    A process stops within an epoch when this one ends, ``on_progress`` raises or Ctrl-C is pressed; its trial is
    repeated later. A study that fails does not stop the others.

    Raises
    ------
    RegimesError
        The first failure of a study or its process, after the other studies have ended.
    """
    waiting = deque(tasks)
    running: dict[Connection, tuple[StudyTask, BaseProcess]] = {}
    failures: list[RegimesError] = []
    try:
        while waiting or running:
            while waiting and len(running) < jobs:
                link, process = _start()
                running[link] = _give(waiting, link), process
            ready = wait(list(running))
            for link in [one for one in running if one in ready]:
                task, process = running[link]
                try:
                    message = link.recv()
                except (EOFError, OSError):
                    del running[link]
                    failures.append(_death(task, process))
                    continue
                if isinstance(message, RegimesError):
                    failures.append(message)
                elif message != _DONE:
                    on_progress(message)
                elif waiting:
                    running[link] = _give(waiting, link), process
                else:
                    del running[link]
                    _end(link, process)
    finally:
        for link in running:
            link.close()  # first all, then wait for the processes
        for link, (_, process) in running.items():
            _end(link, process)
    if failures:
        raise failures[0]


def _start() -> tuple[Connection, BaseProcess]:
    ours, theirs = _PROCESSES.Pipe()
    process = _PROCESSES.Process(target=_run, args=(theirs,), daemon=True)
    with _without_ctrl_c():
        process.start()
    theirs.close()
    return ours, process


def _give(waiting: deque[StudyTask], link: Connection) -> StudyTask:
    task = waiting.popleft()
    link.send(task)
    return task


def _end(link: Connection, process: BaseProcess) -> None:
    link.close()
    process.join()


def _death(task: StudyTask, process: BaseProcess) -> RegimesError:
    process.join()
    return RegimesError(
        f"{task.name}: the process of its study died (exit code {process.exitcode}). Its finished trials are kept; "
        "run the same command again to continue."
    )


@contextmanager
def _without_ctrl_c() -> Iterator[None]:
    """Processes started in the block ignore Ctrl-C, which a terminal sends to all processes."""
    resource_tracker.ensure_running()  # its start would unblock the signal
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _run(link: Connection) -> None:
    """Main loop of a process: one study after another. A message during a study means that the link was closed."""

    def on_progress(progress: SearchProgress) -> None:
        if link.poll():
            raise EOFError
        link.send(progress)

    with suppress(EOFError, ConnectionError):  # the parent has ended
        while True:
            task: StudyTask = link.recv()
            try:
                task.run(on_progress)
            except RegimesError as error:
                link.send(error)
            link.send(_DONE)
