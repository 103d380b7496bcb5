"""Files of the shapes that vendors write; each is read with at most one option, and nothing is guessed."""

from __future__ import annotations

import gzip
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as some

from data.candles import OHLCV, read_candles
from data.errors import DataError, SettingsError
from data.importers import ImportOptions, QuestionError, import_candles, remedy, write_imported
from tests.data.test_any_file import CELLS

# Two bars: times in UTC by form, and the numbers that every file below holds.
HOURS = ["2024-01-02 14:00", "2024-01-02 15:00"]
DAYS = ["2024-01-30", "2024-01-31"]
BARS = [[10, 12, 9, 11, 1500], [11, 13, 10.5, 12.25, 2500]]
SILENT = [[*bar[:4], 0] for bar in BARS]
BINANCE = "open_time,open,high,low,close,volume,close_time,quote_volume,count,taker_buy_volume,taker,ignore\n"

TABLE: list[tuple[str, str, str, dict[str, Any], list[str], list[list[float]]]] = [
    (
        "Binance Vision, spot",
        "BTCUSDT-1h.csv",
        "1704204000000,10,12,9,11,1500,1704207599999,1,1,1,1,0\n"
        "1704207600000000,11,13,10.5,12.25,2500,1704211199999999,1,1,1,1,0\n",
        {},
        HOURS,
        BARS,
    ),
    (
        "Binance Vision, futures, months joined by cat",
        "a.csv",
        f"{BINANCE}1704204000000,10,12,9,11,1500,1704207599999,1,1,1,1,0\n"
        f"{BINANCE}1704207600000,11,13,10.5,12.25,2500,1704211199999,1,1,1,1,0\n",
        {},
        HOURS,
        BARS,
    ),
    (
        "Kraken OHLCVT",
        "XBTUSD_60.csv",
        "1704204000,10,12,9,11,1500,3\n1704207600,11,13,10.5,12.25,2500,4\n",
        {},
        HOURS,
        BARS,
    ),
    ("ccxt, CSV", "c.csv", "1704204000000,10,12,9,11,1500\n1704207600000,11,13,10.5,12.25,2500\n", {}, HOURS, BARS),
    (
        "ccxt, JSON",
        "c.json",
        "[[1704204000000,10,12,9,11,1500],[1704207600000,11,13,10.5,12.25,2500]]",
        {},
        HOURS,
        BARS,
    ),
    (
        "CryptoDataDownload",
        "Gemini_BTCUSD_1h.csv",
        "https://www.CryptoDataDownload.com\nunix,date,symbol,open,high,low,close,Volume BTC,Volume USD\n"
        "1704207600,2024-01-02 15:00:00,BTC/USD,11,13,10.5,12.25,2500,1\n"
        "1704204000,2024-01-02 14:00:00,BTC/USD,10,12,9,11,1500,1\n",
        {},
        HOURS,
        BARS,
    ),
    (
        "CryptoDataDownload, older",
        "Coinbase_BTCUSD_1h.csv",
        "https://www.CryptoDataDownload.com\nDate,Symbol,Open,High,Low,Close,Volume BTC,Volume USD\n"
        "2024-01-02 03-PM,BTCUSD,11,13,10.5,12.25,2500,1\n2024-01-02 02-PM,BTCUSD,10,12,9,11,1500,1\n",
        {},
        HOURS,
        BARS,
    ),
    (
        "MetaTrader 5",
        "EURUSD_H1.csv",
        "<DATE>\t<TIME>\t<OPEN>\t<HIGH>\t<LOW>\t<CLOSE>\t<TICKVOL>\t<VOL>\t<SPREAD>\n"
        "2024.01.02\t16:00:00\t10\t12\t9\t11\t1500\t0\t2\n2024.01.02\t17:00:00\t11\t13\t10.5\t12.25\t2500\t0\t2\n",
        {"timezone": "Europe/Athens"},
        HOURS,
        BARS,
    ),
    (
        "MetaTrader 4",
        "EURUSD60.csv",
        "2024.01.02,16:00,10,12,9,11,1500\n2024.01.02,17:00,11,13,10.5,12.25,2500\n",
        {"timezone": "America/New_York+7"},
        HOURS,
        BARS,
    ),
    (
        "NinjaTrader",
        "ES.Last.txt",
        "20240102 150000;10;12;9;11;1500\n20240102 160000;11;13;10.5;12.25;2500\n",
        {"format": "ninjatrader"},
        HOURS,
        BARS,
    ),
    (
        "histdata.com",
        "DAT_ASCII_EURUSD.csv",
        "20240102 090000;10;12;9;11;1500\n20240102 100000;11;13;10.5;12.25;2500\n",
        {"format": "histdata"},
        HOURS,
        BARS,
    ),
    (
        "QuantConnect Lean, minutes",
        "20240102_spy_minute_trade.csv",
        "32400000,100000,120000,90000,110000,1500\n36000000,110000,130000,105000,122500,2500\n",
        {"format": "lean-equity"},
        HOURS,
        BARS,
    ),
    (
        "QuantConnect Lean, days",
        "spy.csv",
        "20240130 00:00,100000,120000,90000,110000,1500\n20240131 00:00,110000,130000,105000,122500,2500\n",
        {"format": "lean-equity"},
        DAYS,
        BARS,
    ),
    (
        "QuantConnect Lean, crypto",
        "btcusd.csv",
        "20240102 14:00,10.0,12,9,11,1500\n20240102 15:00,11,13,10.5,12.25,2500\n",
        {},
        HOURS,
        BARS,
    ),
    (
        "Dukascopy",
        "EURUSD_Candlestick_1_Hour.csv",
        "Gmt time,Open,High,Low,Close,Volume\n02.01.2024 14:00:00.000,10,12,9,11,1500\n"
        "02.01.2024 15:00:00.000,11,13,10.5,12.25,2500\n",
        {},
        HOURS,
        BARS,
    ),
    (
        "Dukascopy, local time",
        "EURUSD.csv",
        "Local time,Open,High,Low,Close,Volume\n02.01.2024 15:00:00.000 GMT+0100,10,12,9,11,1500\n"
        "02.01.2024 16:00:00.000 GMT+0100,11,13,10.5,12.25,2500\n",
        {},
        HOURS,
        BARS,
    ),
    (
        "Stooq, bulk",
        "aapl.us.txt",
        "<TICKER>,<PER>,<DATE>,<TIME>,<OPEN>,<HIGH>,<LOW>,<CLOSE>,<VOL>,<OPENINT>\n"
        "AAPL.US,60,20240102,150000,10,12,9,11,1500,0\nAAPL.US,60,20240102,160000,11,13,10.5,12.25,2500,0\n",
        {"timezone": "Europe/Warsaw"},
        HOURS,
        BARS,
    ),
    (
        "Stooq, days",
        "aapl.us.txt",
        "<TICKER>,<PER>,<DATE>,<TIME>,<OPEN>,<HIGH>,<LOW>,<CLOSE>,<VOL>,<OPENINT>\n"
        "AAPL.US,D,20240130,000000,10,12,9,11,1500,0\nAAPL.US,D,20240131,000000,11,13,10.5,12.25,2500,0\n",
        {},
        DAYS,
        BARS,
    ),
    (
        "Polygon flat file",
        "2024-01-02.csv",
        "ticker,volume,open,close,high,low,window_start,transactions\nA,1,1,1,1,1,1704204000000000000,1\n"
        "AAPL,1500,10,11,12,9,1704204000000000000,1\nAAPL,2500,11,12.25,13,10.5,1704207600000000000,1\n",
        {"symbol": "AAPL"},
        HOURS,
        BARS,
    ),
    (
        "yfinance",
        "aapl.csv",
        "Price,Close,High,Low,Open,Volume\nTicker,AAPL,AAPL,AAPL,AAPL,AAPL\nDate,,,,,\n2024-01-30,11,12,9,10,1500\n"
        "2024-01-31,12.25,13,10.5,11,2500\n",
        {},
        DAYS,
        BARS,
    ),
    (
        "Yahoo, adjusted",
        "aapl.csv",
        "Date,Open,High,Low,Close,Adj Close,Volume\n2024-01-30,20,24,18,22,11,1500\n"
        "2024-01-31,null,null,null,null,null,null\n2024-02-01,11,13,10.5,12.25,12.25,2500\n",
        {"adjust": True},
        ["2024-01-30", "2024-02-01"],
        BARS,
    ),
    (
        "Alpha Vantage",
        "daily_IBM.csv",
        "timestamp,open,high,low,close,volume\n2024-01-31,11,13,10.5,12.25,2500\n2024-01-30,10,12,9,11,1500\n",
        {},
        DAYS,
        BARS,
    ),
    (
        "TradingView, plots and no volume",
        "BINANCE_BTCUSDT.csv",
        "time,open,high,low,close,Plot,Plot\n2024-01-02T14:00:00Z,10,12,9,11,1,2\n2024-01-02T15:00:00Z,11,13,10.5,12.25,1,2\n",
        {},
        HOURS,
        SILENT,
    ),
    (
        "investing.com",
        "SPX.csv",
        '"Date","Price","Open","High","Low","Vol.","Change %"\n"01/31/2024","12.25","11","13","10.5","2.50K","1%"\n'
        '"01/30/2024","11","10","12","9","0.0015M","1%"\n',
        {},
        DAYS,
        BARS,
    ),
    (
        "nasdaq.com",
        "HistoricalData.csv",
        'Date,Close/Last,Volume,Open,High,Low\n01/31/2024,$12.25,"2,500",$11,$13,$10.5\n01/30/2024,$11,1500,$10,$12,$9\n',
        {},
        DAYS,
        BARS,
    ),
    (
        "US dates of Excel",
        "x.csv",
        "Date,Open,High,Low,Close,Volume\n1/2/2024 14:00,10,12,9,11,1500\n1/2/2024 15:00,11,13,10.5,12.25,2500\n",
        {"date_format": "%m/%d/%Y %H:%M", "timezone": "UTC"},
        HOURS,
        BARS,
    ),
    (
        "European Excel",
        "x.csv",
        "Datum;Open;High;Low;Close;Volume\n30.01.2024;10;12;9;11;1500\n31.01.2024;11;13;10,5;12,25;2500\n",
        {"columns": {"timestamp": "Datum"}},
        DAYS,
        BARS,
    ),
    (
        "FRED, closes only",
        "SP500.csv",
        "observation_date,SP500\n2024-01-30,11\n2024-01-31,.\n2024-02-01,12.25\n",
        {"close_only": True},
        ["2024-01-30", "2024-02-01"],
        [[11, 11, 11, 11, 0], [11, 12.25, 11, 12.25, 0]],
    ),
    (
        "other names",
        "x.csv",
        "Open Time,o,h,l,Last,Vol.\n2024-01-02T14:00Z,10,12,9,11,1500\n2024-01-02T15:00Z,11,13,10.5,12.25,2500\n",
        {"columns": {"close": "Last"}},
        HOURS,
        BARS,
    ),
    (
        "no header",
        "x.csv",
        "2024-01-02T14:00Z,9,12,10,11,1500\n2024-01-02T15:00Z,10.5,13,11,12.25,2500\n",
        {"columns": {"timestamp": "1", "low": "2", "high": "3", "open": "4", "close": "5", "volume": "6"}},
        HOURS,
        BARS,
    ),
]


