"""Runs tasks in new processes that import the user's code anew, and records what it opens there.

A template process imports this package and nothing of the user's. It forks for each task, which takes milliseconds
instead of the seconds of an import.
"""

from __future__ import annotations

import os
import pickle
import signal
import sys
from collections.abc import Callable, Sequence
from functools import cache
from importlib import import_module
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar

from data.errors import DataError

_SPAWN = get_context("spawn")
_IMPORTED_BEFORE = ("hmmlearn.hmm", "sklearn.preprocessing", "runners.lookahead.order_runs", "runners.lookahead.tasks")

Result = TypeVar("Result")


class Ran(NamedTuple, Generic[Result]):
    """A task's result, and what user code opened meanwhile (`runners.lookahead.audit.Watch.opened`)."""

    result: Result
    opened: tuple[str, ...] = ()


def run_fresh(code: Sequence[Path], tasks: Sequence[Callable[[], Result]]) -> list[Ran[Result]]:
    """Run each task in a process of its own, side by side; without user code, here.

    Parameters
    ----------
    code
        The user's files, which each process loads before its task.
    tasks
        Partial functions of this package with arguments that can be pickled. What they raise is raised here.
    """
    if not code:
        return [Ran(task()) for task in tasks]
    started = [_start(code, task) for task in tasks]
    return [_result(replies, code) for replies in started]


def _start(code: Sequence[Path], task: Callable[[], Any]) -> Connection:
    ours, theirs = _SPAWN.Pipe(duplex=False)
    files = tuple(file.resolve() for file in code)
    _template().send((theirs, os.getcwd(), files, pickle.dumps(task)))  # the task may hold what the files define
    theirs.close()
    return ours


def _result(replies: Connection, code: Sequence[Path]) -> Ran[Any]:
    try:
        result, error, opened = replies.recv()
    except EOFError:
        names = ", ".join(file.name for file in code)
        raise DataError(f"{names}: the process that ran it ended early. Does it call sys.exit?") from None
    if error is not None:
        raise error
    return Ran(result, opened)


@cache
def _template() -> Connection:
    ours, theirs = _SPAWN.Pipe()
    _SPAWN.Process(target=_serve, args=(theirs,), daemon=True).start()
    theirs.close()
    return ours


def _serve(requests: Connection) -> None:
    """Fork for each request until the other end is closed."""
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):  # a process that forks should have one thread
        os.environ[name] = "1"
    for module in _IMPORTED_BEFORE:
        import_module(module)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the children
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    while True:
        try:
            replies, folder, code, task = requests.recv()
        except EOFError:
            return
        if os.fork() == 0:
            os.chdir(folder)
            _answer(replies, code, task)
        replies.close()


def _answer(replies: Connection, code: Sequence[Path], task: bytes) -> None:
    from runners.lookahead.audit import Watch
    from runners.workspace.user_code import load_code

    for ended in (signal.SIGCHLD, signal.SIGINT):
        signal.signal(ended, signal.SIG_DFL)
    watch, result, error = Watch(), None, None
    try:
        try:
            for file in code:
                load_code(file)
            result = pickle.loads(task)()
        except Exception as raised:
            error = raised
        replies.send((result, error, tuple(watch.opened)))
    finally:
        sys.stdout.flush()
        os._exit(0)
