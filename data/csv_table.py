"""Reads a CSV file into a table of times and numbers, with errors that name the file, the line and the remedy."""

from __future__ import annotations

import csv
import re
import warnings
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from data.errors import DataError, did_you_mean, listed

# First bytes of files that are often mistaken for a CSV, and what to do with them.
_OTHER_FILES = {
    b"\x1f\x8b": "is compressed (gzip). Unpack it first.",
    b"PK\x03\x04": "is a zip archive or an Excel workbook. Unpack it, or save the sheet as CSV.",
    b"BZh": "is compressed (bzip2). Unpack it first.",
    b"\xfd7zXZ": "is compressed (xz). Unpack it first.",
    b"\x28\xb5\x2f\xfd": "is compressed (zstd). Unpack it first.",
    b"\xff\xfe": "is UTF-16. Save it as UTF-8.",
    b"\xfe\xff": "is UTF-16. Save it as UTF-8.",
}
_LONGEST_HEADER = 1 << 16
LARGEST_FILE = 2 << 30  # bytes; reading them takes three times as much memory
_OTHER_DELIMITERS = {";": "semicolons", "\t": "tabs", "|": "vertical bars"}

_TIME = "timestamp"
_TIME_NAMES = [_TIME, "datetime", "date", "opentime", "time"]
# The size of an epoch number gives its unit: each limit is the year 5138 in the unit before it.
_EPOCH_UNITS = np.array(["s", "ms", "us", "ns"])
_EPOCH_LIMITS = [1e11, 1e14, 1e17]
LEAST_EPOCH = 1e8  # March 1973 in seconds; a column below it holds a spreadsheet's days, years or prices
FIRST_DATE, LAST_DATE = 19000101, 21001231
HAS_OFFSET = r"\d[T ].*(?:[zZ]|[+-]\d\d(?::?\d\d)?)\s*$"
_CLOCKS_DIFFER = pd.Timedelta(minutes=5)
_FAULTS_LISTED = 10
_TIME_REMEDY = "Write times as 2024-01-31T04:00:00Z or as epoch seconds or milliseconds."


@dataclass(frozen=True)
class Rows:
    """The rows of a table, for error messages; collects their faults.

    Attributes
    ----------
    source
        Name of the table, such as the file's path.
    kind, numbers
        ``line`` and ``(n_rows,)`` line numbers of a file, or ``row`` and row numbers.
    columns
        Columns by name, ``(n_rows,)`` each.
    """

    source: str
    kind: str
    numbers: np.ndarray
    columns: Mapping[str, pd.Series]
    _faults: list[str] = field(default_factory=list, init=False)
    _faulty: set[int] = field(default_factory=set, init=False)

    def find(self, wrong: np.ndarray, message: str) -> None:
        """Note the rows where the mask ``wrong`` ``(n_rows,)`` is true, without those that have another fault already.

        ``message`` states the problem and the remedy; a column's name in braces becomes the first row's value of it.
        """
        at = [row for row in np.flatnonzero(wrong).tolist() if row not in self._faulty]
        if not at:
            return
        self._faulty.update(at)
        first_row = {name: column.iloc[at[0]] for name, column in self.columns.items()}
        values = {name: value.item() if isinstance(value, np.generic) else value for name, value in first_row.items()}
        text = f"{self.source}, {self.kind} {self.numbers[at[0]]}: {message.format_map(values)}"
        if len(at) > 1:
            others = ", ".join(str(self.numbers[row]) for row in at[1:_FAULTS_LISTED])
            more = f" and {len(at) - _FAULTS_LISTED:,} more" if len(at) > _FAULTS_LISTED else ""
            text += f" The same in {self.kind}{'s' if len(at) > 2 else ''} {others}{more}."
        self._faults.append(text)

    def refuse_found(self) -> None:
        """Raise a `DataError` with the first kind of fault; its notes are the other kinds. Without a fault, return."""
        if self._faults:
            error = DataError(self._faults[0])
            for fault in self._faults[1:]:
                error.add_note(fault)
            raise error

    def refuse(self, wrong: np.ndarray, message: str) -> None:
        """Raise a `DataError` if there is a fault so far, or one of this kind (see `find`)."""
        self.find(wrong, message)
        self.refuse_found()