@pytest.mark.parametrize(("name", "file", "text", "options", "times", "bars"), TABLE, ids=[row[0] for row in TABLE])
def test_a_file_of_a_vendor_gives_its_candles(
    tmp_path: Path, name: str, file: str, text: str, options: dict[str, Any], times: list[str], bars: list[list[float]]
) -> None:
    (tmp_path / file).write_text(text, encoding="utf-8")
    imported = import_candles([tmp_path / file], ImportOptions(**options))
    assert list(imported.candles) == OHLCV
    assert imported.candles.to_numpy().tolist() == bars
    assert imported.candles.index.tolist() == [pd.Timestamp(time, tz="UTC") for time in times]
    assert len(imported.notes[0].split("; ")) >= 2


def refused(tmp_path: Path, text: str, **options: Any) -> str:
    (tmp_path / "a.csv").write_text(text, encoding="utf-8")
    with pytest.raises(DataError) as error:
        import_candles([tmp_path / "a.csv"], ImportOptions(**options))
    return str(error.value)


HEADER = "Date,Open,High,Low,Close,Volume\n"


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        (HEADER + "03/04/2024,10,12,9,11,5\n04/04/2024,10,12,9,11,5\n", "--date-format dmy or --date-format mdy"),
        (HEADER + "03.04.2024 10:00,10,12,9,11,5\n", "--timezone"),
        ("20240102 140000;10;12;9;11;5\n", r"--format ninjatrader (NinjaTrader) or --format histdata (histdata.com)"),
        ("20240102 14:00,100000,120000,90000,110000,5\n", "--format lean-equity"),
        ("1,2,3\n4,5,6\n", "--columns timestamp=1,open=2"),
        ("when,Open,High,Low,Close\n2024-01-02,10,12,9,11\n", "--columns timestamp=NAME"),
        ("Date,Close\n2024-01-02,11\n", "--close-only"),
        (HEADER + "202401021400,10,12,9,11,5\n", "--date-format %Y%m%d%H%M"),
        ("Date;Open;High;Low;Close\n2024-01-02;1,000;1,200;1,000;1,100\n", "--decimal comma or --decimal point"),
        ("Date,Symbol,Open,High,Low,Close\n2024-01-02,A,10,12,9,11\n2024-01-02,B,10,12,9,11\n", "--symbol"),
        (HEADER.strip() + ",Regime\n2024-01-02,10,12,9,11,5,bull\n", "--regime-labels"),
        (HEADER.strip() + ",Regime\n2024-01-02,10,12,9,11,5,1\n", "--regime-labels 1=bearish"),
    ],
)
def test_what_can_be_read_in_two_ways_is_a_question_that_names_the_option(
    tmp_path: Path, text: str, answer: str
) -> None:
    (tmp_path / "a.txt").write_text(text, encoding="utf-8")
    with pytest.raises(QuestionError) as question:
        import_candles([tmp_path / "a.txt"], ImportOptions())
    assert answer in str(question.value)


