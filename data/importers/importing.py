"""Reads candles from vendors' files, and says what it recognised and what it changed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from data.candles import OHLCV, PRICES, REGIME, REGIME_LABELS, check_candles, check_rows, read_candles
from data.csv_table import Rows
from data.errors import DataError, SettingsError
from data.importers import exchanges, platforms, websites
from data.importers.formats import TIME_COLUMNS, Format, plain
from data.importers.joining import Part, drop, join
from data.importers.numbers import decimal_of, parse_number
from data.importers.options import ImportOptions, QuestionError
from data.importers.resampling import resample
from data.importers.tables import Table, read_tables
from data.importers.times import parse_times

FORMATS: tuple[Format, ...] = (
    *(*exchanges.FORMATS, *platforms.FORMATS, *websites.FORMATS),
    *(websites.UNNAMED, websites.NAMED),
)
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
    """Read the candles of one series from one or more files of any format in `FORMATS`.

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
    notes: list[str] = []
    parts = [_read_part(table, options, notes) for path in paths for table in read_tables(path, options)]
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
    call = f"regimes import {path} --name {path.stem}_imported"
    try:
        import_candles([path], ImportOptions())
    except QuestionError as question:
        return f"`{call}` reads it if you answer a question: {question}"
    except (DataError, SettingsError):
        return None
    return f"`{call}` makes a dataset of it, and says what it changes."