def read_table(
    path: Path, required: Sequence[str], coded: Mapping[str, Mapping[str, int]]
) -> tuple[pd.DataFrame, np.ndarray]:
    """The times and numbers of a comma-separated file, without blank lines at its end.

    Parameters
    ----------
    required
        Names of the columns that must exist and hold numbers. Case, blanks and underscores do not matter.
    coded
        Columns that may exist, with the words that stand for numbers in them. Other columns are kept if they are
        numeric.

    Returns
    -------
    table
        ``(n_rows, n_required + n_others)`` float64 over an index ``timestamp`` in UTC, the required columns first.
    line
        ``(n_rows,)`` line numbers for errors.

    Raises
    ------
    DataError
        If it is not a CSV file, lacks a required column, or has a row that cannot be read.
    """
    raw = _read_cells(path, required, known={*required, *coded})
    raw.columns = _canonical_names(path, raw.columns, {*required, *coded})
    missing = [name for name in [_TIME, *required] if name not in raw]
    if missing:
        raise DataError(
            f"{path}: column {', '.join(missing)} is missing; found {listed(raw.columns)}. "
            f"The header must name {', '.join([_TIME, *required])}."
        )
    if raw.empty:
        raise DataError(f"{path}: has a header but no rows.")
    line = np.arange(2, len(raw) + 2)  # the header is line 1
    rows = Rows(str(path), "line", line, {str(name): column for name, column in raw.items()})
    times = _parse_times(rows)
    numbers = _parse_numbers(rows, required, coded)
    order = [*required, *(name for name in numbers if name not in required)]
    return pd.DataFrame({name: numbers[name] for name in order}, index=times), line


def _read_cells(path: Path, required: Sequence[str], known: Collection[str]) -> pd.DataFrame:
    """The columns of a comma-separated file; one is numeric if all its cells are."""
    try:
        if path.exists() and not path.is_file():
            raise DataError(f"{path}: is {'a folder' if path.is_dir() else 'not a regular file'}. Name a CSV file.")
        require_readable_size(path, path.stat().st_size)
        with path.open("rb") as file:
            beginning = file.read(_LONGEST_HEADER)
            _refuse_other_kinds(path, beginning, ",".join([_TIME, *required]), known)
            file.seek(0)
            with warnings.catch_warnings():
                warnings.simplefilter("error", pd.errors.ParserWarning)  # it would drop fields
                raw = pd.read_csv(
                    file,
                    encoding="utf-8-sig",
                    index_col=False,
                    skip_blank_lines=False,
                    skipinitialspace=True,
                    low_memory=False,
                    parse_dates=_iso_column(beginning) or False,
                    date_format="ISO8601",
                )
    except FileNotFoundError as error:
        near = did_you_mean(path.name, (file.name for file in path.parent.glob("*.csv")))
        raise DataError(f"{path}: there is no such file.{near}") from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}).") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: is not UTF-8 text. Save it as UTF-8, comma separated.") from error
    except (pd.errors.ParserError, pd.errors.ParserWarning, pd.errors.EmptyDataError) as error:
        with path.open(encoding="utf-8-sig", errors="replace", newline="") as text:
            raise DataError(f"{path}{parse_problem(text, str(error))}") from error
    filled = raw.notna().any(axis=1).to_numpy().nonzero()[0]
    return raw.iloc[: filled[-1] + 1 if len(filled) else 0]


def require_readable_size(source: object, size: int) -> None:
    """Raise a `DataError` if a file has more bytes than fit into memory as a table."""
    if size > LARGEST_FILE:
        raise DataError(
            f"{source}: is larger than {LARGEST_FILE >> 30} GiB, the most that can be read. "
            "Use longer bars, or fewer years or columns."
        )