def test_faults_are_listed_with_their_lines(tmp_path: Path) -> None:
    rows = "".join(f"1/{day}/2024,10,{'x' if day > 10 else 12},9,11,5\n" for day in range(1, 32))
    assert (
        "a.csv, line 12: high is 'x', which is not a number. Correct or drop the row. The same in lines 13, 14, 15, "
        "16, 17, 18, 19, 20, 21 and 11 more." in refused(tmp_path, HEADER + rows)
    )
    assert "line 3: 2024-01-01 00:00:00+00:00 appears twice, with different values" in refused(
        tmp_path, HEADER + "2024-01-01,10,12,9,11,5\n2024-01-01,10,12,9,11,6\n"
    )
    assert "line 3: the time '2/x/2024' cannot be read as %m/%d/%Y" in refused(
        tmp_path, HEADER + "1/31/2024,10,12,9,11,5\n2/x/2024,10,12,9,11,6\n"
    )


def test_months_are_joined_their_overlap_merged_and_their_gap_named(tmp_path: Path, candles: pd.DataFrame) -> None:
    first, second, third = (
        candles.iloc[:200],
        candles.iloc[190:400],
        candles.iloc[410:600],
    )
    files = [tmp_path / f"{name}.csv" for name in "cab"]
    for file, part in zip(files, (third, first, second), strict=True):
        part.to_csv(file)
    imported = import_candles(files, ImportOptions())
    pd.testing.assert_frame_equal(
        imported.candles, pd.concat([candles.iloc[:400], third]), check_freq=False, rtol=1e-15
    )
    notes = " ".join(imported.notes)
    assert "rows that appear twice, equal in all columns, merged: 10" in notes
    assert "b.csv and" in notes
    assert "(10 of 4 h)" in notes
    second.assign(close=second["close"] * (1 + 1e-6)).to_csv(files[2])
    with pytest.raises(DataError, match=r"line 2 of .*b\.csv: .* appears twice, with different values"):
        import_candles(files, ImportOptions())


