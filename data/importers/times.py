"""Parses the times of a table, and asks where a date or a zone can be read in two ways."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import product

import numpy as np
import pandas as pd

from data.csv_table import FIRST_DATE, HAS_OFFSET, LAST_DATE, LEAST_EPOCH, Rows, epoch_unit
from data.errors import SettingsError
from data.importers.formats import DAY_IN_FILE_NAME, Format
from data.importers.options import ImportOptions, QuestionError

# Patterns of dates, clock times and offsets, and their formats; two formats are a question.
_DATES: dict[str, tuple[str, ...]] = {
    r"\d{4}-\d\d?-\d\d?": ("%Y-%m-%d",),
    r"\d{4}/\d\d?/\d\d?": ("%Y/%m/%d",),
    r"\d{4}\.\d\d?\.\d\d?": ("%Y.%m.%d",),
    r"\d{8}": ("%Y%m%d",),
    r"\d\d?\.\d\d?\.\d{4}": ("%d.%m.%Y",),  # dots: the day comes first everywhere
    r"\d\d?/\d\d?/\d{4}": ("%d/%m/%Y", "%m/%d/%Y"),
    r"\d\d?/\d\d?/\d\d": ("%d/%m/%y", "%m/%d/%y"),
    r"\d\d?-\d\d?-\d{4}": ("%d-%m-%Y", "%m-%d-%Y"),
    r"[A-Za-z]{3} \d\d?, \d{4}": ("%b %d, %Y",),
    r"\d\d?[ -][A-Za-z]{3}[ -]\d{4}": ("%d %b %Y", "%d-%b-%Y"),
}
_CLOCKS = {
    "": "",
    r"[ T]\d\d?:\d\d": " %H:%M",
    r"[ T]\d\d?:\d\d:\d\d": " %H:%M:%S",
    r"[ T]\d\d?:\d\d:\d\d\.\d+": " %H:%M:%S.%f",
    r" \d{6}": " %H%M%S",
    r" \d{4}": " %H%M",
    r" \d\d?:\d\d [AaPp][Mm]": " %I:%M %p",
    r" \d\d?:\d\d:\d\d [AaPp][Mm]": " %I:%M:%S %p",
    r" \d\d?-[AaPp][Mm]": " %I-%p",
}
_OFFSETS = {"": "", r"(?:Z|[+-]\d\d:?\d\d)": "%z", r" GMT[+-]\d{4}": " GMT%z", r" UTC": " UTC"}
_ORDERS = {"dmy": "%d", "mdy": "%m", "ymd": "%Y"}  # and what a format of this order begins with
_ISO = r"\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d.*)?$"
_SAMPLE = 100


def parse_times(rows: Rows, fmt: Format, options: ImportOptions) -> tuple[pd.DatetimeIndex, list[str]]:
    """The times in UTC, and what was decided about them.

    Parameters
    ----------
    rows
        Rows with a column ``timestamp``, ``date`` and ``time``, one of the two, or ``milliseconds``.

    Raises
    ------
    DataError
        If a time cannot be read, or its zone or order of day and month is a question.
    """
    column = _time_column(rows)
    rows = Rows(rows.source, rows.kind, rows.numbers, {"time": column})
    rows.refuse(column.isna().to_numpy(), "the time is empty. Drop the row.")
    if column.dtype.kind not in "iufM" and not options.date_format:
        some = column.iloc[:: max(1, len(column) // 1000)]
        if pd.to_numeric(some, errors="coerce").notna().mean() > 0.5:  # text because of a few cells
            numbers = pd.to_numeric(column, errors="coerce")
            problem = "the time {time!r} is not a number, unlike most of them. Correct or drop the row."
            rows.refuse(numbers.isna().to_numpy(), problem)
            column = numbers
    is_iso = column.dtype.kind == "M"
    if is_iso:
        times, note = pd.DatetimeIndex(column), "ISO 8601"
    elif pd.api.types.is_numeric_dtype(column) and options.date_format is None:
        times, note = _numeric_times(column, rows)
    else:
        texts = column.astype(str).str.strip()
        is_iso = bool(re.match(_ISO, texts.iloc[0])) and options.date_format is None
        times, note = _iso_times(texts, rows) if is_iso else _other_times(texts, rows, options)
    index, zone_note = _in_utc(times, rows, fmt, options, is_iso)
    index = pd.DatetimeIndex(index, name="timestamp").as_unit("us")
    rows.refuse(
        np.asarray(index > pd.Timestamp.now("UTC")),
        "the time {time} lies in the future. Leave out bars that have not begun.",
    )
    return index, [f"times: {note}{zone_note}"]


def _time_column(rows: Rows) -> pd.Series:
    """The column of times; date and time are joined, milliseconds added to the day in the file's name."""
    columns = rows.columns
    if "milliseconds" in columns:
        day = re.findall(DAY_IN_FILE_NAME, rows.source)[-1]
        return pd.Timestamp(day).as_unit("ms") + pd.to_timedelta(columns["milliseconds"], unit="ms")
    if "timestamp" in columns:
        return columns["timestamp"]
    if "date" not in columns or "time" not in columns:
        return columns["date"] if "date" in columns else columns["time"]
    date, time = columns["date"], columns["time"]
    if pd.api.types.is_numeric_dtype(time):  # 93000 is 09:30:00, 930 is 09:30
        time = time.astype("int64").astype(str).str.zfill(4 if time.max() < 2400 and time.max() > 0 else 6)
    days = date.dt.strftime("%Y-%m-%d") if date.dtype.kind == "M" else date.astype(str)
    return days.str.strip() + " " + time.astype(str).str.strip()