def _iso_column(beginning: bytes) -> list[int]:
    """The number of the column of times, if the first row has a date with hyphens there; else nothing.

    pandas then parses the times as it reads them, which is much faster than to keep a million texts. If it cannot read
    them all, or they have different offsets, it leaves the texts.
    """
    lines = beginning.decode("utf-8-sig", errors="ignore").splitlines()[:2]
    rows = list(csv.reader(lines, skipinitialspace=True))
    names = [spelling(name) for name in rows[0]]
    time = next((names.index(name) for name in _TIME_NAMES if name in names), None)
    if time is None or len(rows) < 2 or time >= len(rows[1]) or not re.match(r"\d{4}-\d\d-\d\d", rows[1][time]):
        return []
    return [time]


def _refuse_other_kinds(path: Path, beginning: bytes, expected_header: str, known: Collection[str]) -> None:
    for first_bytes, problem in _OTHER_FILES.items():
        if beginning.startswith(first_bytes):
            raise DataError(f"{path}: {problem}")
    text = beginning.decode("utf-8-sig", errors="ignore").lstrip()
    if not text:
        raise DataError(f"{path}: is empty. It must begin with the header {expected_header}.")
    if "\0" in text:
        raise DataError(f"{path}: is not a text file. Save the candles as CSV, in UTF-8.")
    header = text.splitlines()[0]
    for delimiter, plural in _OTHER_DELIMITERS.items():
        if header.count(delimiter) > header.count(","):
            raise DataError(
                f"{path}: its columns are separated by {plural}. Save it with commas between columns and a point "
                "before decimals."
            )
    if "," not in header:
        raise DataError(f"{path}, line 1: is {header[:60]!r}, but must be the header {expected_header}.")
    cells = [name.strip() for name in next(csv.reader([header]))]
    names = [spelling(cell) if spelling(cell) in {*known, *_TIME_NAMES} else cell.lower() for cell in cells]
    twice = sorted({name for name in names if name and names.count(name) > 1})
    if twice:
        raise DataError(f"{path}: column {twice[0]} appears twice in the header. Rename or drop one.")


def parse_problem(lines: Iterable[str], pandas_message: str, delimiter: str = ",", width: int | None = None) -> str:
    """The first row with more fields than ``width``, by default the header's, and the remedy; else pandas' message."""
    rows = csv.reader(lines, delimiter=delimiter, skipinitialspace=True)
    with suppress(csv.Error):
        width = width or len(next(rows))
        for row in rows:
            if len(row) > width:
                return (
                    f", line {rows.line_num}: has {len(row)} fields, but the header has {width}. Write numbers with a "
                    "decimal point and without commas."
                )
    problem = " ".join(pandas_message.split()).removeprefix("Error tokenizing data. C error: ")
    return f": cannot be read as CSV ({problem}). Look for a quotation mark that is not closed."


def spelling(name: object) -> str:
    """A column's name without what does not matter: case, blanks and underscores."""
    return re.sub(r"[\s_]+", "", str(name)).lower()


def _canonical_names(path: Path, columns: pd.Index, known: Collection[str]) -> list[str]:
    names = [str(name).strip() for name in columns]
    lower = [spelling(name) for name in names]
    names = [low if low in known else name for name, low in zip(names, lower, strict=True)]
    time = next((name for name in _TIME_NAMES if name in lower), None)
    if time == "date" and "time" in lower:
        raise DataError(f"{path}: has columns for date and time. Join them to one, such as 2024-01-31T04:00:00Z.")
    if time:
        names[lower.index(time)] = _TIME
    return names