def _read_part(table: Table, options: ImportOptions, notes: list[str]) -> Part:
    """The candles of one table; adds to the notes what was recognised and left out."""
    fmt = _recognise(table, options)
    positions = _positions(table, fmt, options)
    columns = {ours: table.cells[number] for ours, number in positions.items()}
    kept, line = np.ones(len(table.cells), dtype=bool), table.line
    left_out = []
    for ours, column in columns.items():
        if ours in TIME_COLUMNS and table.names is not None and not pd.api.types.is_numeric_dtype(column):
            repeated = (column.astype(str).str.strip() == table.names[positions[ours]]).to_numpy()
            left_out += [f"dropped {(repeated & kept).sum():,} repeated headers"] if (repeated & kept).any() else []
            kept &= ~repeated
    if "symbol" in columns:
        kept &= _of_symbol(table, columns["symbol"], kept, options)
    if not kept.any():
        raise DataError(f"{table.source}: has no candles.")
    if not kept.all():
        columns, line = {name: column[kept] for name, column in columns.items()}, line[kept]
    values, empty = _values(table, columns, line, options)
    if empty.all():
        raise DataError(f"{table.source}: has no prices.")
    if empty.any():
        left_out.append(f"dropped {empty.sum():,} rows without prices (line {line[empty][0]} is the first)")
        columns = {name: column[~empty] for name, column in columns.items()}
        values, line = values[~empty], line[~empty]
    rows = Rows(table.source, "line", line, {name: columns[name] for name in TIME_COLUMNS if name in columns})
    index, time_notes = parse_times(rows, fmt, options)
    if fmt.stamps_close and len(index) > 1:
        step = np.abs(np.diff(index.asi8))
        index -= pd.Timedelta(int(np.bincount(step[step > 0] // 1_000_000).argmax()), unit="s")
        time_notes.append("moved from the end of each bar to its open")
    values, value_notes = _finished(values, fmt, options, table.source)
    details = (*table.notes, *_column_notes(table, positions), *time_notes, *value_notes, *left_out)
    notes.append(f"{table.source}: {fmt.name}; " + "; ".join(details))
    return Part(table.source, values.set_axis(index), line)


def _column_notes(table: Table, positions: dict[str, int]) -> Iterator[str]:
    """Which columns are used under another name, and which are not used."""
    names = table.names or [str(number + 1) for number in range(table.cells.shape[1])]
    mapped = [f"{ours} from {names[at]}" for ours, at in positions.items() if plain(names[at]) != ours]
    unused = [name for number, name in enumerate(names) if number not in positions.values() and name]
    if mapped:
        yield f"columns: {', '.join(mapped)}"
    if unused:
        yield f"left out the columns {', '.join(unused)} (keep one with --columns NEW={unused[0]})"


def _recognise(table: Table, options: ImportOptions) -> Format:
    known = {fmt.key: fmt for fmt in FORMATS}
    if options.format is not None and options.format not in known:
        raise SettingsError(f"--format: {options.format!r} is none of {', '.join(known)}.")
    matching = [fmt for fmt in FORMATS if fmt.matches(table) and options.format in (None, fmt.key)]
    if table.names is None and options.columns:
        return matching[0] if options.format and matching else websites.NAMED
    if not matching and options.format:
        raise DataError(f"{table.source}: does not have the columns of {known[options.format].name}.")
    if not matching:
        raise QuestionError(
            f"{table.source}: has no header, and its first row {','.join(table.first_row)[:80]!r} fits no known "
            "format. Name its columns by number: --columns timestamp=1,open=2,high=3,low=4,close=5,volume=6."
        )
    if table.names is None and len({fmt.key for fmt in matching}) > 1:
        choices = " or ".join(f"--format {fmt.key} ({fmt.name})" for fmt in matching)
        raise QuestionError(f"{table.source}: files of several vendors look like this one. Answer with {choices}.")
    return matching[0]


def _positions(table: Table, fmt: Format, options: ImportOptions) -> dict[str, int]:
    """The number of the column of each of our names, by the format and by ``--columns``."""
    found = fmt.positions(table)
    names = [plain(name) for name in table.names or ()]
    times_given = {"timestamp", "date", "time"} & set(options.columns)
    if times_given:
        found = {ours: number for ours, number in found.items() if ours not in TIME_COLUMNS}
    for ours, theirs in options.columns.items():
        if ours == "volume" and theirs == "none":
            found.pop("volume", None)
        elif plain(theirs) in names:
            found[ours] = names.index(plain(theirs))
        elif theirs.isdigit() and 1 <= int(theirs) <= table.cells.shape[1]:
            found[ours] = int(theirs) - 1
        else:
            has = ", ".join(table.names or ()) or f"columns 1 to {table.cells.shape[1]}"
            raise SettingsError(f"--columns: {table.source} has no column {theirs!r}; it has {has}.")
    if options.close_only and "close" not in found and table.cells.shape[1] == 2:
        found["close"] = next(number for number in (1, 0) if number not in found.values())
    missing = [name for name in ("close",) if name not in found] if options.close_only else []
    if not options.close_only:
        missing = [name for name in PRICES if name not in found]
    if missing == PRICES[:3] or (not options.close_only and len(found) == 1 and table.cells.shape[1] == 2):
        raise QuestionError(f"{table.source}: has closes only. Answer with --close-only, which makes candles of them.")
    if not set(found) & set(TIME_COLUMNS):
        missing.insert(0, "timestamp")
    if missing:
        has = ", ".join(table.names) if table.names else f"{table.cells.shape[1]} columns without names"
        pairs = ",".join(f"{name}=NAME" for name in missing)
        raise QuestionError(
            f"{table.source}: which columns are {', '.join(missing)}? It has {has}. Answer with --columns {pairs}."
        )
    if "timestamp" in found:
        found = {ours: number for ours, number in found.items() if ours not in ("date", "time")}
    return found


def _of_symbol(table: Table, column: pd.Series, kept: np.ndarray, options: ImportOptions) -> np.ndarray:
    """The mask of the rows of ``--symbol``, or of all if there is only one."""
    symbols = column.astype(str).str.strip()
    known = sorted(symbols[kept].unique())
    if options.symbol is None and len(known) > 1:
        some = ", ".join(known[:10]) + (", ..." if len(known) > 10 else "")
        raise QuestionError(f"{table.source}: holds {len(known):,} symbols ({some}). Choose one with --symbol.")
    if options.symbol is not None and options.symbol not in known:
        raise SettingsError(f"--symbol: {table.source} has no {options.symbol!r}.")
    return (symbols == (options.symbol or known[0])).to_numpy()


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
        numbers[REGIME] = _labels(rows, columns[REGIME], options)
    rows.refuse_found()
    values = pd.DataFrame(numbers, index=columns[next(iter(columns))].index)
    return values, values[[name for name in PRICES if name in values]].isna().all(axis=1).to_numpy()


def _labels(rows: Rows, column: pd.Series, options: ImportOptions) -> np.ndarray:
    """The regimes of a column of labels."""
    texts = column.astype(str).str.strip().str.replace(r"\.0$", "", regex=True)
    known: dict[str, float] = {name: float(number) for name, number in REGIME_LABELS.items()}
    if options.regime_labels:
        meanings = {label: known.get(name.lower(), name) for label, name in options.regime_labels.items()}
        if odd := [str(name) for name in meanings.values() if not str(name).removesuffix(".0").isdigit()]:
            raise SettingsError(f"--regime-labels: {odd[0]!r} is none of {', '.join(known)} and no number.")
        labels = texts.map({label: float(number) for label, number in meanings.items()})
    else:
        labels = texts.str.lower().map(known).fillna(pd.to_numeric(texts, errors="coerce"))
    unknown = labels.isna().to_numpy()
    starts_late = not options.regime_labels and bool(labels.min() > 0) and not texts.str.lower().isin(known).any()
    if unknown.any() or starts_late:
        found = ", ".join(sorted(texts.unique())[:10])
        raise QuestionError(
            f"{rows.source}: what do the regimes {found} mean? Answer with --regime-labels, such as --regime-labels "
            "1=bearish,2=sideways,3=bullish."
        )
    return labels.to_numpy(dtype=float)


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
    extra = [name for name in values if name not in (*OHLCV, *_USED)]
    return values[[*OHLCV, *extra]].astype(float), notes


def _from_closes(candles: pd.DataFrame) -> pd.DataFrame:
    """Candles that open at the previous close."""
    opened = candles["close"].shift(1).fillna(candles["close"])
    high, low = np.maximum(opened, candles["close"]), np.minimum(opened, candles["close"])
    return candles.assign(open=opened, high=high, low=low)