def test_packed_files_give_the_same_candles(tmp_path: Path, candles: pd.DataFrame) -> None:
    expected = candles.iloc[:50].round(2)
    text = expected.to_csv(date_format="%Y-%m-%dT%H:%M:%SZ")
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress(text.encode()))
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("one.csv", "\n".join(text.splitlines()[:20]))
        archive.writestr("two.csv", "\n".join([text.splitlines()[0], *text.splitlines()[20:]]))
    (tmp_path / "a.txt").write_text(text, encoding="utf-16")
    for file in ["a.csv.gz", "a.zip", "a.txt"]:
        imported = import_candles([tmp_path / file], ImportOptions())
        pd.testing.assert_frame_equal(imported.candles, expected, check_freq=False)


def test_excel_and_parquet_give_the_same_candles(tmp_path: Path, candles: pd.DataFrame) -> None:
    pytest.importorskip("openpyxl", reason="the extra import is not installed")
    pytest.importorskip("pyarrow", reason="the extra import is not installed")
    expected = candles.iloc[:50].round(2)
    expected.tz_localize(None).to_excel(tmp_path / "a.xlsx", startrow=2)
    expected.to_parquet(tmp_path / "a.parquet")
    for file in ["a.xlsx", "a.parquet"]:
        imported = import_candles([tmp_path / file], ImportOptions())
        pd.testing.assert_frame_equal(imported.candles, expected, check_freq=False)


