"""The bar of a download, which measures time: how many candles there will be is not known."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import pandas as pd
from rich.progress import BarColumn, Progress, TaskID, TaskProgressColumn, TextColumn

from runners.terminal import err


class DownloadBar:
    """From the first candle's time to the last one's."""

    def __init__(self, progress: Progress, task: TaskID) -> None:
        self._progress, self._task = progress, task

    def begin(self, start: pd.Timestamp, end: pd.Timestamp) -> None:
        self._start = start
        self._progress.update(self._task, total=(end - start).total_seconds(), visible=True)

    def reach(self, last: pd.Timestamp) -> None:
        done = (last - self._start).total_seconds()
        self._progress.update(self._task, completed=done, said=f"{last:%Y-%m-%d}")

    def finish(self) -> None:
        self._progress.update(self._task, total=1, completed=1)

    def pause(self, seconds: float, why: str) -> None:
        """Wait before a request is tried again, and say so."""
        self._progress.update(self._task, said=f"again in {seconds:.0f} s: {why[:30]}", visible=True)
        time.sleep(seconds)


@contextmanager
def download_bar(what: str) -> Iterator[DownloadBar]:
    """A bar on standard error; the block gets what moves it."""
    columns = (
        TextColumn("  {task.description}"),
        BarColumn(20),
        TaskProgressColumn(),
        TextColumn("{task.fields[said]}", markup=False),
    )
    with Progress(*columns, console=err) as progress:
        yield DownloadBar(progress, progress.add_task(what, total=None, said="", visible=False))
