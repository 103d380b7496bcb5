"""Reads and checks OHLCV candles, indexed by their open time in UTC."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from enum import IntEnum
from itertools import chain
from pathlib import Path
from typing import Annotated

import numpy as np
import pandas as pd
from pydantic import PlainSerializer, PlainValidator

from data.csv_table import Rows, read_table
from data.errors import DataError
from data.intervals import interval_checks


def _parse_bar_time(text: object) -> pd.Timestamp:
    if isinstance(text, str) and (time := pd.Timestamp(text)).tz is not None:
        return time
    raise ValueError("expected a time such as 2024-01-31T04:00:00+00:00")


# A bar's open time in a JSON file, for pydantic.
BarTime = Annotated[pd.Timestamp, PlainValidator(_parse_bar_time), PlainSerializer(pd.Timestamp.isoformat)]

OHLCV = ["open", "high", "low", "close", "volume"]
PRICES = OHLCV[:4]
REGIME = "regime"


class Regime(IntEnum):
    BEARISH = 0
    SIDEWAYS = 1
    BULLISH = 2


REGIME_LABELS = {regime.name.lower(): regime.value for regime in Regime}
_FEWEST_BARS_OF_A_MONTH = 3  # fewer could agree with another market's by chance
_LAST_REGIME = 99  # each regime gets a network: a column of other numbers named "regime" would train thousands
_ROUNDING = 4  # units in the last place that an adjusted open or close may lie outside of low to high
_SUSPICIOUS_JUMP = 1.9  # a close that nearly doubles or halves within a bar is more often a split or an error
_Check = tuple[np.ndarray, str]  # mask of invalid rows, and the message for the first of them (see `Rows`)


def read_candles(path: str | Path) -> pd.DataFrame:
    """Read and check the candles of a CSV file.

    Parameters
    ----------
    path
        CSV with a header: ``timestamp`` (or ``datetime``, ``date``, ``open_time``, ``time``), ``open``, ``high``,
        ``low``, ``close``, ``volume``, in any order; case, blanks and underscores in names do not matter. Times are ISO
        8601, ``YYYYMMDD`` or epoch numbers, in UTC unless they have an offset. Optional: ``regime`` (integers from 0,
        or ``bearish``, ``sideways``, ``bullish``) and further numeric columns for features.

    Returns
    -------
    pandas.DataFrame
        ``(n_bars, 5 + n_extra)`` float64 columns over a UTC ``timestamp`` index of open times, strictly ascending.

    Raises
    ------
    DataError
        With the file, the line or column, the problem and the remedy. Further kinds of faults are its notes.
    """
    path = Path(path)
    try:
        candles, line = read_table(path, OHLCV, {REGIME: REGIME_LABELS})
        check_candles(candles, source=str(path), line=line)
    except DataError as error:
        error.file = path
        raise
    return candles


def check_candles(candles: pd.DataFrame, *, source: str = "candles", line: np.ndarray | None = None) -> None:
    """Reject candles that no market can have produced.

    Parameters
    ----------
    candles
        ``(n_bars, >= 5)`` OHLCV frame with a UTC ``DatetimeIndex``.
    source
        Name of the candles in errors, such as the file's path.
    line
        ``(n_bars,)`` line numbers for errors; default: row numbers from 0.

    Raises
    ------
    DataError
        If a row's time does not ascend, its values are not finite, its prices contradict each other or its interval
        differs. It names up to ten rows of each kind.
    """
    rows = check_rows(candles, source=source, line=line)
    for wrong, message in interval_checks(pd.DatetimeIndex(candles.index)):
        rows.refuse(wrong, message)


def check_rows(candles: pd.DataFrame, *, source: str = "candles", line: np.ndarray | None = None) -> Rows:
    """`check_candles` without the check of the interval; returns the rows for further checks."""
    index = candles.index
    if not isinstance(index, pd.DatetimeIndex) or index.tz is None:
        raise DataError(f"{source}: needs a DatetimeIndex in UTC; read_candles gives one.")
    columns = {name: candles[name] for name in (*OHLCV, REGIME) if name in candles}
    kind, numbers = ("row", np.arange(len(candles))) if line is None else ("line", line)
    rows = Rows(source, kind, numbers, {"timestamp": index.to_series(), **columns})
    for wrong, message in _order_checks(index):
        rows.find(wrong, message)
    missing = [name for name in OHLCV if name not in columns]
    if missing:
        raise DataError(f"{source}: column {', '.join(missing)} is missing.")
    values = {name: candles[name].to_numpy() for name in OHLCV}
    for wrong, message in chain(_value_checks(values), _label_checks(candles)):
        rows.find(wrong, message)
    rows.refuse_found()
    return rows


def check_intervals(index: pd.DatetimeIndex, *, source: str) -> None:
    """Raise a `DataError` at the first open time that `check_candles` rejects for its distance to the one before."""
    rows = Rows(source, "row", np.arange(len(index)), {})
    for wrong, message in interval_checks(index):
        rows.refuse(wrong, message)


def _order_checks(index: pd.DatetimeIndex) -> Iterator[_Check]:
    """Times must ascend strictly."""
    step = np.diff(index.asi8, prepend=index.asi8[:1] - 1)
    yield (
        step == 0,
        "timestamp {timestamp} appears twice. Keep one of the rows; where a clock was set back, write times in UTC.",
    )
    yield step < 0, "timestamp {timestamp} is earlier than the row before. Sort the file by time."


def _value_checks(values: dict[str, np.ndarray]) -> Iterator[_Check]:
    """Numbers must be finite, prices above 0 and between low and high, the volume not below 0.

    An open or close may lie outside by the rounding of adjusted prices.
    """
    for name in OHLCV:
        yield ~np.isfinite(values[name]), f"{name} is {{{name}}}. Fill in the number or drop the row."
    for name in PRICES:
        yield (
            values[name] <= 0,
            f"{name} is {{{name}:g}}, but log returns need prices above 0; such a series is not supported. Leave out "
            "the part with such prices, or choose another series.",
        )
    yield values["volume"] < 0, "volume is {volume:g}; it cannot be negative."
    high, low = values["high"], values["low"]
    yield high < low, "high {high:g} is below low {low:g}. Correct the row or drop it."
    for name in ("open", "close"):
        yield (
            _outside(values[name], low, high),
            f"{name} {{{name}:g}} lies outside low {{low:g}} .. high {{high:g}}. Correct the row or drop it.",
        )


def _outside(price: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore", invalid="ignore"):  # at the end of the floating-point range, and of infinite prices
        return (price > high + _ROUNDING * np.spacing(high)) | (price < low - _ROUNDING * np.spacing(low))


def _label_checks(candles: pd.DataFrame) -> Iterator[_Check]:
    """A column of regimes must hold whole numbers from 0 to 99."""
    if REGIME in candles:
        labels = candles[REGIME].to_numpy(dtype=float)
        yield (
            ~np.isfinite(labels) | (labels < 0) | (labels > _LAST_REGIME) | (labels != np.round(labels)),
            f"regime is {{regime}}; labels are whole numbers from 0 to {_LAST_REGIME} (0 bearish, 1 sideways, 2 "
            "bullish). Label every row.",
        )


def candle_warnings(candles: pd.DataFrame) -> list[str]:
    """Warnings about suspicious but valid candles ``(n_bars, >= 5)``."""
    close = candles["close"].to_numpy()
    jump = np.abs(np.diff(np.log(close))) > np.log(_SUSPICIOUS_JUMP)
    warnings = []
    if jump.any():
        at = int(np.argmax(jump))
        more = f" ({jump.sum()} such jumps in all)" if jump.sum() > 1 else ""
        warnings.append(
            f"the close jumps from {close[at]:g} to {close[at + 1]:g} at {time_text(candles.index[at + 1])}{more}. "
            "If that is a split or another unit, adjust the prices: models would learn and trade the jump as a return."
        )
    if len(candles) and not candles["volume"].any():
        warnings.append("the volume is 0 in every bar; features of the volume contain no information.")
    return warnings


def plausible(open_: float, high: float, low: float, close: float, volume: float) -> bool:
    """Whether one candle's numbers pass `check_candles`."""
    if not (0 < low <= high < math.inf and 0 <= volume < math.inf):
        return False
    least, most = low - _ROUNDING * math.ulp(low), high + _ROUNDING * math.ulp(high)
    return least <= open_ <= most and least <= close <= most and 0 < open_ < math.inf and 0 < close < math.inf