def _numeric_times(column: pd.Series, rows: Rows) -> tuple[pd.DatetimeIndex, str]:
    """Times from ``YYYYMMDD`` or epoch numbers, each in the unit that its size shows."""
    values = column.to_numpy(dtype=float)
    if values.min() >= FIRST_DATE and values.max() <= LAST_DATE:
        days = pd.to_datetime(column.astype("int64").astype(str), format="%Y%m%d", errors="coerce")
        rows.refuse(days.isna().to_numpy(), "the date {time} cannot be read as YYYYMMDD.")
        return pd.DatetimeIndex(days), "YYYYMMDD"
    is_epoch = (np.abs(values) >= LEAST_EPOCH) & ~((values >= FIRST_DATE * 1e4) & (values <= (LAST_DATE + 1) * 1e4))
    if not is_epoch.all():
        raise QuestionError(
            f"{rows.source}, line {rows.numbers[np.argmin(is_epoch)]}: the time {column.iloc[np.argmin(is_epoch)]} is "
            "no epoch number. Give its format, such as --date-format %Y%m%d%H%M."
        )
    units = epoch_unit(values)
    parsed = np.empty(len(values), dtype="datetime64[us]")
    names = {}
    for unit in np.unique(units).tolist():
        rows_of_unit = units == unit
        moments = pd.to_datetime(column[rows_of_unit], unit=unit, errors="coerce")
        parsed[rows_of_unit] = moments.to_numpy().astype("datetime64[us]")
        names[unit] = int(rows_of_unit.sum())
    rows.refuse(np.isnat(parsed), "the time {time} is beyond the years that can be read. Correct or drop the row.")
    counts = names if len(names) > 1 else dict.fromkeys(names, "")
    return pd.DatetimeIndex(parsed).tz_localize("UTC"), "epoch in " + " and ".join(
        f"{unit} ({count:,} rows)" if count else unit for unit, count in counts.items()
    )


def _iso_times(texts: pd.Series, rows: Rows) -> tuple[pd.DatetimeIndex, str]:
    offset = texts.str.contains(HAS_OFFSET).to_numpy(dtype=bool)
    parsed = pd.to_datetime(texts, format="ISO8601", utc=True, errors="coerce")
    rows.find(parsed.isna().to_numpy(), "the time {time!r} cannot be read. Correct or drop the row.")
    rows.refuse(
        offset != offset[0], f"the time {{time}} has {'no' if offset[0] else 'an'} offset, unlike the first row."
    )
    index = pd.DatetimeIndex(parsed)
    return (index, "ISO 8601 with offset") if offset[0] else (index.tz_localize(None), "ISO 8601")


