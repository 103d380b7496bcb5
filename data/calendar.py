"""Counts missing bars by the trading calendar that a series' own bars imply."""

from __future__ import annotations

import numpy as np
import pandas as pd

from data.candles import interval_of, steps_in_intervals


def missing_bars(index: pd.DatetimeIndex) -> int:
    """Number of bars missing between the first and the last one.

    A series with bars on all seven weekdays trades around the clock: every missing step counts. Any other series has
    sessions: a slot of the week (weekday and time of day) is expected if it has a bar in at least three weeks of four.
    So weekends and nights do not count, but a market holiday does.
    """
    if len(index) < 2:
        return 0
    interval = interval_of(index)
    if interval > pd.Timedelta(days=1) or index.day_of_week.nunique() == 7:
        return int(np.sum(np.round(steps_in_intervals(index)) - 1))
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