def time_text(time: pd.Timestamp) -> str:
    """A bar's time to the minute, such as ``2024-01-31 04:00``."""
    return f"{time:%Y-%m-%d %H:%M}"


def fingerprint(candles: pd.DataFrame) -> str:
    """The sha256 of the times (as epoch nanoseconds), the column names and all values, as hexadecimal text."""
    digest = hashlib.sha256(pd.DatetimeIndex(candles.index).as_unit("ns").asi8.tobytes())
    for column in candles:
        digest.update(str(column).encode())
        digest.update(np.ascontiguousarray(candles[column].to_numpy(dtype=float)).tobytes())
    return digest.hexdigest()


def month_hashes(candles: pd.DataFrame) -> list[str]:
    """A hash of each calendar month of the candles, to find the same bars under another name.

    It is of the open times and of the log returns of closes within the month, rounded to 1e-6, so that rescaled prices
    have the same hash. A month with fewer than three bars has none.
    """
    times = pd.DatetimeIndex(candles.index).as_unit("ns")
    months, log_close = times.year * 12 + times.month, np.log(candles["close"].to_numpy(dtype=float))
    starts = np.flatnonzero(np.diff(months, prepend=-1))
    hashes = []
    for start, stop in zip(starts, [*starts[1:], len(times)], strict=True):
        if stop - start >= _FEWEST_BARS_OF_A_MONTH:
            rounded = np.rint(np.diff(log_close[start:stop]) * 1e6).astype(np.int64)
            content = times.asi8[start:stop].tobytes() + rounded.tobytes()
            hashes.append(hashlib.blake2b(content, digest_size=8).hexdigest())
    return hashes
