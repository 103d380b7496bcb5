"""Recognises the format of a table, and finds its columns."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

from data.candles import PRICES
from data.errors import DataError, SettingsError, listed
from data.importers import exchanges, platforms, websites
from data.importers.formats import TIME_COLUMNS, Format, plain
from data.importers.options import ImportOptions, QuestionError
from data.importers.tables import Table

FORMATS: tuple[Format, ...] = (
    *(*exchanges.FORMATS, *platforms.FORMATS, *websites.FORMATS),
    *(websites.UNNAMED, websites.NAMED),
)


def recognise(table: Table, options: ImportOptions) -> Format:
    """The format of a table; raises a `QuestionError` if none or several fit."""
    known = {fmt.key: fmt for fmt in FORMATS}
    if options.format is not None and options.format not in known:
        raise SettingsError(f"--format: {options.format!r} is none of {', '.join(known)}.")
    matching = [fmt for fmt in FORMATS if fmt.matches(table) and options.format in (None, fmt.key)]
    if table.names is None and len(matching) != 1 and options.columns:
        return websites.NAMED
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


def column_positions(table: Table, fmt: Format, options: ImportOptions) -> dict[str, int]:
    """The number of the column of each of our names, by the format and by ``--columns``."""
    found = fmt.positions(table)
    names = [plain(name) for name in table.names or ()]
    given = {}
    for ours, theirs in options.columns.items():
        if ours == "volume" and theirs == "none":
            found.pop("volume", None)
        elif plain(theirs) in names:
            given[ours] = names.index(plain(theirs))
        elif theirs.isdecimal() and 1 <= int(theirs) <= table.cells.shape[1]:
            given[ours] = int(theirs) - 1
        else:
            has = listed(table.names or ()) or f"columns 1 to {table.cells.shape[1]}"
            raise SettingsError(f"--columns: {table.source} has no column {theirs!r}; it has {has}.")
    replaced = TIME_COLUMNS if set(given) & set(TIME_COLUMNS) else ()
    found = {ours: at for ours, at in found.items() if ours not in replaced and at not in given.values()} | given
    if options.close_only and "close" not in found and table.cells.shape[1] == 2:
        found["close"] = next(number for number in (1, 0) if number not in found.values())
    missing = [name for name in (["close"] if options.close_only else PRICES) if name not in found]
    if missing == PRICES[:3] or (not options.close_only and len(found) == 1 and table.cells.shape[1] == 2):
        raise QuestionError(f"{table.source}: has closes only. Answer with --close-only, which makes candles of them.")
    if not set(found) & set(TIME_COLUMNS):
        missing.insert(0, "timestamp")
    if missing:
        has = listed(table.names) if table.names else f"{table.cells.shape[1]} columns without names"
        pairs = ",".join(f"{name}=NAME" for name in missing)
        raise QuestionError(
            f"{table.source}: which columns are {', '.join(missing)}? It has {has}. Answer with --columns {pairs}."
        )
    if "timestamp" in found:
        found = {ours: number for ours, number in found.items() if ours not in ("date", "time")}
    return found


def rows_of_symbol(table: Table, column: pd.Series, kept: np.ndarray, options: ImportOptions) -> np.ndarray:
    """The mask of the rows of ``--symbol``, or of all if there is only one."""
    symbols = column.astype(str).str.strip().fillna("")
    known = sorted(symbols[kept].unique())
    if options.symbol is None and len(known) > 1:
        some = ", ".join(known[:10]) + (", ..." if len(known) > 10 else "")
        raise QuestionError(f"{table.source}: holds {len(known):,} symbols ({some}). Choose one with --symbol.")
    if options.symbol is not None and options.symbol not in known:
        raise SettingsError(f"--symbol: {table.source} has no {options.symbol!r}.")
    return (symbols == (options.symbol or known[0])).to_numpy()


def column_notes(table: Table, positions: dict[str, int]) -> Iterator[str]:
    """Which columns are used under another name, and which are not used."""
    names = table.names or [str(number + 1) for number in range(table.cells.shape[1])]
    mapped = [f"{ours} from {names[at]}" for ours, at in positions.items() if plain(names[at]) != ours]
    unused = [name for number, name in enumerate(names) if number not in positions.values() and name]
    if mapped:
        yield f"columns: {', '.join(mapped)}"
    if unused:
        yield f"left out the columns {listed(unused)} (keep one with --columns NEW={unused[0]})"
