"""Makes longer bars from shorter ones, within sessions and only from bars that exist."""

from __future__ import annotations

import numpy as np
import pandas as pd

from data.download import length_of
from data.errors import SettingsError
from data.intervals import around_the_clock, interval_of, interval_text

_DAY = pd.Timedelta(days=1)
_RARE = 0.25  # a time of day with bars on fewer of the days lies outside of the session
_LAST_OF_BAR = {"open": "first", "high": "max", "low": "min", "close": "last", "volume": "sum"}


def resample(candles: pd.DataFrame, length: str) -> tuple[pd.DataFrame, str]:
    """Candles ``(n_bars, n_columns)`` of this length, such as ``4h``, and a note on them.

    Around the clock, bars begin at multiples of the length from midnight UTC, and an incomplete first or last one is
    left out. Otherwise they begin with each session; a bar of a day is that of a UTC date. A session ends
    where no bar follows for the new length, or at a time of day at which bars are rare. Columns other than OHLCV have
    their last value.

    Raises
    ------
    SettingsError
        If the length is unknown or no multiple of the bars'.
    """
    index = pd.DatetimeIndex(candles.index)
    interval = interval_of(index)
    target = length_of(length)
    if not interval < target <= _DAY or target % interval:
        raise SettingsError(
            f"--resample: {length} is no multiple of the interval of {interval_text(interval)}, or longer than 1 d."
        )
    always_open = around_the_clock(index)
    if always_open or target == _DAY:
        opens = index.floor(target)
    else:
        opens = _opens_in_sessions(index, interval, target)
    how = {str(name): _LAST_OF_BAR.get(str(name), "last") for name in candles}
    result = candles.groupby(opens.rename(index.name)).agg(how)
    n_made = len(result)
    if always_open:
        whole = slice(int(index[0] != opens[0]), len(result) - int(index[-1] + interval < opens[-1] + target))
        result = result.iloc[whole]
    before, after = f"{len(candles):,} bars of {interval_text(interval)}", f"{len(result):,} of {interval_text(target)}"
    cut = f"; incomplete bars at the ends left out: {n_made - len(result)}" if len(result) < n_made else ""
    return result, f"{before} became {after}{cut}"


def _opens_in_sessions(index: pd.DatetimeIndex, interval: pd.Timedelta, target: pd.Timedelta) -> pd.DatetimeIndex:
    """The open time of the new bar of each bar: counted from the first bar of its session."""
    follows = index + interval
    gap = index[1:] - follows[:-1]
    time_of_day = index - index.normalize()
    bars_at = time_of_day.value_counts()
    n_days = index.normalize().nunique()
    expected = bars_at.reindex(follows - follows.normalize(), fill_value=0).to_numpy()[:-1]
    begins = np.append(True, (gap >= target) | ((gap > pd.Timedelta(0)) & (expected < _RARE * n_days)))
    session = index[begins][np.cumsum(begins) - 1]
    return session + (index - session).floor(target)
