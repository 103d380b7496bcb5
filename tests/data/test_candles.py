from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as some

from data.calendar import missing_bars
from data.candles import OHLCV, check_candles, fingerprint, month_hashes, plausible, read_candles
from data.errors import DataError
from data.intervals import interval_of
from tests.conftest import to_csv

HEADER = "timestamp,open,high,low,close,volume"
ROWS = [
    "2024-01-01T00:00:00Z,10,12,9,11,5",
    "2024-01-01T04:00:00Z,11,13,10,12,6",
    "2024-01-01T08:00:00Z,12,14,11,13,7",
    "2024-01-01T12:00:00Z,13,15,12,14,0",
]


def write(folder: Path, *lines: str) -> Path:
    path = folder / "BTC.csv"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def test_reads_candles_over_their_open_times_in_utc(tmp_path: Path) -> None:
    candles = read_candles(write(tmp_path, HEADER, *ROWS))
    assert list(candles) == ["open", "high", "low", "close", "volume"]
    assert candles.index[1] == pd.Timestamp("2024-01-01 04:00", tz="UTC")
    assert candles.loc["2024-01-01 08:00+00:00"].tolist() == [12, 14, 11, 13, 7]
    assert interval_of(candles.index) == pd.Timedelta(hours=4)


@pytest.mark.parametrize(
    "times",
    [
        ["2024-01-01 00:00:00", "2024-01-01 04:00:00", "2024-01-01 08:00:00"],
        ["2024-01-01T02:00:00+02:00", "2024-01-01T06:00:00+02:00", "2024-01-01T10:00:00+02:00"],
        ["1704067200", "1704081600", "1704096000"],
        ["1704067200000", "1704081600000", "1704096000000"],
        ["1704067200000000", "1704081600000000", "1704096000000000"],
    ],
)
@pytest.mark.parametrize("name", ["timestamp", "Date", "datetime", "OPEN_TIME", "Open Time", "openTime"])
def test_the_same_times_in_every_accepted_spelling(tmp_path: Path, times: list[str], name: str) -> None:
    rows = [f"{time},{row.split(',', 1)[1]}" for time, row in zip(times, ROWS, strict=False)]
    candles = read_candles(write(tmp_path, f"{name},Open,HIGH,low,Close,Volume", *rows))
    assert candles.index.tolist() == pd.date_range("2024-01-01", periods=3, freq="4h", tz="UTC").tolist()


def test_dates_written_as_eight_digits_are_dates_not_seconds(tmp_path: Path) -> None:
    rows = [f"2024010{day},{row.split(',', 1)[1]}" for day, row in enumerate(ROWS, start=1)]
    assert read_candles(write(tmp_path, HEADER, *rows)).index[0] == pd.Timestamp("2024-01-01", tz="UTC")


def test_keeps_regime_and_numeric_columns_and_leaves_text_out(tmp_path: Path) -> None:
    rows = [f"{row},{regime},0.5,BTC" for row, regime in zip(ROWS, [0, 1, 2, 3], strict=True)]
    candles = read_candles(write(tmp_path, f"{HEADER},Regime,funding,symbol", *rows))
    assert list(candles) == ["open", "high", "low", "close", "volume", "regime", "funding"]
    assert candles["regime"].tolist() == [0, 1, 2, 3]


def test_a_volume_of_more_digits_than_an_integer_holds_is_a_number(tmp_path: Path) -> None:
    rows = [row.rpartition(",")[0] + ",25000000000000000000000000" for row in ROWS]
    assert read_candles(write(tmp_path, HEADER, *rows))["volume"].tolist() == [2.5e25] * 4


def test_a_byte_order_mark_and_blank_lines_at_the_end_do_no_harm(tmp_path: Path) -> None:
    assert len(read_candles(write(tmp_path, "\ufeff" + HEADER, *ROWS, "", ""))) == 4


