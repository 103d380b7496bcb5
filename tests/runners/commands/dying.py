"""Processes that a signal ends at a chosen file operation."""

from __future__ import annotations

import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

_STEPS = {"open", "os.mkdir", "os.rename", "os.remove"}
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT


def in_a_process(work: Callable[[], object]) -> int:
    """Do the work in a fork of this process; return the exit status: 0 done, 1 failed, -signal if one ended it."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    try:
        work()
    except KeyboardInterrupt:
        os.kill(os.getpid(), signal.SIGTERM)
    except BaseException:
        traceback.print_exc(file=sys.__stderr__)
        os._exit(1)
    os._exit(0)


def die_at(workspace: Path, is_the_step: Callable[[str], bool], how: signal.Signals) -> None:
    """Send this process a signal at the first operation in the workspace for which ``is_the_step`` is true.

    ``is_the_step`` gets the name of the next file to open, rename or remove, or of the next folder to create.
    """
    armed = True

    def watch(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal armed
        if not armed or event not in _STEPS or not str(arguments[0]).startswith(str(workspace)):
            return
        reads = event == "open" and not int(str(arguments[2])) & _WRITES
        if not reads and is_the_step(Path(str(arguments[0])).name):
            armed = False
            os.kill(os.getpid(), how)

    sys.addaudithook(watch)


def die_at_every_step(workspace: Path, work: Callable[[], object], how: signal.Signals) -> Iterator[None]:
    """Do the work in processes: the first dies at its first step, the next one at its second, and so on.

    Yields after each death, so that the test can look at the files, and ends after the first process that succeeds.
    """
    status, step = -how, 0
    while status:
        step += 1
        left = iter(range(step - 1, -1, -1))

        def dying(left: Iterator[int] = left) -> None:
            die_at(workspace, lambda name: next(left) == 0, how)
            work()

        status = in_a_process(dying)
        assert status <= 0, f"step {step} failed"
        if status:
            yield
