"""Prints tables and sentences to standard output, and notices and progress to standard error."""

from __future__ import annotations

import sys
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from json import dumps
from pathlib import Path
from textwrap import wrap
from typing import TYPE_CHECKING, Any, TextIO, cast

from rich import box
from rich.console import Console, JustifyMethod
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    Task,
    TaskID,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
)
from rich.table import Table
from rich.text import Text

from runners.formatting import unbroken, visible

if TYPE_CHECKING:
    import pandas as pd

    from training.search.worker import SearchProgress
    from training.trainer import Progress as Epoch


class _StandardError:
    """Standard error, whose failures, such as a full disk or a closed pipe, must not end a command or a service."""

    @property
    def _stream(self) -> Any:
        return getattr(sys.stderr, "rich_proxied_file", sys.stderr)  # while rich shows progress; None if it was closed

    def write(self, text: str) -> None:
        with suppress(OSError, AttributeError):
            self._stream.write(text)

    def flush(self) -> None:
        with suppress(OSError, AttributeError):
            self._stream.flush()

    def isatty(self) -> bool:
        return self._stream is not None and bool(self._stream.isatty())

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


class _PlainConsole(Console):
    """Prints texts as they are, because names of files may contain anything: no markup, control characters escaped."""

    def __init__(self, **options: Any) -> None:
        super().__init__(highlight=False, markup=False, emoji=False, **options)

    def render_str(self, text: str, **options: Any) -> Text:
        return super().render_str(visible(text), **options)


class _PlainColumn(TextColumn):
    """A column of a progress bar that shows texts as they are."""

    def render(self, task: Task) -> Text:
        return Text(visible(self.text_format.format(task=task)))


out = _PlainConsole()
_wide_out = _PlainConsole(width=240)  # a narrower terminal wraps its lines
standard_error = cast("TextIO", _StandardError())
err = _PlainConsole(file=standard_error)


def working(text: str) -> AbstractContextManager[Any]:
    """Show a spinner while the block runs."""
    return err.status(text)


def notice(text: str) -> None:
    """Print a sentence to standard error."""
    err.print(_one_line(text), style="yellow")


def warn(warnings: Iterable[str], source: str = "") -> None:
    """Print warnings about ``source`` to standard error, one per line."""
    for warning in warnings:
        notice(f"{source}: {warning}" if source else warning)


def print_error(error: object) -> None:
    """Print the error that ends a command on standard error: one line, and one for each of its notes."""
    for line in (f"Error: {error}", *getattr(error, "__notes__", ())):
        err.print(_one_line(line), style="red", soft_wrap=True)


def print_traceback(error: BaseException) -> None:
    """Print the traceback of an error to standard error."""
    err.print("".join(traceback.format_exception(error)), soft_wrap=True, end="")


def _one_line(text: str) -> str:
    """The text with its line breaks escaped, such as one in a file's name."""
    return text.replace("\n", "\\n")


def say(sentence: str) -> None:
    """Print a sentence, wrapped between words but not before a unit or within ``p = 0.04``."""
    lines = wrap(unbroken(sentence), out.width, break_long_words=False, break_on_hyphens=False)
    out.print("\n".join(lines).replace("\N{NO-BREAK SPACE}", " "), soft_wrap=True)


def print_table(
    title: str,
    columns: Sequence[str],
    rows: Sequence[Sequence[str | Text]],
    *,
    wide: bool = False,
    folded: str | None = None,
) -> None:
    """Print a table; cells do not wrap if it is ``wide`` or, outside the column ``folded``, if that is given."""
    table = Table(title=title or None, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for number, name in enumerate(columns):
        whole = wide or folded not in (None, name)
        side: JustifyMethod = "left" if number == 0 or name == folded else "right"
        table.add_column(name, justify=side, no_wrap=whole, overflow="fold")
    for row in rows:
        table.add_row(*(_one_line(cell) if isinstance(cell, str) else cell for cell in row))
    (_wide_out if wide else out).print(table)


def print_json(content: object) -> None:
    """Print JSON for another program, in one line."""
    print(dumps(content, allow_nan=False))


def print_path(name: str, path: Path) -> None:
    """Print a path on one line, so that it can be copied from a narrow terminal."""
    out.print(_one_line(f"{name}: {path}"), soft_wrap=True)


@contextmanager
def _bars(title: str) -> Iterator[Callable[[str, int, int, str], None]]:
    """Show one bar per name; yield the function that sets name, completed steps, total steps and status."""
    columns = (
        _PlainColumn("  {task.description:<11}"),
        BarColumn(20),
        MofNCompleteColumn(),
        _PlainColumn("{task.fields[status]}"),
        TimeElapsedColumn(),
    )
    err.print(title)
    with Progress(*columns, console=err) as progress:
        bars: dict[str, TaskID] = {}

        def update(name: str, completed: int, total: int, status: str) -> None:
            if name not in bars:
                bars[name] = progress.add_task(name, total=total, status="")
            progress.update(bars[name], completed=completed, status=status)

        yield update


@contextmanager
def training_progress(dataset: str, epochs: int) -> Iterator[Callable[[Epoch], None]]:
    """Show one bar per network and member, and one until the first epoch ends; yield the function that updates them."""
    with _bars(f"training {dataset}") as update:
        update("preparing", 0, 1, "features, regimes and the first epoch")

        def on_epoch(epoch: Epoch) -> None:
            update("preparing", 1, 1, "")
            update(f"{epoch.name} {epoch.member}", epoch.epoch, epochs, f"validation loss {epoch.validation_loss:.4f}")

        yield on_epoch


@contextmanager
def search_progress(dataset: str, trials: int) -> Iterator[Callable[[SearchProgress], None]]:
    """Show one bar per study; yield the function that updates it."""

    def on_progress(report: SearchProgress) -> None:
        best = "-" if report.best is None else f"{report.best:.4f}"
        epoch = "waiting" if report.epoch is None else f"epoch {report.epoch}" if report.epoch else ""
        update(report.name, report.finished, trials, f"best {best:<8} {epoch:<9}")

    with _bars(f"searching {dataset}") as update:
        yield on_progress


@contextmanager
def counting_progress(title: str, totals: Mapping[str, int]) -> Iterator[Callable[[str], None]]:
    """Show one bar per name; yield the function that counts one more of a name."""
    columns = (_PlainColumn("  {task.description}"), BarColumn(30), MofNCompleteColumn(), TimeElapsedColumn())
    err.print(title)
    with Progress(*columns, console=err) as progress:
        bars = {name: progress.add_task(name, total=total) for name, total in totals.items()}
        yield lambda name: progress.advance(bars[name])


class DownloadBar:
    """The progress bar of a download; it measures time, because the number of candles is unknown."""

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
        """Wait before a request is repeated, and show why."""
        self._progress.update(self._task, status=f"retry in {seconds:.0f} s: {why[:30]}", visible=True)
        time.sleep(seconds)


@contextmanager
def download_bar(title: str) -> Iterator[DownloadBar]:
    """Show the progress bar of a download; yield the object that updates it."""
    columns = (
        _PlainColumn("  {task.description}"),
        BarColumn(20),
        TaskProgressColumn(),
        _PlainColumn("{task.fields[status]}"),
    )
    with Progress(*columns, console=err) as progress:
        yield DownloadBar(progress, progress.add_task(title, total=None, status="", visible=False))