def replaced(row: int, text: str) -> list[str]:
    return [text if number == row else line for number, line in enumerate(ROWS)]


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([], "is empty"),
        ([HEADER], "no rows"),
        (["timestamp,open,high,low,last,volume", *ROWS], "column close is missing; found timestamp, open"),
        (["timestamp,open,open,low,close,volume", *ROWS], "open"),
        ([HEADER, *replaced(2, "31.01.2024,12,14,11,13,7")], "line 4: timestamp '31.01.2024' cannot be read"),
        ([HEADER, *replaced(1, ROWS[0])], "line 3: timestamp 2024-01-01 00:00:00.00:00 appears twice"),
        (
            [HEADER, ROWS[0], ROWS[2], ROWS[1]],
            "line 4: timestamp 2024-01-01 04:00:00.00:00 is earlier than the row b",
        ),
        ([HEADER, *replaced(2, "2024-01-01T08:00:00Z,12,14,11,,7")], "line 4: close is nan"),
        ([HEADER, *replaced(2, "2024-01-01T08:00:00Z,12,inf,11,13,7")], "line 4: high is inf"),
        ([HEADER, *replaced(2, "2024-01-01T08:00:00Z,12,14,n/k,13,7")], "line 4: low is 'n/k'"),
        ([HEADER, *replaced(3, "2024-01-01T12:00:00Z,0,14,11,13,7")], "line 5: open is 0, but log returns need"),
        ([HEADER, *replaced(3, "2024-01-01T12:00:00Z,12,14,-11,13,7")], "line 5: low is -11"),
        ([HEADER, *replaced(0, "2024-01-01T00:00:00Z,12,11,14,12,7")], "line 2: high 11 is below low 14"),
        (
            [HEADER, *replaced(0, "2024-01-01T00:00:00Z,12,13,11,14,7")],
            "line 2: close 14 lies outside low 11 .. high 13",
        ),
        ([HEADER, *replaced(0, "2024-01-01T00:00:00Z,12,13,11,12,-7")], "line 2: volume is -7"),
        ([HEADER, ROWS[0], "", *ROWS[1:]], "line 3: timestamp is empty"),
        ([HEADER + ",regime", *(f"{row},1.5" for row in ROWS)], "line 2: regime is 1.5"),
        (
            [HEADER + ",regime", *(f"{row},{r}" for row, r in zip(ROWS, ["0", "", "1", "2"], strict=True))],
            "line 3: regime",
        ),
        ([HEADER + ",regime", *(f"{row},bull" for row in ROWS)], "line 2: regime is 'bull'"),
        (
            [HEADER + ",regime", *(f"{row},{r}" for row, r in zip(ROWS, "3122", strict=True))],
            "line 3: 1 is the smallest regime, but 0 bearish, 1 sideways, 2 bullish is what the numbers mean",
        ),
    ],
)
def test_invalid_rows_are_refused_with_file_and_line(tmp_path: Path, lines: list[str], message: str) -> None:
    with pytest.raises(DataError, match=message) as refused:
        read_candles(write(tmp_path, *lines))
    assert "BTC.csv" in str(refused.value)


def test_a_file_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nothing\.csv: there is no such file"):
        read_candles(tmp_path / "nothing.csv")


def test_a_frame_without_times_in_utc_is_refused(candles: pd.DataFrame) -> None:
    for index in (candles.index.tz_localize(None), pd.RangeIndex(len(candles))):
        with pytest.raises(DataError, match="candles: needs a DatetimeIndex in UTC; read_candles gives one"):
            check_candles(candles.set_axis(index))


def test_a_refusal_lists_ten_rows_of_each_kind_of_fault_and_counts_the_others(tmp_path: Path) -> None:
    rows = [f"2024-01-01T{hour:02}:00:00Z,{row.split(',', 1)[1]}" for hour, row in enumerate(6 * ROWS)]
    rows = [row if hour < 4 else row.replace(",5", ",").replace(",6", ",") for hour, row in enumerate(rows)]
    with pytest.raises(DataError) as refused:
        read_candles(write(tmp_path, HEADER, *rows[:3], rows[3].replace(",15,", ",9,"), *rows[4:]))
    assert str(refused.value).endswith(
        "BTC.csv, line 6: volume is nan. Fill in the number or drop the row. The same in lines 7, 10, 11, 14, 15, 18, "
        "19, 22, 23."
    )
    (other,) = refused.value.__notes__
    assert "line 5: high 9 is below low 12" in other
    with pytest.raises(DataError, match="The same in lines 3, 4, 5, 6, 7, 8, 9, 10, 11 and 14 more"):
        read_candles(write(tmp_path, HEADER, *(row.rpartition(",")[0] + "," for row in rows)))


