"""The interval of a series, with the calendars and the missing bars that markets have."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as some

from data.calendar import missing_bars, missing_in_calendar
from data.candles import check_candles, check_intervals, read_candles
from data.errors import DataError, SettingsError
from data.intervals import has_interval, interval_of
from tests.conftest import BTC, flat, sessions, to_csv


def around_the_clock(freq: str, n_bars: int = 3000) -> pd.DatetimeIndex:
    return pd.date_range("2022-02-01", periods=n_bars, freq=freq, tz="UTC", unit="us")


def first_trading_days(period: str) -> pd.DatetimeIndex:
    days = pd.bdate_range("1990-01-01", "2023-12-29")
    days = days[np.random.default_rng(0).random(len(days)) > 0.04].to_series()
    return pd.DatetimeIndex(days.groupby(days.dt.to_period(period)).first()).tz_localize("UTC").as_unit("us")


def with_muhurat() -> pd.DatetimeIndex:
    """Hours of the Indian exchange, and an hour of trading on the evenings of Diwali, also on Sundays."""
    evenings = ["2021-11-04 18:15", "2022-10-24 18:15", "2023-11-12 18:15", "2023-11-12 19:15", "2021-02-20 09:15"]
    special = pd.DatetimeIndex(evenings).tz_localize("Asia/Kolkata").tz_convert("UTC").as_unit("us")
    return sessions("Asia/Kolkata", "9:15 15:15", freq="1h").union(special)


def after_an_outage() -> pd.DatetimeIndex:
    """Four-hour bars; after an outage, the first one opens when the exchange did."""
    hours = around_the_clock("4h")
    return hours.delete(range(1500, 1508)).union([hours[1508] - pd.Timedelta(hours=2)])


def over_the_weekend_closed() -> pd.DatetimeIndex:
    """Hours of a currency pair, from Sunday evening to Friday evening in New York."""
    hours = pd.date_range("2022-01-02", periods=12_000, freq="1h", tz="America/New_York")
    day, hour = hours.day_of_week, hours.hour
    opened = (day < 4) | ((day == 4) & (hour < 17)) | ((day == 6) & (hour >= 17))
    return hours[opened].tz_convert("UTC").as_unit("us")


NEW_YORK = "America/New_York"
CALENDARS: dict[str, tuple[Callable[[], pd.DatetimeIndex], str]] = {
    "30 min with half days": (lambda: sessions(NEW_YORK, "9:30 15:30", freq="30min", half_days=True), "30min"),
    "1 h": (lambda: sessions(NEW_YORK, "9:30 15:30", freq="1h", half_days=True), "1h"),
    "2 h": (lambda: sessions(NEW_YORK, "9:30 11:30 13:30 15:30", half_days=True), "2h"),
    "4 h, two a day": (lambda: sessions(NEW_YORK, "9:30 13:30", half_days=True), "4h"),
    "lunch break": (lambda: sessions("Asia/Hong_Kong", "9:30 10:30 11:30 13:00 14:00 15:00"), "1h"),
    "lunch break, 2 h": (lambda: sessions("Asia/Tokyo", "9:00 11:00 12:30 14:30"), "2h"),
    "closing auction": (lambda: sessions("Europe/Berlin", "9:00 17:00 17:35", freq="30min"), "30min"),
    "closing auction, 1 h": (lambda: sessions("Australia/Sydney", "10:00 15:00 16:10", freq="1h"), "1h"),
    "special sessions": (with_muhurat, "1h"),
    "days": (lambda: sessions("UTC", "0:00"), "1D"),
    "days of New York": (lambda: sessions(NEW_YORK, "0:00"), "1D"),
    "weeks from their first trading day": (lambda: first_trading_days("W"), "7D"),
    "months": (lambda: pd.date_range("1970-01-01", periods=600, freq="MS", tz="UTC", unit="us"), "31D"),
    "months from their first trading day": (lambda: first_trading_days("M"), "31D"),
    "quarters": (lambda: pd.date_range("1900-01-01", periods=400, freq="QS", tz="UTC", unit="us"), "92D"),
    "1 min around the clock": (lambda: around_the_clock("1min"), "1min"),
    "4 h around the clock": (lambda: around_the_clock("4h"), "4h"),
    "days around the clock": (lambda: around_the_clock("1D"), "1D"),
    "first bar after an outage": (after_an_outage, "4h"),
    "closed at weekends": (over_the_weekend_closed, "1h"),
}
SERIES = {name: (make(), pd.Timedelta(interval)) for name, (make, interval) in CALENDARS.items()}


@settings(max_examples=300)
@given(some.sampled_from(list(SERIES)), some.floats(0, 0.5), some.integers(60, 1500), some.data())
def test_a_part_of_any_calendar_has_its_interval_with_any_share_of_bars_missing(
    name: str, share: float, n_bars: int, data: some.DataObject
) -> None:
    index, interval = SERIES[name]
    start = data.draw(some.integers(0, max(0, len(index) - 2 * n_bars)))
    random = np.random.default_rng(data.draw(some.integers(0, 2**32)))
    part = index[start:]
    part = part[random.random(len(part)) >= share][:n_bars]
    check_intervals(part, source=name)
    assert has_interval(part, interval)


@pytest.mark.parametrize("name", SERIES)
def test_a_whole_series_has_its_interval_and_no_bar_is_missing_in_its_sessions(name: str) -> None:
    index, interval = SERIES[name]
    assert abs(interval_of(index) / interval - 1) < 0.1  # months
    if interval != pd.Timedelta(days=1):
        assert missing_bars(index) == (7 if name == "first bar after an outage" else 0)


@pytest.mark.skipif(not BTC.exists(), reason="the sample candles are not here")
@pytest.mark.parametrize("share", [0.05, 0.4, 0.8])
def test_bars_removed_at_random_from_a_market_are_all_counted(share: float) -> None:
    candles = read_candles(BTC)
    kept = candles[np.random.default_rng(0).random(len(candles)) >= share]
    check_candles(kept)
    assert interval_of(kept.index) == pd.Timedelta(hours=4)
    between = candles.loc[kept.index[0] : kept.index[-1]]
    assert missing_bars(kept.index) == len(between) - len(kept)


def test_bars_missing_within_sessions_are_counted_in_summer_and_winter() -> None:
    index, _ = SERIES["30 min with half days"]
    inside = [22, 300, 301, 2007, 4005]
    assert all(index[bar].hour in range(15, 19) for bar in inside)
    assert missing_bars(index.delete(inside)) == 5


@pytest.mark.parametrize(
    ("first", "then", "n_bars", "after"),
    [
        ("4h", "1D", 20, "1 d"),
        ("1h", "1D", 10, "1 d"),
        ("1h", "15min", 3, "15 min"),
        ("1D", "7D", 20, "7 d"),
        ("1D", "4h", 3, "4 h"),
        ("5min", "15min", 40, "15 min"),
        ("1min", "2min", 40, "2 min"),
    ],
)
def test_a_lasting_change_of_the_interval_is_refused_at_its_first_bar(
    tmp_path: Path, first: str, then: str, n_bars: int, after: str
) -> None:
    before = around_the_clock(first, 400)
    both = before.append(pd.date_range(before[-1], periods=n_bars + 1, freq=then)[1:])
    file = to_csv(flat(both), tmp_path / "MIXED.csv")
    with pytest.raises(DataError, match=rf"MIXED\.csv, line 402: this bar opens {after} after the one before, but"):
        read_candles(file)


def test_a_lasting_change_is_found_with_bars_missing_at_random() -> None:
    before = around_the_clock("4h", 1000)
    both = before.append(pd.date_range(before[-1], periods=61, freq="1D")[1:])
    for seed in range(20):
        kept = both[np.random.default_rng(seed).random(len(both)) > 0.3]
        with pytest.raises(DataError, match="the series' interval is 4 h"):
            check_intervals(kept, source="candles")


@settings(max_examples=100)
@example("ticks", 100, 229664)  # one second is their shortest frequent step, so that all are multiples of it
@given(some.sampled_from(["ticks", "volume", "renko"]), some.integers(100, 2000), some.integers(0, 2**32))
def test_irregular_bars_are_refused_with_this_word_and_the_remedy(kind: str, n_bars: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    seconds = {
        "ticks": random.exponential(60, n_bars),
        "volume": random.gamma(5, 120, n_bars),
        "renko": random.lognormal(8, 1.5, n_bars),
    }[kind]
    times = pd.Timestamp("2024-01-01", tz="UTC") + pd.to_timedelta(np.cumsum(seconds), unit="s")
    with pytest.raises(DataError, match=r"Irregular bars .*regimes import --resample"):
        check_intervals(pd.DatetimeIndex(times).floor("s").unique(), source="candles")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of the package's own use of pandas
def test_an_exchanges_calendar_knows_holidays_half_days_and_lunch_breaks(sp500: pd.DataFrame) -> None:
    calendars = pytest.importorskip("exchange_calendars")
    missing = partial(missing_in_calendar, source="F.csv")
    assert missing(sp500.index, "XNYS") == 0
    assert missing(sp500.index.delete([7, 8]), "XNYS") == 2
    hong_kong = calendars.get_calendar("XHKG").trading_index("2023-01-03", "2023-12-29", "30min", intervals=False)
    hong_kong = hong_kong[~hong_kong.isin(calendars.get_calendar("XHKG").closes)]  # they end bars, and begin none
    assert missing(hong_kong, "XHKG") == 0
    assert missing(hong_kong.delete([5, 100]), "XHKG") == 2
    assert missing(first_trading_days("W"), "XNYS") == missing(sp500.index[:1], "XNYS") == 0
    assert missing(around_the_clock("30min", 500), "XHKG") == 0  # from a holiday on
    with pytest.raises(SettingsError, match=r"'NYSE2' is no exchange of exchange_calendars\. Did you mean 'NYSE'"):
        missing(sp500.index, "NYSE2")
    with pytest.raises(DataError, match=r"F\.csv: .*1960"):
        missing(pd.date_range("1900-01-01", periods=9, tz="UTC"), "XHKG")
