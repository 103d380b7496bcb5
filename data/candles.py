"""The one door for OHLCV candles: read, checked, and indexed by their open time in UTC."""

from __future__ import annotations

import hashlib
import math
from pathlib import Path

import numpy as np
import pandas as pd

from data.csv_table import read_table
from data.errors import DataError
from data.times import parse_times

OHLCV = ["open", "high", "low", "close", "volume"]
PRICES = OHLCV[:4]
REGIME = "regime"
_LAST_REGIME = 99  # each gets a network: a column of other numbers, named so by mistake, would train thousands
_TIMESTAMP_NAMES = ["timestamp", "datetime", "date", "open_time", "time"]


def read_candles(path: str | Path, *, sort: bool = False) -> pd.DataFrame:
    """Candles of a CSV file, checked row by row.

    Parameters
    ----------
    path
        CSV with a header: ``timestamp`` (or ``datetime``, ``date``, ``open_time``, ``time``), ``open``, ``high``,
        ``low``, ``close``, ``volume``, in any order and capitals. Times are ISO 8601, ``YYYYMMDD`` or epoch numbers;
        without an offset they are taken as UTC. Optional: ``regime`` (integers from 0) and further numeric columns,
        which features may name.
    sort
        Sort rows by time instead of refusing a file whose rows are not ascending.

    Returns
    -------
    pandas.DataFrame
        ``(n_bars, 5 + n_extra)`` float64 columns over a UTC ``timestamp`` index of open times, strictly ascending.

    Raises
    ------
    DataError
        Naming the file, the line or column, what was found and what to do.
    """
    path = Path(path)
    raw = read_table(path)
    raw.columns = _canonical_names(path, raw.columns)
    _require_columns(path, raw)
    if raw.empty:
        raise DataError(f"{path}: has a header but no rows.")

    line = np.arange(2, len(raw) + 2)  # the header is line 1
    timestamps = parse_times(path, raw["timestamp"], line)
    candles = _numeric_columns(path, raw.drop(columns="timestamp"), line)
    candles.index = timestamps
    if sort:
        order = np.argsort(timestamps.asi8, kind="stable")
        candles, line = candles.iloc[order], line[order]
    check_candles(candles, source=str(path), line=line)
    return candles


def check_candles(candles: pd.DataFrame, *, source: str = "candles", line: np.ndarray | None = None) -> None:
    """Refuse candles that no exchange could have printed.

    Parameters
    ----------
    candles
        ``(n_bars, >= 5)`` OHLCV frame with a UTC ``DatetimeIndex``.
    source
        How errors name the candles, such as the file's path.
    line
        ``(n_bars,)`` line numbers for errors; row numbers from 0 where left out.

    Raises
    ------
    DataError
        At the first row whose time does not ascend, whose values are not finite, or whose prices contradict each
        other, and where bars change their interval.
    """
    where = "line" if line is not None else "row"
    rows = np.arange(len(candles)) if line is None else line

    def refuse_first(bad: np.ndarray, message: str) -> None:
        if bad.any():
            at = int(np.argmax(bad))
            values = {str(name): value for name, value in candles.iloc[at].items()}
            text = message.format_map({**values, "time": candles.index[at]})
            raise DataError(f"{source}, {where} {rows[at]}: {text}")

    index = candles.index
    if not isinstance(index, pd.DatetimeIndex) or index.tz is None:
        raise DataError(f"{source}: needs a DatetimeIndex in UTC; read_candles gives one.")
    step = np.diff(index.asi8, prepend=index.asi8[:1] - 1)
    refuse_first(
        step == 0,
        "timestamp {time} stands twice. Keep one of the two rows; where a clock was set back, write times in UTC.",
    )
    refuse_first(
        step < 0, "timestamp {time} is earlier than the row before. Sort the file, or pass --sort (sort=True)."
    )
    absent = [name for name in OHLCV if name not in candles]
    if absent:
        raise DataError(f"{source}: column {', '.join(absent)} is missing.")
    numbers = candles[OHLCV]
    for column in OHLCV:
        finite = np.isfinite(numbers[column].to_numpy())
        refuse_first(~finite, f"{column} is {{{column}}}. Fill in the number or drop the row.")
    for column in PRICES:
        refuse_first(
            numbers[column].to_numpy() <= 0,
            f"{column} is {{{column}:g}}, but log returns need prices above 0; such a series is not "
            "supported. Leave out the part with such prices, or choose another series.",
        )
    refuse_first(numbers["volume"].to_numpy() < 0, "volume is {volume:g}; it cannot be negative.")
    high, low = numbers["high"].to_numpy(), numbers["low"].to_numpy()
    refuse_first(high < low, "high {high:g} is below low {low:g}. Correct the row or drop it.")
    for column in ("open", "close"):
        price = numbers[column].to_numpy()
        refuse_first(
            (price > high) | (price < low),
            f"{column} {{{column}:g}} lies outside low {{low:g}} .. high {{high:g}}. Correct the row or drop it.",
        )
    if REGIME in candles:
        labels = candles[REGIME].to_numpy(dtype=float)
        refuse_first(
            ~np.isfinite(labels) | (labels < 0) | (labels > _LAST_REGIME) | (labels != np.round(labels)),
            f"regime is {{regime}}; labels are whole numbers from 0 to {_LAST_REGIME} (0 bearish, 1 sideways, 2 "
            "bullish). Label every row.",
        )
    if len(index) > 2:
        _refuse_mixed_intervals(source, where, rows, index)


