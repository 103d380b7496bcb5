"""Writes imported candles as a dataset, and beside it what was done."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from data.candles import REGIME, REGIME_LABELS
from data.files import sha256_of, write_bytes
from data.import_record import write_record
from data.importers.importing import Imported


def write_imported(imported: Imported, file: Path, sources: Sequence[Path]) -> Path:
    """Write the CSV ``file`` and ``NAME.import.json`` beside it, with the hashes of all files; return the latter."""
    hashes = {str(source.resolve()): sha256_of(source) for source in sources}
    if imported.unchanged:
        write_bytes(file, imported.unchanged.read_bytes())
    else:
        write_bytes(file, _csv(imported.candles))
    return write_record(file, hashes, imported.notes)


def _csv(candles: pd.DataFrame) -> bytes:
    """The candles as CSV; each number is the shortest text that gives it again."""
    table = candles.reset_index(drop=True)
    if REGIME in table:
        table[REGIME] = table[REGIME].map(_label)
    table.insert(0, "timestamp", _time_texts(pd.DatetimeIndex(candles.index)))
    try:  # ten times as fast as pandas
        from pyarrow import Table
        from pyarrow.csv import WriteOptions, write_csv
    except ImportError:
        return table.to_csv(index=False, lineterminator="\n").encode()
    text, header = io.BytesIO(), ",".join(map(str, table)) + "\n"
    text.write(header.encode())
    write_csv(Table.from_pandas(table), text, WriteOptions(include_header=False, quoting_style="none"))
    return text.getvalue()


def _label(number: float) -> str:
    """A regime as a word, which means the same to every reader, if it has one."""
    return {float(regime): word for word, regime in REGIME_LABELS.items()}.get(number, f"{number:.0f}")


def _time_texts(index: pd.DatetimeIndex) -> pd.Series:
    """The times as ISO 8601 in UTC ``(n,)``, made from the days and the times of day that occur."""
    midnight = index.tz_localize(None).normalize()
    day, days = pd.factorize(midnight)
    clock, clocks = pd.factorize(index.tz_localize(None) - midnight)
    moments = pd.Timestamp(0) + pd.TimedeltaIndex(clocks)
    fine = "" if (moments == moments.floor("s")).all() else ".%f"
    dates, times = pd.DatetimeIndex(days).strftime("%Y-%m-%d"), moments.strftime(f"T%H:%M:%S{fine}Z")
    return pd.Series(dates.to_numpy(dtype=object)[day] + times.to_numpy(dtype=object)[clock])
