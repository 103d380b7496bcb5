"""Reads candles from vendors' files, and says what it recognised and what it changed."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from data.candles import OHLCV, PRICES, REGIME, check_candles, check_rows, read_candles
from data.csv_table import Rows
from data.errors import DataError, SettingsError
from data.importers.columns import column_notes, column_positions, recognise, rows_of_symbol
from data.importers.formats import TIME_COLUMNS, Format
from data.importers.joining import Part, drop, join, line_list
from data.importers.numbers import decimal_of, parse_labels, parse_number
from data.importers.options import ImportOptions, QuestionError
from data.importers.resampling import resample
from data.importers.tables import Table, read_tables
from data.importers.times import parse_times
from data.intervals import interval_of

_USED = ("symbol", "adj_close", "tick_volume", *TIME_COLUMNS)


@dataclass(frozen=True)
class Imported:
    """Candles of vendors' files.

    Attributes
    ----------
    candles
        ``(n_bars, 5 + n_extra)`` as from `data.candles.read_candles`.
    notes
        What was recognised, taken, changed and left out, in sentences.
    unchanged
        The CSV that `read_candles` reads as it is, so that it can be copied; None if something was changed.
    """

    candles: pd.DataFrame
    notes: tuple[str, ...]
    unchanged: Path | None = None


def import_candles(paths: Sequence[Path], options: ImportOptions) -> Imported:
    """Read the candles of one series from one or more files of any format in `data.importers.columns.FORMATS`.

    Raises
    ------
    QuestionError
        If a file can be read in several ways; the message names the option that chooses one.
    DataError
        If a file cannot be read, or its candles are impossible (`data.candles.check_candles`).
    """
    if len(paths) == 1 and options == ImportOptions() and paths[0].suffix == ".csv":
        try:
            return Imported(read_candles(paths[0]), (f"{paths[0]}: nothing had to be changed",), unchanged=paths[0])
        except DataError:
            pass  # it has another format
    read = [_read_part(table, options) for path in paths for table in read_tables(path, options)]
    parts, notes = [part for part, _ in read], _grouped(read)
    joined = join(parts)
    if options.drop_zero_volume:
        joined = drop(joined, (joined.candles["volume"] == 0).to_numpy(), "without volume")
    candles = joined.candles
    if options.close_only:
        candles = _from_closes(candles)
        notes.append("made from closes: open is the previous close, high and low the larger and the smaller of the two")
    check_rows(candles, source=joined.source, line=joined.places)
    notes += joined.notes
    if options.resample:
        candles, note = resample(candles, options.resample)
        notes.append(note)
        check_candles(candles, source=joined.source)
    else:
        check_candles(candles, source=joined.source, line=joined.places)
    return Imported(candles, tuple(notes))


def remedy(path: Path) -> str | None:
    """A sentence on the `regimes import` that reads a CSV which `read_candles` refuses; None if none does."""
    call = shlex.join(["regimes", "import", str(path), "--name", f"{path.stem}_imported"])
    try:
        import_candles([path], ImportOptions())
    except QuestionError as question:
        return f"`{call}` reads it if you answer a question: {question}"
    except (DataError, SettingsError):
        return None
    return f"`{call}` makes a dataset of it, and says what it changes."


def _grouped(read: Sequence[tuple[Part, str]]) -> list[str]:
    """What was read, once for all files of which the same is to be said."""
    sources: dict[str, list[str]] = {}
    for part, details in read:
        sources.setdefault(details, []).append(part.source)
    return [
        f"{names[0]}{f' and {len(names) - 1} more' if len(names) > 1 else ''}: {details}"
        for details, names in sources.items()
    ]


def _read_part(table: Table, options: ImportOptions) -> tuple[Part, str]:
    """The candles of one table, and what was recognised, changed and left out."""
    fmt = recognise(table, options)
    positions = column_positions(table, fmt, options)
    columns = {ours: table.cells[number] for ours, number in positions.items()}
    kept, line = np.ones(len(table.cells), dtype=bool), table.line
    left_out = []
    for ours, column in columns.items():
        if ours in TIME_COLUMNS and table.names is not None and not pd.api.types.is_numeric_dtype(column):
            repeated = (column.astype(str).str.strip() == table.names[positions[ours]]).to_numpy()
            kept &= ~repeated
    if not kept.all():
        left_out.append(f"repeated headers dropped: {(~kept).sum():,} ({line_list(line[~kept])})")
    if not kept.any():
        raise DataError(f"{table.source}: has no candles.")
    if "symbol" in columns:
        kept &= rows_of_symbol(table, columns["symbol"], kept, options)
        left_out += [f"took the rows of {options.symbol}"] if options.symbol else []
    if not kept.all():
        columns, line = {name: column[kept] for name, column in columns.items()}, line[kept]
    values, empty = _values(table, columns, line, options)
    if empty.all():
        raise DataError(f"{table.source}: has no prices.")
    if empty.any():
        left_out.append(f"rows without prices dropped: {empty.sum():,} ({line_list(line[empty])})")
        columns = {name: column[~empty] for name, column in columns.items()}
        values, line = values[~empty], line[~empty]
    rows = Rows(table.source, "line", line, {name: columns[name] for name in TIME_COLUMNS if name in columns})
    index, time_notes = parse_times(rows, fmt, options)
    if fmt.stamps_close and index.nunique() > 1:
        index -= interval_of(index.unique().sort_values())
        time_notes.append("moved from the end of each bar to its open")
    values, value_notes = _finished(values, fmt, options, table.source)
    details = (*table.notes, *column_notes(table, positions), *time_notes, *value_notes, *left_out)
    return Part(table.source, values.set_axis(index), line), "; ".join((fmt.name, *details))


def _values(
    table: Table, columns: dict[str, pd.Series], line: np.ndarray, options: ImportOptions
) -> tuple[pd.DataFrame, np.ndarray]:
    """The numbers of all columns but the times', and the mask of the rows without any price."""
    wanted = {name: column for name, column in columns.items() if name not in (*TIME_COLUMNS, "symbol", REGIME)}
    decimal = options.decimal or decimal_of([wanted[name] for name in PRICES if name in wanted])
    if decimal is None:
        raise QuestionError(
            f"{table.source}: the comma in numbers such as {wanted['close'].iloc[0]} may be the decimal sign or "
            "separate thousands. Answer with --decimal comma or --decimal point."
        )
    rows = Rows(table.source, "line", line, columns)
    numbers = {}
    for name, column in wanted.items():
        numbers[name], wrong = parse_number(column, decimal)
        rows.find(wrong, f"{name} is {{{name}!r}}, which is not a number. Correct or drop the row.")
    if REGIME in columns:
        numbers[REGIME] = parse_labels(rows, columns[REGIME], options)
    rows.refuse_found()
    values = pd.DataFrame(numbers, index=columns[next(iter(columns))].index)
    return values, values[[name for name in PRICES if name in values]].isna().all(axis=1).to_numpy()