def plausible(open_: float, high: float, low: float, close: float, volume: float) -> bool:
    """Whether `check_candles` has nothing against one candle's numbers."""
    return 0 < low <= open_ <= high and low <= close <= high < math.inf and 0 <= volume < math.inf


def time_text(time: pd.Timestamp) -> str:
    """A bar's time as people read it, to the minute."""
    return f"{time:%Y-%m-%d %H:%M}"


def interval_of(index: pd.DatetimeIndex) -> pd.Timedelta:
    """The series' bar interval: its most frequent step between two open times."""
    if len(index) < 2:
        raise DataError("an interval needs at least two bars.")
    steps, counts = np.unique(np.diff(index.asi8), return_counts=True)
    return pd.Timedelta(int(steps[np.argmax(counts)]), unit=index.unit)


def interval_text(interval: pd.Timedelta) -> str:
    """``4 h``, ``1 d``, ``15 min``."""
    hours = interval / pd.Timedelta(hours=1)
    if hours >= 24:
        return f"{hours / 24:g} d"
    return f"{hours:g} h" if hours >= 1 else f"{hours * 60:g} min"


def _steps_in_intervals(index: pd.DatetimeIndex) -> np.ndarray:
    """From each bar to the next, ``(n_bars - 1,)`` in intervals: 1 where no bar is absent."""
    one_tick = pd.Timedelta(1, unit=index.unit)
    return np.diff(index.asi8) / (interval_of(index) / one_tick)


def missing_bars(index: pd.DatetimeIndex) -> int:
    """How many bars are absent between the first and the last one.

    A series with bars on all seven weekdays runs around the clock: every absent step counts. Any other series has
    sessions: a slot of the week (weekday and time of day) is expected when it holds a bar in at least three weeks
    of four, so weekends and nights are no gaps while a market holiday counts as an absent bar.
    """
    if len(index) < 2:
        return 0
    interval = interval_of(index)
    if interval > pd.Timedelta(days=1) or index.day_of_week.nunique() == 7:
        return int(np.sum(np.round(_steps_in_intervals(index)) - 1))
    index = index.tz_localize(None)
    midnight = index.normalize()
    slot = (index - midnight) + pd.to_timedelta(index.day_of_week, unit="D")
    week = midnight - pd.to_timedelta(index.day_of_week, unit="D")
    n_weeks = (week[-1] - week[0]).days // 7 + 1
    bars_in_slot = slot.value_counts()
    expected = bars_in_slot.index[bars_in_slot >= 0.75 * n_weeks]
    grid = pd.date_range(week[0], week[-1], freq="7D").to_numpy()[:, None] + expected.to_numpy()[None, :]
    inside = grid[(grid >= index[0].to_datetime64()) & (grid <= index[-1].to_datetime64())]
    return int(len(inside) - np.isin(inside, index.to_numpy()).sum())