def _parse_times(rows: Rows) -> pd.DatetimeIndex:
    """Times in UTC from ISO 8601, ``YYYYMMDD`` or epoch numbers; without an offset they are UTC."""
    column = rows.columns[_TIME]
    rows.find(column.isna().to_numpy(), f"timestamp is empty. {_TIME_REMEDY}")
    texts = None if column.dtype.kind in "iufM" else column.astype(str)
    if column.dtype.kind == "M":
        parsed = column.dt.tz_localize("UTC") if column.dt.tz is None else column.dt.tz_convert("UTC")
    elif texts is None:
        parsed = _parse_numeric_times(column, rows)
    else:
        no_number = pd.to_numeric(texts, errors="coerce").isna().to_numpy()
        if no_number.mean() < 0.5:  # the column holds epoch numbers
            rows.refuse(no_number, f"timestamp {{timestamp!r}} is not a number, unlike most rows. {_TIME_REMEDY}")
        parsed = pd.to_datetime(texts, format="ISO8601", utc=True, errors="coerce")
    rows.refuse(parsed.isna().to_numpy(), f"timestamp {{timestamp!r}} cannot be read. {_TIME_REMEDY}")
    if texts is not None:
        offset = texts.str.contains(HAS_OFFSET).to_numpy(dtype=bool)
        rows.refuse(
            offset != offset[0],
            f"timestamp {{timestamp}} has {'no' if offset[0] else 'an'} offset from UTC, unlike the rows before. "
            "Give every row one, such as Z.",
        )
    index = pd.DatetimeIndex(parsed, name=_TIME).as_unit("us")
    now = pd.Timestamp.now("UTC")
    rows.refuse(
        np.asarray(index > now + _CLOCKS_DIFFER),
        f"timestamp {{timestamp}} lies in the future (this machine's clock shows {now:%Y-%m-%d %H:%M}). Write times in "
        "UTC, epoch numbers in one of seconds and milliseconds, and leave out bars that have not begun.",
    )
    return index


def epoch_unit(values: np.ndarray) -> np.ndarray:
    """The unit of each epoch number, ``s``, ``ms``, ``us`` or ``ns``, from its size."""
    return _EPOCH_UNITS[np.searchsorted(_EPOCH_LIMITS, np.abs(values))]


def _parse_numeric_times(column: pd.Series, rows: Rows) -> pd.Series:
    """Times from ``YYYYMMDD`` or epoch numbers, unless these are ambiguous."""
    rows.refuse_found()  # empty times
    values = column.to_numpy(dtype=float)
    least, most = values.min(), values.max()
    if least >= FIRST_DATE and most <= LAST_DATE and (values == np.round(values)).all():
        return pd.to_datetime(column.astype("int64").astype(str), format="%Y%m%d", utc=True, errors="coerce")
    size, unit = np.abs(values), epoch_unit(values)
    has_minutes = least >= FIRST_DATE * 10_000 and most <= (LAST_DATE + 1) * 10_000
    for wrong, problem in (
        (np.full(len(values), has_minutes), "may be a date with hour and minute, or an epoch"),
        (np.full(len(values), size.max() < LEAST_EPOCH), "is neither a date nor an epoch"),
        (unit != unit[0], "has another unit than the rows before"),
    ):
        rows.refuse(wrong, f"timestamp {{timestamp}} {problem}. {_TIME_REMEDY}")
    return pd.to_datetime(column, unit=unit[0].item(), utc=True, errors="coerce")


def _parse_numbers(
    rows: Rows, required: Collection[str], coded: Mapping[str, Mapping[str, int]]
) -> dict[str, np.ndarray]:
    """The float columns by name. A column of text is skipped, unless it is a known one, which must hold numbers."""
    kept, known = {}, {*required, *coded}
    for name, values in rows.columns.items():
        if name == _TIME:
            continue
        if values.dtype.kind == "b" and name in known:
            rows.find(np.ones(len(values), dtype=bool), f"{name} is {{{name}}}, which is not a number.")
        if not pd.api.types.is_numeric_dtype(values):
            numbers = pd.to_numeric(values, errors="coerce")
            if name in coded:
                numbers = numbers.fillna(values.astype(str).str.strip().str.lower().map(coded[name]))
            text = (numbers.isna() & values.notna()).to_numpy()
            if text.any() and name not in known:
                continue
            rows.find(text, f"{name} is {{{name}!r}}, which is not a number. Write it as 1234.5.")
            values = numbers
        elif name in coded:
            least, meanings = values.min(), ", ".join(f"{number} {word}" for word, number in coded[name].items())
            is_question = 0 < least < 10 and least % 1 == 0  # does 1 mean the first word or the second?
            rows.find(
                np.arange(len(values)) == (int(np.argmin(values)) if is_question else -1),
                f"{{{name}}} is the smallest {name}, but {meanings} is what the numbers mean. Write the words instead.",
            )
        kept[name] = values.to_numpy(dtype=float)
    rows.refuse_found()
    return kept
