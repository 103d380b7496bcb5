"""Remembers the trial records of a workspace in one SQLite file, so that not all results are read each time.

The file is only a memory of what lies in the folders: it can be deleted at any time. Results that are not in it are
read and added, and those whose folders are gone are dropped. Several processes may use it at once.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from data.errors import DataError
from runners.backtesting.runs import DAMAGE
from runners.backtesting.trial_files import ResultFolder, read_record, result_folders
from runners.backtesting.trial_records import Choice, TradedBars, TrialRecord

INDEX = ".trials.sqlite"
_VERSION = 1  # of the table and of what is in it; a file of another version is made anew
_PATIENCE_S = 60.0  # for another process that writes
_COLUMNS = {
    "path": "TEXT PRIMARY KEY",
    "stamp": "TEXT",
    "kind": "TEXT",
    "first_bar": "TEXT",
    "last_bar": "TEXT",
    "months": "TEXT",
    "training": "TEXT",
    "hashes": "BLOB",
    "sharpes": "BLOB",
    "series": "BLOB",
    "correlation": "REAL",
    "study": "TEXT",
    "choice": "TEXT",
}


class RecordsRead(NamedTuple):
    """The trial records of a workspace, and a warning for each result that cannot be read."""

    records: list[TrialRecord]
    warnings: list[str]


def read_records(results: Path) -> RecordsRead:
    """The records of all results in a workspace, from the index as far as they are in it."""
    folders = {folder.path: folder for folder in result_folders(results)}
    if not folders:
        return RecordsRead([], [])
    file = results / INDEX
    try:
        with suppress(sqlite3.OperationalError):  # locked, or on a disk that is full or read-only
            return _read(str(file), results, folders)
    except (sqlite3.DatabaseError, *DAMAGE):
        for name in (file.name, f"{file.name}-journal"):
            with suppress(OSError):
                (results / name).unlink()
        with suppress(sqlite3.Error):
            return _read(str(file), results, folders)
    return _read(":memory:", results, folders)


def _read(database: str, results: Path, folders: Mapping[str, ResultFolder]) -> RecordsRead:
    with closing(sqlite3.connect(database, timeout=_PATIENCE_S, isolation_level=None)) as index:
        _prepare(index)
        known = dict(index.execute("SELECT path, stamp FROM results"))
        outdated = [path for path, stamp in known.items() if path not in folders or folders[path].stamp != stamp]
        new: list[tuple[ResultFolder, TrialRecord]] = []
        warnings = []
        for folder in folders.values():
            if known.get(folder.path) != folder.stamp:
                try:
                    new.append((folder, read_record(results, folder.path, folder.kind)))
                except DataError as error:
                    warnings.append(str(error))
        if outdated or new:
            with _transaction(index):
                index.executemany("DELETE FROM results WHERE path = ?", [(path,) for path in outdated])
                marks = ", ".join(f":{name}" for name in _COLUMNS)
                index.executemany(f"INSERT OR REPLACE INTO results VALUES ({marks})", _rows(new))
        return RecordsRead([_record(row) for row in _all_rows(index)], warnings)


def _prepare(index: sqlite3.Connection) -> None:
    """Make the table, unless there is one of this version."""
    wanted = f"CREATE TABLE results ({', '.join(f'{name} {kind}' for name, kind in _COLUMNS.items())})"
    tables = index.execute("SELECT sql FROM sqlite_master WHERE name = 'results'").fetchall()
    if tables == [(wanted,)] and index.execute("PRAGMA user_version").fetchone() == (_VERSION,):
        return
    with _transaction(index):
        index.execute("DROP TABLE IF EXISTS results")
        index.execute(wanted)
        index.execute(f"PRAGMA user_version = {_VERSION}")


@contextmanager
def _transaction(index: sqlite3.Connection) -> Iterator[None]:
    """Lock the file for the other processes, and write all or nothing."""
    index.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        index.execute("ROLLBACK")
        raise
    index.execute("COMMIT")


def _rows(records: Iterable[tuple[ResultFolder, TrialRecord]]) -> Iterator[dict[str, Any]]:
    for folder, record in records:
        yield {
            "path": folder.path,
            "stamp": folder.stamp,
            "kind": record.kind,
            "first_bar": record.bars.first_bar.isoformat(),
            "last_bar": record.bars.last_bar.isoformat(),
            "months": " ".join(record.bars.months),
            "training": record.training,
            "hashes": record.hashes.tobytes(),
            "sharpes": record.sharpes.tobytes(),
            "series": None if record.series is None else record.series.tobytes(),
            "correlation": record.correlation,
            "study": record.study,
            "choice": json.dumps(record.choice.to_dict()) if record.choice else None,
        }


def _all_rows(index: sqlite3.Connection) -> Iterator[dict[str, Any]]:
    """All rows in the order of their paths, so that results are counted in the same order each time."""
    for values in index.execute(f"SELECT {', '.join(_COLUMNS)} FROM results ORDER BY path"):
        yield dict(zip(_COLUMNS, values, strict=True))


def _record(row: Mapping[str, Any]) -> TrialRecord:
    dataset, *_, made = row["path"].split("/")
    times = pd.Timestamp(row["first_bar"]), pd.Timestamp(row["last_bar"])
    return TrialRecord(
        row["kind"],
        made,
        TradedBars(dataset, *times, tuple(row["months"].split())),
        row["training"],
        np.frombuffer(row["hashes"], dtype=np.uint64),
        np.frombuffer(row["sharpes"]),
        None if row["series"] is None else np.frombuffer(row["series"], dtype=np.float32),
        row["correlation"],
        row["study"],
        Choice.from_dict(json.loads(row["choice"])) if row["choice"] else None,
    )