def test_a_header_of_another_width_than_the_rows_is_not_taken_for_a_title(tmp_path: Path) -> None:
    row = "2024-01-02,10.5,12,9,11,5\n"
    assert import_candles([wide(tmp_path, HEADER.strip() + ",\n" + row)], ImportOptions()).candles.iloc[0, 0] == 10.5
    with pytest.raises(DataError, match=r"line 1: has 7 fields, but most lines have 6"):
        import_candles([wide(tmp_path, HEADER.strip() + ",More\n" + 3 * row)], ImportOptions())


def wide(tmp_path: Path, text: str) -> Path:
    (tmp_path / "wide.txt").write_text(text)
    return tmp_path / "wide.txt"


def test_a_column_is_kept_under_a_new_name(tmp_path: Path) -> None:
    (tmp_path / "k.csv").write_text("1704204000,10,12,9,11,1500,3\n1704207600,11,13,10.5,12.25,2500,4\n")
    imported = import_candles([tmp_path / "k.csv"], ImportOptions(columns={"trades": "7"}))
    assert list(imported.candles) == [*OHLCV, "trades"]
    assert imported.candles["trades"].tolist() == [3, 4]


def test_bars_become_longer_without_crossing_a_session(tmp_path: Path) -> None:
    """Tokyo: 9:00 to 11:30 and 12:30 to 15:00, which is 0:00 to 2:30 and 3:30 to 6:00 UTC."""
    days = pd.bdate_range("2024-01-01", periods=20)
    halves = [
        pd.date_range(day + pd.Timedelta(start), periods=5, freq="30min") for day in days for start in ("0h", "3.5h")
    ]
    index = pd.DatetimeIndex(np.concatenate(halves)).tz_localize("UTC")
    close = np.arange(100.0, 100 + len(index))
    frame = pd.DataFrame(
        {"open": close, "high": close + 1, "low": close - 1, "close": close, "volume": 1.0}, index=index
    )
    frame.to_csv(tmp_path / "tokyo.csv", index_label="timestamp")
    longer = import_candles([tmp_path / "tokyo.csv"], ImportOptions(resample="1h")).candles
    opens = ["00:00", "01:00", "02:00", "03:30", "04:30", "05:30", "00:00"]
    assert longer.index[:7].strftime("%H:%M").tolist() == opens
    assert longer["volume"].iloc[:7].tolist() == [2, 2, 1, 2, 2, 1, 2]
    assert longer.iloc[0].tolist() == [100, 102, 99, 101, 2]


def test_bars_around_the_clock_become_longer_from_midnight(tmp_path: Path, candles: pd.DataFrame) -> None:
    candles.iloc[1:601].to_csv(tmp_path / "a.csv")
    longer = import_candles([tmp_path / "a.csv"], ImportOptions(resample="1d")).candles
    assert longer.index[0] == pd.Timestamp("2022-01-02", tz="UTC")  # the first day lacks its first bar
    assert len(longer) == 99
    whole = candles.iloc[6:600]
    assert longer["volume"].sum() == pytest.approx(whole["volume"].sum())
    assert longer["close"].tolist() == pytest.approx(whole["close"].iloc[5::6].tolist())
    with pytest.raises(SettingsError, match="--resample: 6h is no multiple of the interval of 4 h"):
        import_candles([tmp_path / "a.csv"], ImportOptions(resample="6h"))


