"""Counts missing bars, by the sessions that a series shows or by an exchange's calendar."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd

from data.errors import DataError, SettingsError, did_you_mean
from data.intervals import around_the_clock, interval_of, steps_in_intervals

_DAY = pd.Timedelta(days=1)
_MARGIN = pd.Timedelta(days=20)  # longer than any market is closed


def missing_bars(index: pd.DatetimeIndex) -> int:
    """Number of bars missing between the first and the last one, by the series' own sessions.

    A series with bars on all seven weekdays trades around the clock, where every missing bar counts; so it does in bars
    of several days. In any other series of daily bars, a weekday counts if it has a bar in at least three weeks of
    four, so a holiday does. In shorter bars, a missing one counts between two bars of a day, at a time of day that in
    this week has at least half of the bars of the most frequent one. So nights, lunch breaks, half days and holidays
    do not count.
    """
    if len(index) < 2:
        return 0
    interval, missing = interval_of(index), np.maximum(0, np.round(steps_in_intervals(index)) - 1).astype(int)
    if interval > _DAY or around_the_clock(index):
        return int(missing.sum())
    if interval == _DAY:
        return _missing_days(index)
    missing[np.diff(index.normalize().asi8) != 0] = 0
    number = np.arange(missing.sum()) - np.repeat(np.cumsum(missing) - missing, missing)  # from 0 in each gap
    absent = index[:-1].repeat(missing) + (number + 1) * interval
    bars = _week_and_time(index).value_counts()
    most = bars.groupby(level="week").max()
    absent = _week_and_time(absent)
    expected = bars.reindex(absent, fill_value=0).to_numpy() >= 0.5 * most[absent.get_level_values("week")].to_numpy()
    return int(expected.sum())


def _week_and_time(index: pd.DatetimeIndex) -> pd.MultiIndex:
    """The Monday of each bar's week, and its time of day. Clocks change on Sundays."""
    date = index.normalize()
    monday = date - pd.to_timedelta(index.day_of_week, unit="D")
    return pd.MultiIndex.from_arrays([monday, index - date], names=["week", "time"])


def _missing_days(index: pd.DatetimeIndex) -> int:
    days = index.tz_localize(None).to_numpy().astype("datetime64[D]")
    weeks = (days[-1] - days[0]).astype(int) // 7 + 1
    bars = np.bincount(index.day_of_week, minlength=7)
    expected = bars >= 0.75 * weeks
    if not expected.any():
        return 0
    n_days = np.busday_count(days[0], days[-1] + 1, weekmask=expected)
    return int(n_days - bars[expected].sum())


def missing_in_calendar(index: pd.DatetimeIndex, exchange: str, *, source: str) -> int:
    """Number of bars missing between the first and the last one, by an exchange's calendar.

    Parameters
    ----------
    index
        Open times in UTC; daily bars at midnight of their date. Longer bars are counted by `missing_bars`.
    exchange
        A name of the package ``exchange_calendars``, such as ``XNYS`` (New York), ``XBOM`` (India) or ``XTKS`` (Tokyo).
    source
        Name of the bars in errors, such as the file's path.

    Raises
    ------
    SettingsError
        If the package is not installed, or does not know the exchange.
    DataError
        For bars before or after the calendar.
    """
    try:
        import exchange_calendars
    except ImportError:
        raise SettingsError(
            "--calendar needs the package exchange_calendars: pip install -c constraints.txt -e '.[calendars]'"
        ) from None
    if len(index) < 2 or (interval := interval_of(index)) > _DAY:
        return missing_bars(index)
    date = index.tz_localize(None).normalize()
    first, last = date[0], date[-1]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # the package's own use of pandas
        try:  # the calendar must begin and end with a session, which these dates may not be
            calendar = exchange_calendars.get_calendar(exchange, start=first - _MARGIN, end=last + _MARGIN)
            if interval == _DAY:
                return len(calendar.sessions_in_range(first, last).difference(date))
            expected = calendar.trading_index(first, last, interval, intervals=False, closed="left")
        except exchange_calendars.errors.InvalidCalendarName:
            near = did_you_mean(exchange, exchange_calendars.get_calendar_names())
            raise SettingsError(f"--calendar: {exchange!r} is no exchange of exchange_calendars.{near}") from None
        except ValueError as error:
            raise DataError(f"{source}: {error}") from None
    expected = expected[(expected >= index[0]) & (expected <= index[-1])]
    return len(expected.difference(index))
