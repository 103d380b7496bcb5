"""Processes that die at a chosen step of what they write."""

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
    """Do the work in a fork of this process; gives its exit status: 0 done, 1 failed, -signal where one ended it."""
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
    """Send this process the signal at the first step for which this holds, of all that write into the workspace.

    It is asked with the name of the file that is to be opened, renamed or removed next, or of the folder to be made.
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
    """Do the work in processes of which the first dies at its first step, the next at its second, and so on.

    Stops after each death, for a look at what is there, and ends with the process that came through.
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
