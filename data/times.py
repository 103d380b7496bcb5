"""The open times of a CSV: read where they have one meaning, refused where they have two."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

from data.errors import DataError

# An epoch number's unit is told by its size: each limit is the year 5138 in the unit before it.
_EPOCH_UNITS = ["s", "ms", "us", "ns"]
_EPOCH_LIMITS = [1e11, 1e14, 1e17]
_LEAST_EPOCH = 1e8  # March 1973 in seconds; a column below it holds a spreadsheet's days, years or prices
_FIRST_DATE, _LAST_DATE = 19000101, 21001231
_HAS_OFFSET = r"\d[T ].*(?:[zZ]|[+-]\d\d(?::?\d\d)?)\s*$"
_CLOCKS_DIFFER = pd.Timedelta(minutes=5)
_REMEDY = "Write times as 2024-01-31T04:00:00Z or as epoch seconds or milliseconds."

RefuseFirst = Callable[[np.ndarray, str], None]


def parse_times(path: Path, column: pd.Series, line: np.ndarray) -> pd.DatetimeIndex:
    """Times in UTC, ``(n_rows,)``, out of ISO 8601, ``YYYYMMDD`` or epoch numbers; without an offset they are UTC.

    Parameters
    ----------
    line
        ``(n_rows,)`` line numbers for errors.

    Raises
    ------
    DataError
        At the first row whose time cannot be read, has another unit, or an offset where others have none, or lies in
        the future.
    """

    def refuse_first(bad: np.ndarray, message: str) -> None:
        if bad.any():
            at = int(np.argmax(bad))
            value = column.iloc[at]
            found = value.item() if isinstance(value, np.generic) else value
            raise DataError(f"{path}, line {line[at]}: {message.format(time=found)}")

    refuse_first(column.isna().to_numpy(), f"timestamp is empty. {_REMEDY}")
    texts = None if column.dtype.kind in "iuf" else column.astype(str)
    if texts is None:
        parsed = _numbers(column, refuse_first)
    else:
        parsed = pd.to_datetime(texts, format="ISO8601", utc=True, errors="coerce")
    refuse_first(parsed.isna().to_numpy(), f"timestamp {{time!r}} cannot be read. {_REMEDY}")
    if texts is not None:
        offset = texts.str.contains(_HAS_OFFSET).to_numpy(dtype=bool)
        refuse_first(
            offset != offset[0],
            f"timestamp {{time}} has {'no' if offset[0] else 'an'} offset from UTC, unlike the rows before. "
            "Give every row one, such as Z.",
        )
    index = pd.DatetimeIndex(parsed, name="timestamp").as_unit("us")
    refuse_first(
        np.asarray(index > pd.Timestamp.now("UTC") + _CLOCKS_DIFFER),
        "timestamp {time} lies in the future. Write times in UTC, epoch numbers in one of seconds and milliseconds, "
        "and leave out bars that have not begun.",
    )
    return index


def _numbers(column: pd.Series, refuse_first: RefuseFirst) -> pd.Series:
    values = column.to_numpy(dtype=float)
    least, most = values.min(), values.max()
    if least >= _FIRST_DATE and most <= _LAST_DATE and (values == np.round(values)).all():
        return pd.to_datetime(column.astype("int64").astype(str), format="%Y%m%d", utc=True, errors="coerce")
    everywhere = np.ones(len(values), dtype=bool)
    if least >= _FIRST_DATE * 10_000 and most <= (_LAST_DATE + 1) * 10_000:
        refuse_first(everywhere, f"timestamp {{time}} may be a date with hour and minute, or an epoch. {_REMEDY}")
    size = np.abs(values)
    if size.max() < _LEAST_EPOCH:
        refuse_first(everywhere, f"timestamp {{time}} is neither a date nor an epoch. {_REMEDY}")
    unit = np.searchsorted(_EPOCH_LIMITS, size)
    refuse_first(unit != unit[0], f"timestamp {{time}} has another unit than the rows before. {_REMEDY}")
    return pd.to_datetime(column, unit=_EPOCH_UNITS[unit[0]], utc=True, errors="coerce")