def fingerprint(candles: pd.DataFrame) -> str:
    """sha256 over the times (as epoch nanoseconds), the column names and every value: equal data, equal text."""
    digest = hashlib.sha256(pd.DatetimeIndex(candles.index).as_unit("ns").asi8.tobytes())
    for column in candles:
        digest.update(str(column).encode())
        digest.update(np.ascontiguousarray(candles[column].to_numpy(dtype=float)).tobytes())
    return digest.hexdigest()


def _canonical_names(path: Path, columns: pd.Index) -> list[str]:
    known = {*OHLCV, REGIME}
    names = [str(c).strip().lower() if str(c).strip().lower() in known else str(c).strip() for c in columns]
    lower = [name.lower() for name in names]
    for candidate in _TIMESTAMP_NAMES:
        found = [i for i, name in enumerate(lower) if name == candidate]
        if found and candidate == "date" and "time" in lower:
            raise DataError(f"{path}: has columns for date and time. Join them to one, such as 2024-01-31T04:00:00Z.")
        if found:
            names[found[0]] = "timestamp"
            break
    return names


def _require_columns(path: Path, raw: pd.DataFrame) -> None:
    missing = [name for name in ["timestamp", *OHLCV] if name not in raw]
    if missing:
        raise DataError(
            f"{path}: column {', '.join(missing)} is missing; found {', '.join(raw.columns)}. "
            "The header must name timestamp, open, high, low, close, volume."
        )


def _numeric_columns(path: Path, raw: pd.DataFrame, line: np.ndarray) -> pd.DataFrame:
    """Float columns; of the columns beyond OHLCV and regime only numeric ones are kept."""
    kept = {}
    for name in raw:
        values = raw[name]
        if values.dtype.kind == "b" and name in (*OHLCV, REGIME):
            raise DataError(f"{path}, line {line[0]}: {name} is {values.iloc[0]}, which is no number.")
        if not pd.api.types.is_numeric_dtype(values):
            numbers = pd.to_numeric(values, errors="coerce")
            bad = (numbers.isna() & values.notna()).to_numpy()
            if bad.any() and name not in (*OHLCV, REGIME):
                continue
            if bad.any():
                at = int(np.argmax(bad))
                raise DataError(
                    f"{path}, line {line[at]}: {name} is {values.iloc[at]!r}, which is no number. Write it as 1234.5."
                )
            values = numbers
        kept[str(name)] = values.to_numpy(dtype=float)
    order = [*OHLCV, *(name for name in kept if name not in OHLCV)]
    return pd.DataFrame({name: kept[name] for name in order})


def _refuse_mixed_intervals(source: str, where: str, rows: np.ndarray, index: pd.DatetimeIndex) -> None:
    """Refuse steps that tell of two intervals, or of times that are not in UTC.

    These are a step clearly below the interval, five equal longer ones in a row, and, in a series around the clock,
    one that is no multiple of the interval.
    """
    interval = interval_of(index)
    step = _steps_in_intervals(index)
    bad = step < 0.9  # months have 28 to 31 days, and a day of the clock change 23 hours
    repeats = 5
    if len(step) >= repeats:
        runs = np.lib.stride_tricks.sliding_window_view(step, repeats)
        bad[: len(runs)] |= (runs[:, 0] > 1.1) & (runs == runs[:, :1]).all(axis=1)
    if interval < pd.Timedelta(days=1) and index.day_of_week.nunique() == 7:
        bad |= np.abs(step - np.round(step)) > 0.1
    if bad.any():
        at = int(np.argmax(bad))
        found = step[at] * interval
        raise DataError(
            f"{source}, {where} {rows[at + 1]}: this bar opens {interval_text(found)} after the one before, but the "
            f"series' interval is {interval_text(interval)}. Keep bars of one interval in a file; where a clock was "
            "changed, write times in UTC."
        )
