"""Reads any file into tables of cells: text with any delimiter, JSON, Excel, Parquet, gzip and zip.

The header of yfinance has three rows (price, ticker, name of the index); it becomes one.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import re
import warnings
import zipfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from data.csv_table import LARGEST_FILE, parse_problem, require_readable_size
from data.errors import DataError, SettingsError, did_you_mean
from data.importers.options import ImportOptions

_DELIMITERS = {"\t": "tabs", ";": "semicolons", "|": "vertical bars", ",": "commas"}
_SAMPLE, _SAMPLE_ROWS = 1 << 16, 60
_MOST_LINES_ABOVE = 10
_IS_NUMBER = re.compile(r"[-+]?[\d.,]*\d(?:[eE][-+]?\d+)?")


@dataclass(frozen=True)
class Table:
    """The cells of a file.

    Attributes
    ----------
    source
        The path; of a file in a zip archive, its path in the archive follows.
    names
        The header; None if there is none.
    first_row
        The texts of the first row.
    cells
        ``(n_rows, n_columns)``, without blank rows; a column is numeric if all its cells are.
    line
        ``(n_rows,)`` line numbers.
    notes
        What the user should know about the reading.
    """

    source: str
    names: tuple[str, ...] | None
    first_row: tuple[str, ...]
    cells: pd.DataFrame
    line: np.ndarray
    notes: tuple[str, ...]


@dataclass(frozen=True)
class _Layout:
    """The number of lines above the first row of data, the header among them, and the number of columns."""

    names: tuple[str, ...] | None
    above: int
    width: int
    notes: tuple[str, ...]


def read_tables(path: Path, options: ImportOptions) -> Iterator[Table]:
    """The table of a file, or of each file in a zip archive.

    Raises a `DataError` if there is none, or a `SettingsError` if a package is missing.
    """
    for source, content in _contents(path):
        if not content.strip():
            raise DataError(f"{source}: is empty.")
        if content.startswith(b"PAR1"):
            yield _parquet(source, content)
        elif content.startswith(b"PK\x03\x04"):
            yield _excel(source, content, options)
        elif content.lstrip()[:1] in (b"[", b"{"):
            yield _json(source, content)
        else:
            yield _delimited(source, content, options)


def _contents(path: Path) -> Iterator[tuple[str, bytes]]:
    """Name and content of a file, unpacked."""
    try:
        require_readable_size(path, path.stat().st_size)
        content = path.read_bytes()
        if content.startswith(b"\x1f\x8b"):
            with gzip.open(io.BytesIO(content)) as unpacked:
                content = unpacked.read(LARGEST_FILE + 1)
            require_readable_size(path, len(content))
        if not content.startswith(b"PK\x03\x04"):
            yield str(path), content
            return
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            names = sorted(name for name in archive.namelist() if not name.endswith("/"))
            if "xl/workbook.xml" in names:
                yield str(path), content
                return
            for name in names:
                require_readable_size(f"{path}/{name}", archive.getinfo(name).file_size)
                yield f"{path}/{name}", archive.read(name)
    except FileNotFoundError as error:
        near = did_you_mean(path.name, (file.name for file in path.parent.glob("*")))
        raise DataError(f"{path}: there is no such file.{near}") from error
    except (OSError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(f"{path}: cannot be read ({getattr(error, 'strerror', None) or error}).") from error


def _delimited(source: str, content: bytes, options: ImportOptions) -> Table:
    encoding, notes = _encoding(content)
    sample = content[:_SAMPLE].decode(encoding, errors="ignore").splitlines()[:_SAMPLE_ROWS]
    if any("\0" in line for line in sample) or not any(line.strip() for line in sample):
        raise DataError(f"{source}: is not a file of candles, but binary or empty.")
    try:
        delimiter = _delimiter(sample)
        rows = list(csv.reader(sample, delimiter=delimiter, skipinitialspace=True))
    except csv.Error as error:
        raise DataError(f"{source}: cannot be read as a table ({error}).") from error
    layout = _layout(source, rows, options)
    first = next((row for row in rows[layout.above :] if any(row)), [])
    dates = [number for number, cell in enumerate(first[: layout.width]) if re.match(r"\d{4}-\d\d-\d\d", cell)]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)  # it would drop fields
            cells = pd.read_csv(
                io.BytesIO(content),
                sep=delimiter,
                encoding=encoding,
                header=None,
                names=range(layout.width),
                skiprows=layout.above,
                index_col=False,
                skip_blank_lines=False,
                skipinitialspace=True,
                low_memory=False,
                parse_dates=dates[:1] or False,
                date_format="ISO8601",
            )
    except (pd.errors.ParserError, pd.errors.ParserWarning, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        lines = content.decode(encoding, errors="replace").splitlines()
        raise DataError(f"{source}{parse_problem(lines, str(error), delimiter, layout.width)}") from error
    header = "header" if layout.names else "no header"
    notes = (*notes, f"{_DELIMITERS[delimiter]} between columns, {header}", *layout.notes)
    return _table(source, layout, first, cells, notes)


def _encoding(content: bytes) -> tuple[str, tuple[str, ...]]:
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "utf-16", ("UTF-16",)
    try:
        content.decode("utf-8")
    except UnicodeDecodeError:
        return "latin-1", ("not UTF-8; read as Latin-1",)
    return "utf-8-sig", ()


def _delimiter(sample: Sequence[str]) -> str:
    """The delimiter that gives most of the lines the same number of columns, above 1; tabs before commas."""
    lines = [line for line in sample if line.strip()]
    for delimiter in _DELIMITERS:
        widths = Counter(len(row) for row in csv.reader(lines, delimiter=delimiter))
        width, count = widths.most_common(1)[0]
        if width > 1 and count >= 0.5 * len(lines):
            return delimiter
    return ","


def _layout(source: str, rows: Sequence[Sequence[str]], options: ImportOptions) -> _Layout:
    """Find the header and the first row of data among the first rows."""
    widths = Counter(len(row) for row in rows if any(row))
    if not widths:
        raise DataError(f"{source}: is empty.")
    width = widths.most_common(1)[0][0]
    filled = [sum(bool(cell.strip()) for cell in row) for row in rows]
    start = next((number for number, count in enumerate(filled) if count >= max(2, width / 2)), len(rows))
    if start > _MOST_LINES_ABOVE or start == len(rows):
        raise DataError(f"{source}: has no table of candles; its first line is {','.join(rows[0])[:60]!r}.")
    if any(cell.strip() for cell in rows[start][width:]):
        raise DataError(f"{source}, line {start + 1}: has {len(rows[start])} fields, but most lines have {width}.")
    notes = [f"skipped {','.join(row)[:60]!r} above the table" for row in rows[:start] if any(row)]
    first, second, third = [*rows[start : start + 3], [], [], []][:3]
    if first[:1] == ["Price"] and second[:1] == ["Ticker"] and len(second) > 1 and third:
        names = _yfinance_names(source, first, second, third, options)
        return _Layout(names, start + 3, width, (*notes, "header of yfinance, in three rows"))
    is_header = not options.no_header and not any(_IS_NUMBER.fullmatch(cell.strip()) for cell in first)
    is_header = is_header and any(char.isalpha() for cell in first[1:] for char in cell)
    names = tuple(cell.strip() for cell in [*first, *[""] * width][:width])
    return _Layout(names if is_header else None, start + is_header, width, tuple(notes))


def _yfinance_names(
    source: str, prices: Sequence[str], tickers: Sequence[str], index: Sequence[str], options: ImportOptions
) -> tuple[str, ...]:
    known = sorted(set(tickers[1:]))
    if len(known) > 1 and options.symbol not in known:
        raise SettingsError(f"{source}: holds {', '.join(known)}. Choose one with --symbol.")
    wanted = options.symbol or known[0]
    pairs = zip(prices[1:], tickers[1:], strict=False)
    return (index[0], *(price if ticker == wanted else f"{price} of {ticker}" for price, ticker in pairs))


def _json(source: str, content: bytes) -> Table:
    """The table of a JSON array of arrays, such as ccxt's, or of objects."""
    try:
        cells = pd.DataFrame(json.loads(content))
    except (ValueError, RecursionError) as error:
        raise DataError(f"{source}: is not an array of candles in JSON ({error}).") from error
    nested = cells.select_dtypes(object).map(lambda cell: isinstance(cell, list | dict)).any(axis=None)
    if cells.empty or nested:
        raise DataError(f"{source}: is not an array of candles in JSON.")
    names = None if all(isinstance(name, int) for name in cells) else tuple(map(str, cells))
    layout, first = _Layout(names, 0, cells.shape[1], ()), [str(cells[name].iloc[0]) for name in cells]
    return _table(source, layout, first, cells.set_axis(range(cells.shape[1]), axis=1), ("JSON",))