def test_fillers_without_volume_are_dropped_on_request(tmp_path: Path) -> None:
    rows = [f"2024-01-{day:02},10,12,9,11,{0 if day in (3, 4) else 5}" for day in range(1, 9)]
    (tmp_path / "a.csv").write_text(HEADER + "\n".join(rows))
    imported = import_candles([tmp_path / "a.csv"], ImportOptions(drop_zero_volume=True))
    assert len(imported.candles) == 6
    assert "rows without volume dropped: 2 (lines 4, 5)" in imported.notes[-1]


def test_local_times_are_exact_across_a_clock_change(tmp_path: Path) -> None:
    expected = pd.date_range("2024-10-26 10:00", periods=30, freq="1h", tz="UTC")
    local = expected.tz_convert("Europe/Berlin").strftime("%d/%m/%Y %H:%M")
    for order in (1, -1):
        text = HEADER + "".join(f"{time},10,12,9,11,{number}\n" for number, time in enumerate(local))
        head, *rows = text.splitlines()
        (tmp_path / "a.csv").write_text("\n".join([head, *rows[::order]]))
        imported = import_candles([tmp_path / "a.csv"], ImportOptions(timezone="Europe/Berlin"))
        assert imported.candles.index.tolist() == expected.tolist()
        assert imported.candles["volume"].tolist() == list(range(30))


def test_labels_are_named_and_read_back(tmp_path: Path) -> None:
    rows = [f"2024-01-{day:02},10,12,9,11,5,{1 + day % 3}" for day in range(1, 9)]
    (tmp_path / "a.csv").write_text(HEADER.strip() + ",regime\n" + "\n".join(rows))
    meanings = {"1": "bearish", "2": "sideways", "3": "bullish"}
    imported = import_candles([tmp_path / "a.csv"], ImportOptions(regime_labels=meanings))
    write_imported(imported, tmp_path / "b.csv", [tmp_path / "a.csv"])
    assert read_candles(tmp_path / "b.csv")["regime"].tolist() == [day % 3 for day in range(1, 9)]


# Small writers of each family, for candles on any hours of 2024.
def _epoch(candles: pd.DataFrame, unit: str) -> list[int]:
    return candles.index.as_unit(unit).asi8.tolist()


def _rows(times: list[Any], candles: pd.DataFrame, separator: str = ",", rest: str = "") -> str:
    rows = zip(times, candles[OHLCV].to_numpy().tolist(), strict=True)
    return "".join(f"{time}{separator}{separator.join(map(repr, row))}{rest}\n" for time, row in rows)


def _mt5(candles: pd.DataFrame) -> str:
    times = candles.index.tz_convert("Europe/Athens").strftime("%Y.%m.%d\t%H:%M:%S").tolist()
    return "<DATE>\t<TIME>\t<OPEN>\t<HIGH>\t<LOW>\t<CLOSE>\t<TICKVOL>\n" + _rows(times, candles, "\t")


def _web(candles: pd.DataFrame) -> str:
    lines = ["Date;Price;Open;High;Low;Vol."]
    for time, row in zip(candles.index.strftime("%d/%m/%Y %H:%M"), candles[OHLCV].to_numpy().tolist(), strict=True):
        opened, high, low, close, volume = (f"{value:.10f}".replace(".", ",") for value in row)
        lines.append(";".join([time, close, opened, high, low, volume]))
    return "\n".join([lines[0], *lines[:0:-1]])


