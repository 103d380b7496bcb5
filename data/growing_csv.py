"""Appends candles to a CSV file; a crash loses no bar that was written."""

from __future__ import annotations

import os
from pathlib import Path

import pandas as pd

from data.candles import OHLCV, read_candles
from data.errors import DataError
from data.files import write_text

HEADER = ",".join(["timestamp", *OHLCV])
TIME_FORMAT = "%Y-%m-%dT%H:%M:%SZ"


class GrowingCsv:
    """A CSV of candles that grows in a part file.

    `append` writes to the file ``part``, which starts as a copy of ``existing``, the CSV to continue, if any; the next
    attempt continues it. `finish` renames it. A kill at any moment leaves ``existing`` intact, under its old or its
    final name, and in ``part`` every row except one that was being written.
    """

    def __init__(self, part: Path, existing: Path | None) -> None:
        self.part, self.existing = part, existing
        self._drop_unfinished_row()
        if existing and part.exists() and not _text(part).startswith(_text(existing)):
            part.unlink()  # existing has changed since
        self.source = part if part.exists() else existing
        self._size = _size(part)

    def known(self) -> pd.DataFrame | None:
        """The candles so far, ``(n_bars, 5)``, or None if there are none.

        Raises a `DataError` if the file's columns or times have another format than `append` writes.
        """
        if not self.source:
            return None
        candles = read_candles(self.source)
        with self.source.open(encoding="utf-8") as file:
            header, first = file.readline().rstrip(), file.readline()
        expected = candles.index[0].strftime(TIME_FORMAT)
        if header != HEADER or not first.startswith(expected):
            raise DataError(
                f"{self.source}: has the columns {header} and times such as {first.split(',')[0]}. Candles can be "
                f"appended only to {HEADER} and {expected}. Choose another --name to begin a new file."
            )
        return candles

    def append(self, candles: pd.DataFrame) -> None:
        """Append rows and flush them to disk; raises a `DataError` if another process has written to the file."""
        if _size(self.part) != self._size:
            raise DataError(f"{self.part}: another download is writing to it. Wait until it ends.")
        if not self.part.exists():
            text = _text(self.existing) if self.existing else HEADER
            write_text(self.part, text if text.endswith("\n") else text + "\n")
            self.source = self.part
        with self.part.open("a", encoding="utf-8") as file:
            file.write(candles[OHLCV].to_csv(header=False, date_format=TIME_FORMAT, lineterminator="\n"))
            file.flush()
            os.fsync(file.fileno())
        self._size = _size(self.part)

    def finish(self, final: Path) -> None:
        """Replace the existing file by the part file, named ``final``; do nothing if no row was appended."""
        if not self.part.exists():
            return
        if self.existing:
            self.existing.replace(final)  # a kill between the two renames leaves both files for the next attempt
        self.part.replace(final)

    def _drop_unfinished_row(self) -> None:
        """Remove an incomplete last row, and a part file without a complete row."""
        if self.part.exists():
            content = self.part.read_bytes()
            whole = content[: content.rfind(b"\n") + 1]
            if whole.count(b"\n") < 2:
                self.part.unlink()
            elif whole != content:
                write_text(self.part, whole.decode())


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
