"""A CSV's cells as they stand: what is no such file is refused here, before anybody asks what the cells mean."""

from __future__ import annotations

import csv
import warnings
from pathlib import Path

import pandas as pd

from data.errors import DataError, did_you_mean

# How files begin that are often taken for a CSV, and what to do with them.
_OTHER_FILES = {
    b"\x1f\x8b": "is compressed (gzip). Unpack it first.",
    b"PK\x03\x04": "is a zip archive or an Excel workbook. Unpack it, or save the sheet as CSV.",
    b"BZh": "is compressed (bzip2). Unpack it first.",
    b"\xfd7zXZ": "is compressed (xz). Unpack it first.",
    b"\x28\xb5\x2f\xfd": "is compressed (zstd). Unpack it first.",
    b"\xff\xfe": "is UTF-16. Save it as UTF-8.",
    b"\xfe\xff": "is UTF-16. Save it as UTF-8.",
}
_HEADER = "timestamp,open,high,low,close,volume"
_LONGEST_HEADER = 1 << 16
_OTHER_DELIMITERS = {";": "semicolons", "\t": "tabs", "|": "vertical bars"}


def read_table(path: Path) -> pd.DataFrame:
    """The columns of a comma-separated file, without blank lines at its end; one is numeric if all its cells are.

    Raises
    ------
    DataError
        If it is no such file, or a row has more fields than the header.
    """
    try:
        if path.exists() and not path.is_file():
            raise DataError(f"{path}: is {'a folder' if path.is_dir() else 'no file'}. Name a CSV file.")
        with path.open("rb") as file:
            _refuse_other_kinds(path, file.read(_LONGEST_HEADER))
            file.seek(0)
            with warnings.catch_warnings():
                warnings.simplefilter("error", pd.errors.ParserWarning)  # it would leave fields out
                raw = pd.read_csv(
                    file,
                    encoding="utf-8-sig",
                    index_col=False,
                    skip_blank_lines=False,
                    skipinitialspace=True,
                    low_memory=False,
                )
    except FileNotFoundError as error:
        near = did_you_mean(path.name, (file.name for file in path.parent.glob("*.csv")))
        raise DataError(f"{path}: there is no such file.{near}") from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}).") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: is no UTF-8 text. Save it as UTF-8, comma separated.") from error
    except (pd.errors.ParserError, pd.errors.ParserWarning, pd.errors.EmptyDataError) as error:
        raise DataError(f"{path}{_what_is_wrong(path, str(error))}") from error
    filled = raw.notna().any(axis=1).to_numpy().nonzero()[0]
    return raw.iloc[: filled[-1] + 1 if len(filled) else 0]


def _refuse_other_kinds(path: Path, beginning: bytes) -> None:
    for first_bytes, what in _OTHER_FILES.items():
        if beginning.startswith(first_bytes):
            raise DataError(f"{path}: {what}")
    text = beginning.decode("utf-8-sig", errors="ignore").lstrip()
    if not text:
        raise DataError(f"{path}: is empty. It must begin with the header {_HEADER}.")
    if "\0" in text:
        raise DataError(f"{path}: is no text file. Save the candles as CSV, in UTF-8.")
    header = text.splitlines()[0]
    for delimiter, called in _OTHER_DELIMITERS.items():
        if header.count(delimiter) > header.count(","):
            raise DataError(
                f"{path}: its columns are separated by {called}. Save it with commas between columns and a point "
                "before decimals."
            )
    if "," not in header:
        raise DataError(f"{path}, line 1: is {header[:60]!r}, but must be the header {_HEADER}.")
    names = [name.strip().lower() for name in next(csv.reader([header]))]
    twice = sorted({name for name in names if name and names.count(name) > 1})
    if twice:
        raise DataError(f"{path}: column {twice[0]} stands twice in the header. Rename or drop one.")


def _what_is_wrong(path: Path, told: str) -> str:
    """Where the first row is that has more fields than the header, and what to do; or what pandas tells."""
    with path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
        rows = csv.reader(file, skipinitialspace=True)
        try:
            header = len(next(rows))
            for row in rows:
                if len(row) > header:
                    return (
                        f", line {rows.line_num}: has {len(row)} fields, and the header {header}. Write numbers with a "
                        "decimal point and without commas."
                    )
        except csv.Error:
            pass
    told = " ".join(told.split()).removeprefix("Error tokenizing data. C error: ")
    return f": cannot be read as CSV ({told}). Look for a quotation mark that is not closed."