def _other_times(texts: pd.Series, rows: Rows, options: ImportOptions) -> tuple[pd.DatetimeIndex, str]:
    formats = _formats(texts, rows, options)
    parsed = {}
    for fmt in formats:
        times = pd.to_datetime(texts, format=fmt, errors="coerce", utc="%z" in fmt)
        parsed[fmt] = times, times.isna().to_numpy()
    complete = [fmt for fmt, (_, unread) in parsed.items() if not unread.any()]
    if len(complete) > 1:
        raise QuestionError(
            f"{rows.source}: {texts.iloc[0]} and every other date can be read with the day or the month first. Answer "
            "with --date-format dmy or --date-format mdy."
        )
    chosen = complete[0] if complete else min(parsed, key=lambda fmt: int(parsed[fmt][1].sum()))
    times, unread = parsed[chosen]
    rows.refuse(
        unread, f"the time {{time!r}} cannot be read as {chosen}. Correct or drop the row, or give --date-format."
    )
    index = pd.DatetimeIndex(times)
    return (index.tz_localize("UTC") if chosen.endswith(" UTC") else index), chosen


def _formats(texts: pd.Series, rows: Rows, options: ImportOptions) -> Sequence[str]:
    """The strptime formats that fit the first readable time."""
    given = options.date_format
    if given is not None and "%" in given:
        return [given]
    if given is not None and given not in _ORDERS:
        raise SettingsError(
            f"--date-format: {given!r} is none of {', '.join(_ORDERS)} and no format such as %Y%m%d%H%M."
        )
    for text in texts.head(_SAMPLE):
        for (date, dates), (clock, time), (offset, zone) in product(_DATES.items(), _CLOCKS.items(), _OFFSETS.items()):
            if re.fullmatch(date + clock + offset, text):
                time = time.replace(" ", "T") if re.search(r"\dT\d", text) else time
                fitting = [day + time + zone for day in dates if given is None or day.startswith(_ORDERS[given])]
                return fitting or [day + time + zone for day in dates]
    raise QuestionError(
        f"{rows.source}, line {rows.numbers[0]}: the time {texts.iloc[0]!r} has an unknown format. Give it, such as "
        "--date-format '%Y%m%d %H%M%S'."
    )


def _in_utc(
    times: pd.DatetimeIndex, rows: Rows, fmt: Format, options: ImportOptions, is_iso: bool
) -> tuple[pd.DatetimeIndex, str]:
    """Times in UTC; dates without a time of day stay dates."""
    if times.tz is not None:
        if options.timezone:
            raise SettingsError(f"{rows.source}: its times are in UTC or have an offset. Leave out --timezone.")
        return times.tz_convert("UTC"), ""
    if bool((times == times.normalize()).all()):
        return times.tz_localize("UTC"), ", dates"
    zone = options.timezone or fmt.zone or ("UTC" if is_iso else None)
    if zone is None:
        raise QuestionError(
            f"{rows.source}: the zone of times such as {times[0]:%Y-%m-%d %H:%M} is unknown: {fmt.zone_hint}. Answer "
            "with --timezone, such as --timezone Europe/Athens or --timezone UTC."
        )
    name, plus, hours = zone.partition("+")
    try:
        shifted = times - pd.Timedelta(hours=float(hours)) if plus else times
        index = _localized(shifted, name)
    except (KeyError, ValueError) as error:  # zoneinfo's error is a KeyError
        raise SettingsError(f"--timezone: {zone!r} is no zone such as Europe/Athens, UTC or EST.") from error
    unclear = np.asarray(index.isna())
    rows.refuse(unclear, f"the time {{time}} does not exist, or occurs twice, in {zone}, because of a clock change.")
    taken = " (they have no offset)" if is_iso and not options.timezone else ""
    return index, f", taken as {zone}{taken}"


def _localized(times: pd.DatetimeIndex, zone: str) -> pd.DatetimeIndex:
    """Local times in UTC; the order of the rows tells apart the two hours of a clock that is set back."""
    descending = len(times) > 1 and times[0] > times[-1]
    ordered = times[::-1] if descending else times
    pd.Timestamp(0).tz_localize(zone)  # raises if there is no such zone
    try:
        index = ordered.tz_localize(zone, ambiguous="infer", nonexistent="NaT")
    except ValueError:
        index = ordered.tz_localize(zone, ambiguous="NaT", nonexistent="NaT")
    return (index[::-1] if descending else index).tz_convert("UTC")