def test_the_labels_may_be_words(tmp_path: Path) -> None:
    labels = ["bullish", "Sideways", "sideways", "3"]
    file = write(tmp_path, HEADER + ",regime", *(f"{row},{label}" for row, label in zip(ROWS, labels, strict=True)))
    assert read_candles(file)["regime"].tolist() == [2, 1, 1, 3]


def test_a_close_above_the_high_by_the_rounding_of_an_adjustment_is_valid(candles: pd.DataFrame) -> None:
    high = candles["high"]
    check_candles(candles.assign(close=high + 4 * np.spacing(high)))
    with pytest.raises(DataError, match=r"row 0: close .* lies outside"):
        check_candles(candles.assign(close=high + 6 * np.spacing(high)))


def test_missing_bars_are_counted_and_not_filled(candles: pd.DataFrame) -> None:
    gappy = candles.drop(candles.index[[50, 51, 300]])
    check_candles(gappy)
    assert len(gappy) == len(candles) - 3
    assert missing_bars(candles.index) == 0
    assert missing_bars(gappy.index) == 3


def test_a_single_bar_has_no_missing_bars(candles: pd.DataFrame) -> None:
    assert missing_bars(candles.index[:1]) == missing_bars(candles.index[:0]) == 0


def test_weekends_of_a_daily_series_are_not_missing_bars(sp500: pd.DataFrame) -> None:
    check_candles(sp500)
    weekdays = np.busday_count(sp500.index[0].date(), sp500.index[-1].date()) + 1
    assert missing_bars(sp500.index) == weekdays - len(sp500)  # only the market's holidays


def test_nights_of_a_session_are_not_missing_bars() -> None:
    days = pd.bdate_range("2024-01-01", periods=60, tz="UTC")
    hours = pd.DatetimeIndex([day + pd.Timedelta(hours=h) for day in days for h in range(14, 21)]).as_unit("us")
    assert missing_bars(hours) == 0
    assert missing_bars(hours.delete([10, 200])) == 2


def test_bars_are_found_again_by_their_months_under_any_name_and_scale(candles: pd.DataFrame) -> None:
    """1,200 four-hour bars from January 1 to July 19."""
    hashes = month_hashes(candles)
    assert len(set(hashes)) == 7
    assert month_hashes(candles * 0.1) == hashes  # so that fractions are rounded differently
    changed = candles.copy()
    changed.iloc[300, changed.columns.get_loc("close")] *= 1.0001  # in February
    assert [one == other for one, other in zip(month_hashes(changed), hashes, strict=True)] == [
        True,
        False,
        *[True] * 5,
    ]
    assert month_hashes(candles.iloc[10:])[1:] == hashes[1:]
    assert month_hashes(candles.iloc[10:])[0] != hashes[0]


def test_a_month_with_one_or_two_bars_has_no_hash(candles: pd.DataFrame) -> None:
    """Another market's could have the same."""
    assert [len(month_hashes(candles.iloc[:bars])) for bars in (1, 2, 3)] == [0, 0, 1]


def test_the_fingerprint_detects_any_change_and_survives_a_round_trip(candles: pd.DataFrame, tmp_path: Path) -> None:
    changed = candles.copy()
    changed.iloc[7, 3] = np.nextafter(changed.iloc[7, 3], np.inf)
    assert fingerprint(read_candles(to_csv(candles, tmp_path / "a.csv"))) == fingerprint(candles)
    assert fingerprint(changed) != fingerprint(candles)
    assert len(fingerprint(candles)) == hashlib.sha256().digest_size * 2


@settings(max_examples=1000)
@given(some.tuples(*[some.sampled_from([-1.0, 0.0, 5e-324, 1.0, 1 - 4e-16, 2.0, 1.79e308, np.inf, np.nan])] * 5))
@example((1.0, 1.0, 1.0, np.nan, 0.0))
def test_a_candle_is_plausible_exactly_if_the_full_check_accepts_it(numbers: tuple[float, ...]) -> None:
    one = pd.DataFrame([numbers], columns=OHLCV, index=pd.DatetimeIndex(["2024-01-01"], tz="UTC"))
    try:
        check_candles(one)
        expected = True
    except DataError:
        expected = False
    assert plausible(*numbers) == expected