def _excel(source: str, content: bytes, options: ImportOptions) -> Table:
    """The table of a workbook's first sheet."""
    _require("openpyxl", source)
    with warnings.catch_warnings(), _damage(source):
        warnings.simplefilter("ignore", UserWarning)  # about the workbook's style
        book = pd.ExcelFile(io.BytesIO(content), engine="openpyxl")
        cells = pd.read_excel(book, header=None)
    sample = cells.head(_SAMPLE_ROWS).astype(object)
    rows = sample.where(sample.notna(), "").astype(str).to_numpy().tolist()
    layout = _layout(source, rows, options)
    notes = (f"sheet {book.sheet_names[0]!r} of {len(book.sheet_names)}", *layout.notes)
    first = rows[layout.above] if layout.above < len(rows) else []
    return _table(source, layout, first, cells.iloc[layout.above :, : layout.width].infer_objects(), notes)


def _parquet(source: str, content: bytes) -> Table:
    _require("pyarrow", source)
    with _damage(source):
        cells = pd.read_parquet(io.BytesIO(content))
    if not isinstance(cells.index, pd.RangeIndex):
        cells = cells.reset_index(names=[cells.index.name or "timestamp"])
    names = tuple(map(str, cells))
    layout = _Layout(names, 0, len(names), ())
    return _table(source, layout, [], cells.set_axis(range(len(names)), axis=1), ("Parquet",))


@contextmanager
def _damage(source: str) -> Iterator[None]:
    """Raise errors of the packages that read workbooks and Parquet as a `DataError`."""
    try:
        yield
    except (ValueError, KeyError, OSError, TypeError) as error:
        raise DataError(f"{source}: cannot be read ({error}).") from error


def _require(package: str, source: str) -> None:
    try:
        __import__(package)
    except ImportError:
        raise SettingsError(
            f"{source}: needs the package {package}: pip install -c constraints.txt -e '.[import]'"
        ) from None


def _table(source: str, layout: _Layout, first: Sequence[str], cells: pd.DataFrame, notes: tuple[str, ...]) -> Table:
    filled = cells.notna().any(axis=1).to_numpy()
    if not filled.any():
        raise DataError(f"{source}: has no rows.")
    line = np.arange(layout.above + 1, layout.above + 1 + len(cells))[filled]
    first_row = tuple(cell.strip() for cell in first)
    return Table(source, layout.names, first_row, cells[filled] if not filled.all() else cells, line, notes)
