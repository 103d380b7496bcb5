"""How a terminal shows tables, sentences and progress: results on standard output, the rest on standard error."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from json import dumps
from pathlib import Path
from textwrap import wrap
from typing import TYPE_CHECKING, Any

from rich import box
from rich.console import Console, JustifyMethod
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
)
from rich.table import Table

from runners.formatting import unbroken

if TYPE_CHECKING:
    import pandas as pd

    from training.search.worker import SearchProgress
    from training.trainer import Progress as Epoch

out = Console(highlight=False)
_wide_out = Console(highlight=False, width=240)  # a narrower terminal wraps its lines and keeps every word
err = Console(stderr=True, highlight=False)


def working(text: str) -> AbstractContextManager[Any]:
    """Within the block a terminal shows that something goes on."""
    return err.status(text)


def notice(text: str) -> None:
    """A sentence on standard error, for who waits or should know."""
    err.print(text, style="yellow")


def warn(warnings: Iterable[str], source: str = "") -> None:
    """Warnings on standard error, one line each, after the name of what they are about."""
    for sentence in warnings:
        notice(f"{source}: {sentence}" if source else sentence)


def print_error(error: object) -> None:
    """Why a command ends, in one line on standard error."""
    err.print(f"Error: {error}", style="red", soft_wrap=True, markup=False)


def say(sentence: str) -> None:
    """A sentence in lines that end between words, but not before a per cent sign nor within ``p = 0.04``."""
    lines = wrap(unbroken(sentence), out.width, break_long_words=False, break_on_hyphens=False)
    out.print("\n".join(lines).replace("\N{NO-BREAK SPACE}", " "), soft_wrap=True, markup=False)


def print_table(
    title: str,
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    wide: bool = False,
    folded: str | None = None,
) -> None:
    """A table; a ``wide`` one keeps every cell whole, so that it can be copied from a narrow terminal, too.

    In a table that is not wide, the cells of the column ``folded`` continue in further lines on a narrow terminal.
    """
    table = Table(title=escape(title) or None, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for number, name in enumerate(columns):
        whole = wide or folded not in (None, name)
        side: JustifyMethod = "left" if number == 0 or name == folded else "right"
        table.add_column(name, justify=side, no_wrap=whole, overflow="fold")
    for row in rows:
        table.add_row(*row)
    (_wide_out if wide else out).print(table)


def plain(rows: Sequence[Sequence[str]]) -> list[list[str]]:
    """Cells whose brackets are not markup."""
    return [[escape(cell) for cell in row] for row in rows]


def print_json(content: object) -> None:
    """JSON for another program: one line, and nothing else on standard output."""
    print(dumps(content, allow_nan=False))


def print_path(name: str, path: Path) -> None:
    """A path on one line, however narrow the terminal, so that it can be copied."""
    out.print(f"{name}: {path}", soft_wrap=True)


@contextmanager
def training_progress(dataset: str, epochs: int) -> Iterator[Callable[[Epoch], None]]:
    """A bar for each network; the block gets the function that moves them."""
    columns = (
        TextColumn("  {task.description:<10}"),
        BarColumn(30),
        MofNCompleteColumn(),
        TextColumn("validation loss {task.fields[loss]:.4f}"),
        TimeElapsedColumn(),
    )
    err.print(f"training {dataset}")
    with Progress(*columns, console=err) as progress:
        bars = {}

        def on_epoch(report: Epoch) -> None:
            if report.name not in bars:
                bars[report.name] = progress.add_task(report.name, total=epochs, loss=float("nan"))
            progress.update(bars[report.name], completed=report.epoch, loss=report.validation_loss)

        yield on_epoch


@contextmanager
def search_progress(dataset: str, trials: int) -> Iterator[Callable[[SearchProgress], None]]:
    """A bar for each study; the block gets the function that moves them."""
    columns = (
        TextColumn("  {task.description:<10}"),
        BarColumn(20),
        MofNCompleteColumn(),
        TextColumn("best {task.fields[best]:<8} {task.fields[epoch]:<9}"),
        TimeElapsedColumn(),
    )
    err.print(f"searching {dataset}")
    with Progress(*columns, console=err) as progress:
        bars = {}

        def on_progress(report: SearchProgress) -> None:
            if report.name not in bars:
                bars[report.name] = progress.add_task(report.name, total=trials, best="", epoch="")
            best = "-" if report.best is None else f"{report.best:.4f}"
            epoch = "waiting" if report.epoch is None else f"epoch {report.epoch}" if report.epoch else ""
            progress.update(bars[report.name], completed=report.finished, best=best, epoch=epoch)

        yield on_progress


@contextmanager
def folds_progress(folds: Mapping[str, int]) -> Iterator[Callable[[str], None]]:
    """A bar for each dataset; the block gets the function that counts one more of its folds."""
    columns = (TextColumn("  {task.description}"), BarColumn(30), MofNCompleteColumn(), TimeElapsedColumn())
    err.print("training folds")
    with Progress(*columns, console=err) as progress:
        bars = {dataset: progress.add_task(dataset, total=total) for dataset, total in folds.items()}
        yield lambda dataset: progress.advance(bars[dataset])


class DownloadBar:
    """The bar of a download, from the first candle's time to the last one's: how many there will be is unknown."""

    def __init__(self, progress: Progress, task: TaskID) -> None:
        self._progress, self._task = progress, task

    def begin(self, start: pd.Timestamp, end: pd.Timestamp) -> None:
        self._start = start
        self._progress.update(self._task, total=(end - start).total_seconds(), visible=True)

    def reach(self, last: pd.Timestamp) -> None:
        done = (last - self._start).total_seconds()
        self._progress.update(self._task, completed=done, status=f"{last:%Y-%m-%d}")

    def finish(self) -> None:
        self._progress.update(self._task, total=1, completed=1)

    def pause(self, seconds: float, why: str) -> None:
        """Wait before a request is tried again, and show why."""
        self._progress.update(self._task, status=f"again in {seconds:.0f} s: {why[:30]}", visible=True)
        time.sleep(seconds)


@contextmanager
def download_bar(what: str) -> Iterator[DownloadBar]:
    """A bar on standard error for a download; the block gets the object that moves it."""
    columns = (
        TextColumn("  {task.description}"),
        BarColumn(20),
        TaskProgressColumn(),
        TextColumn("{task.fields[status]}", markup=False),
    )
    with Progress(*columns, console=err) as progress:
        yield DownloadBar(progress, progress.add_task(what, total=None, status="", visible=False))