def _finished(values: pd.DataFrame, fmt: Format, options: ImportOptions, source: str) -> tuple[pd.DataFrame, list[str]]:
    """OHLCV, the regime and the columns that the user named; scaled, adjusted and with a volume."""
    notes = []
    if options.close_only:
        values = values.assign(open=values["close"], high=values["close"], low=values["close"])
    if fmt.scale != 1:
        values[PRICES] = values[PRICES] * fmt.scale
        notes.append(f"prices multiplied by {fmt.scale:g}")
    if "tick_volume" in values and not ("volume" in values and values["volume"].any()):
        values["volume"] = values["tick_volume"]
        notes.append("the volume counts ticks")
    if "volume" not in values or values["volume"].isna().all():
        values["volume"] = 0.0
        notes.append("it has no volume; written as 0, so features of the volume contain no information")
    if options.adjust:
        if "adj_close" not in values:
            raise SettingsError(f"--adjust: {source} has no adjusted closes. Name them: --columns adj_close=NAME.")
        factor = values["adj_close"] / values["close"]
        values[PRICES] = values[PRICES].mul(factor, axis=0)
        values["close"] = values["adj_close"]
        notes.append("prices adjusted by adjusted close / close")
    elif "adj_close" in values:
        notes.append("the adjusted closes are not used; --adjust adjusts the prices by them")
    extra = [name for name in values if name not in (*OHLCV, *_USED)]
    return values[[*OHLCV, *extra]].astype(float), notes


def _from_closes(candles: pd.DataFrame) -> pd.DataFrame:
    """Candles that open at the previous close."""
    opened = candles["close"].shift(1).fillna(candles["close"])
    high, low = np.maximum(opened, candles["close"]), np.minimum(opened, candles["close"])
    return candles.assign(open=opened, high=high, low=low)