WRITERS: dict[str, tuple[Callable[[pd.DataFrame], str], dict[str, Any]]] = {
    "binance": (lambda candles: _rows(_epoch(candles, "us"), candles, rest=",1704207599999999,1,1,1,1,0"), {}),
    "kraken": (lambda candles: _rows(_epoch(candles, "s"), candles, rest=",7"), {}),
    "ccxt": (
        lambda candles: json.dumps(
            [[t, *row] for t, row in zip(_epoch(candles, "ms"), candles[OHLCV].to_numpy().tolist(), strict=True)]
        ),
        {},
    ),
    "metatrader5": (_mt5, {"timezone": "Europe/Athens"}),
    "histdata": (
        lambda candles: _rows((candles.index - pd.Timedelta(hours=5)).strftime("%Y%m%d %H%M%S").tolist(), candles, ";"),
        {"format": "histdata"},
    ),
    "dukascopy": (
        lambda candles: (
            "Gmt time,Open,High,Low,Close,Volume\n"
            + _rows(candles.index.strftime("%d.%m.%Y %H:%M:%S.000").tolist(), candles)
        ),
        {},
    ),
    "website": (_web, {"timezone": "UTC", "decimal": "comma", "date_format": "dmy"}),
    "named": (lambda candles: candles.to_csv(sep=";"), {}),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("imported")


@given(
    some.lists(some.tuples(*[some.integers(1000, 10**7)] * 4, some.integers(0, 10**9)), min_size=1, max_size=12),
    some.integers(0, 8000),
    some.sampled_from(sorted(WRITERS)),
)
def test_candles_in_any_format_are_imported_as_they_were(
    folder: Path, bars: list[tuple[int, ...]], start: int, name: str
) -> None:
    values = np.array(bars, dtype=float) / 1000
    prices = np.sort(values[:, :4], axis=1)[:, [1, 3, 0, 2]]
    first = pd.Timestamp("2024-01-01", tz="UTC") + pd.Timedelta(hours=start, minutes=30)
    index = pd.date_range(first, periods=len(bars), freq="1h", name="timestamp", unit="us")
    candles = pd.DataFrame(np.column_stack([prices, values[:, 4:]]), columns=OHLCV, index=index)
    writer, options = WRITERS[name]
    (folder / "a.txt").write_text(writer(candles), encoding="utf-8")
    imported = import_candles([folder / "a.txt"], ImportOptions(**options))
    pd.testing.assert_frame_equal(imported.candles, candles, check_freq=False, rtol=1e-12)
    write_imported(imported, folder / "a.csv", [folder / "a.txt"])
    pd.testing.assert_frame_equal(read_candles(folder / "a.csv"), imported.candles, check_freq=False, rtol=1e-12)


NAMES = ["Date", "Time", "<DATE>", "open_time", "Open", "High", "Low", "Close", "Price", "Volume", "symbol", "regime"]
ROWS = some.lists(some.lists(CELLS, min_size=2, max_size=8), max_size=6)


@given(some.one_of(some.binary(max_size=300), some.tuples(some.permutations(NAMES), ROWS, some.sampled_from(",;\t"))))
def test_any_content_is_imported_whole_or_refused_by_name(folder: Path, content: Any) -> None:
    file = folder / "any.txt"
    if isinstance(content, bytes):
        file.write_bytes(content)
    else:
        names, rows, delimiter = content
        lines = [delimiter.join(row) for row in ([names[:8], *rows] if names[0] != "Date" else rows)]
        file.write_text("\n".join(lines), encoding="utf-8", errors="replace")
    for options in (ImportOptions(), ImportOptions(timezone="Europe/Athens", decimal="point", date_format="mdy")):
        try:
            candles = import_candles([file], options).candles
        except (DataError, SettingsError) as refusal:
            if "any.txt" not in str(refusal):
                raise
        else:
            assert np.isfinite(candles[OHLCV].to_numpy()).all()


def test_a_remedy_is_the_import_that_works(tmp_path: Path) -> None:
    files = {
        "Date;Open;High;Low;Close\n2024-01-02;10;12;9;11\n": "--name a_imported` makes a dataset of it",
        HEADER + "03.04.2024 10:00,10,12,9,11,5\n": "reads it if you answer a question: ",
    }
    for text, sentence in files.items():
        (tmp_path / "a.csv").write_text(text)
        assert sentence in str(remedy(tmp_path / "a.csv"))
    (tmp_path / "a.csv").write_text(HEADER + "2024-01-02,10,8,9,11,5\n")
    assert remedy(tmp_path / "a.csv") is None
