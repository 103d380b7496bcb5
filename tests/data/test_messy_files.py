"""Files as people have them: read as they stand, or refused with the place and a remedy; never guessed at."""

from __future__ import annotations

import gzip
import io
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from data.candles import candle_warnings, check_candles, fingerprint, read_candles
from data.errors import DataError
from data.importers.importing import import_candles
from data.importers.options import ImportOptions
from tests.conftest import invoke, to_csv
from tests.data.test_candles import HEADER, ROWS, write

TEXT = "\n".join([HEADER, *ROWS]) + "\n"


def zipped(text: str) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("BTC.csv", text)
    return file.getvalue()


def at_times(times: list[str]) -> list[str]:
    return [HEADER, *(f"{time},10,12,9,11,5" for time in times)]


def berlin(start: str, n_bars: int, interval: str, form: str = "%Y-%m-%d %H:%M") -> list[str]:
    """The header and bars whose times are what clocks in Berlin show."""
    return at_times(pd.date_range(start, periods=n_bars, freq=interval, tz="Europe/Berlin").strftime(form).tolist())


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"is empty\. It must begin with the header timestamp,open"),
        (b"\n \n", "is empty"),
        (TEXT.replace(",", ";").encode(), "columns are separated by semicolons. Save it with commas"),
        (TEXT.replace(",", "\t").encode(), "separated by tabs"),
        (
            TEXT.replace("10,", "10,5,").encode(),
            r"line 2: has 7 fields, but the header has 6\. Write numbers with a decimal p",
        ),
        (TEXT.replace(",5\n", ",5,1\n").encode(), "line 2: has 7 fields, but the header has 6"),
        (
            TEXT.replace("10,", '"10,5",').encode(),
            r"line 2: open is '10,5', which is not a number\. Write it as 1234\.5",
        ),
        (TEXT.replace("12", '"12').encode(), "cannot be read as CSV .EOF inside string.* quotation mark"),
        (TEXT.replace(",0\n", ',"0\n' + 9000 * "2024-01-01,1,1,1,1").encode(), "EOF inside string.* quotation mark"),
        (f"# exported by hand\n{TEXT}".encode(), "line 1: is '# exported by hand', but must be the header timestamp"),
        (TEXT.encode("utf-16"), r"is UTF-16\. Save it as UTF-8"),
        (f"größe,{TEXT}".encode("latin-1"), r"is not UTF-8 text\. Save it as UTF-8"),
        (gzip.compress(TEXT.encode()), r"is compressed \(gzip\)\. Unpack it first"),
        (zipped(TEXT), "is a zip archive or an Excel workbook"),
        (b"\x89PNG\r\n\x1a\n\0\0\0", "is not a text file"),
        (f"open,{TEXT}".encode(), "column open appears twice in the header"),
        (
            TEXT.replace("timestamp", "Date").replace("volume", "Time").encode(),
            "has columns for date and time. Join them",
        ),
    ],
)
def test_a_file_without_valid_candles_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "BTC.csv").write_bytes(content)
    with pytest.raises(DataError, match=rf"BTC\.csv.*{message}"):
        read_candles(tmp_path / "BTC.csv")


def test_a_path_that_is_not_a_file_is_refused(tmp_path: Path) -> None:
    to_be_refused = {
        tmp_path: "is a folder",
        Path("/dev/null"): "is not a regular file",
        tmp_path / ("x" * 300): "cannot be read",
    }
    for path, message in to_be_refused.items():
        with pytest.raises(DataError, match=message):
            read_candles(path)


def test_a_similar_name_is_suggested(tmp_path: Path) -> None:
    write(tmp_path, HEADER, *ROWS)
    with pytest.raises(DataError, match=r"BCT\.csv: there is no such file\. Did you mean 'BTC\.csv'\?"):
        read_candles(tmp_path / "BCT.csv")


@pytest.mark.parametrize(
    "content", [TEXT.replace("\n", "\r\n"), TEXT.replace("\n", "\r"), "\ufeff" + TEXT, TEXT.rstrip("\n"), TEXT + "\n\n"]
)
def test_line_ends_and_a_byte_order_mark_change_nothing(tmp_path: Path, content: str) -> None:
    (tmp_path / "other.csv").write_bytes(content.encode())
    expected = read_candles(write(tmp_path, HEADER, *ROWS))
    assert fingerprint(read_candles(tmp_path / "other.csv")) == fingerprint(expected)


@pytest.mark.parametrize(
    ("times", "message"),
    [
        (["1704067200", "1704081600", "1704096000000"], "line 4: timestamp 1704096000000 has another unit than"),
        (["45292", "45293", "45294"], "line 2: timestamp 45292 is neither a date nor an epoch"),
        (["2021", "2022", "2023"], "line 2: timestamp 2021 is neither"),
        (
            ["202401010000", "202401010400"],
            "line 2: timestamp 202401010000 may be a date with hour and minute, or an e",
        ),
        (["40000000000", "40014400000"], "line 2: timestamp 40000000000 lies in the future"),  # 1971, in milliseconds
        (
            ["2024-01-01T00:00Z", "2099-01-01T00:00Z"],
            r"line 3: timestamp 2099-01-01 .* in the future \(this machine.s clock",
        ),
        (
            ["2024-01-01T00:00Z", "2024-01-01T04:00"],
            "line 3: timestamp 2024-01-01T04:00 has no offset from UTC, unlike",
        ),
        (["2024-01-01 00:00", "2024-01-01 04:00+01:00"], r"line 3: timestamp .*\+01:00 has an offset from UTC, unlike"),
        (["2024-01-01T00:00Z", ""], "line 3: timestamp is empty"),
        (["1704067200", "1704081600", "NaT"], "line 4: timestamp 'NaT' is not a number, unlike most rows"),
        (["True", "False"], "line 2: timestamp True cannot be read"),
        (["01/02/2024", "02/02/2024"], "line 2: timestamp '01/02/2024' cannot be read"),
        (["1e30", "2e30"], "line 2: timestamp 1e.30 cannot be read"),
        ([str(10**30), str(10**30 + 1)], "line 2: timestamp .* cannot be read"),
    ],
)
def test_ambiguous_times_are_refused(tmp_path: Path, times: list[str], message: str) -> None:
    with pytest.raises(DataError, match=rf"BTC\.csv, {message}"):
        read_candles(write(tmp_path, *at_times(times)))


def test_offsets_that_follow_the_clock_change_are_read_exactly(tmp_path: Path) -> None:
    lines = berlin("2024-10-26 12:00", 24, "1h", "%Y-%m-%dT%H:%M:%S%z")
    assert {line[19:24] for line in lines[1:]} == {"+0200", "+0100"}
    expected = pd.date_range("2024-10-26 10:00", periods=24, freq="1h", tz="UTC")
    assert read_candles(write(tmp_path, *lines)).index.tolist() == expected.tolist()


@pytest.mark.parametrize(
    ("start", "interval", "message"),
    [
        ("2024-10-26 12:00", "1h", r"timestamp 2024-10-27 02:00:00.* appears twice.* where a clock was set back"),
        ("2024-10-20 00:00", "4h", "this bar opens 3 h after the one before.* where a clock was changed"),
        ("2024-03-25 00:00", "4h", "this bar opens 5 h after the one before.* where a clock was changed"),
    ],
)
def test_the_clock_change_reveals_local_times(tmp_path: Path, start: str, interval: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_candles(write(tmp_path, *berlin(start, 60, interval)))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ("true", "regime is True, which is not a number"),
        ("100", "regime is 100.0; labels are whole numbers from 0 to 99"),
        ("1704067200", "regime is 1704067200.0; labels are whole numbers"),
    ],
)
def test_a_regime_column_without_labels_is_refused(tmp_path: Path, values: str, message: str) -> None:
    with pytest.raises(DataError, match=rf"BTC\.csv, line 2: {message}"):
        read_candles(write(tmp_path, f"{HEADER},regime", *(f"{row},{values}" for row in ROWS)))


def test_prices_below_zero_are_refused_at_their_line(tmp_path: Path) -> None:
    april_2020 = "2024-01-01T16:00:00Z,17.73,17.85,-40.32,-37.63,248"
    with pytest.raises(DataError, match=r"line 6: low is -40.32, but .* not supported\. Leave out the part with such"):
        read_candles(write(tmp_path, HEADER, *ROWS, april_2020))


def test_a_frame_without_a_price_is_refused(candles: pd.DataFrame) -> None:
    with pytest.raises(DataError, match="candles: column high, volume is missing"):
        check_candles(candles.drop(columns=["high", "volume"]))


def test_a_split_gives_a_warning_and_is_not_adjusted(candles: pd.DataFrame) -> None:
    split = candles.copy()
    split.iloc[700:, :4] /= 1000
    check_candles(split)
    (warning,) = candle_warnings(split)
    assert (
        f"the close jumps from {split['close'].iloc[699]:g} to {split['close'].iloc[700]:g} at 2022-04-27 16:00"
        in warning
    )
    assert "adjust the prices" in warning
    assert candle_warnings(candles) == []


def test_a_volume_of_zero_gives_a_warning_and_a_flat_feature(candles: pd.DataFrame) -> None:
    from data.features import compute_features

    silent = candles.assign(volume=0.0)
    assert candle_warnings(silent) == ["the volume is 0 in every bar; features of the volume contain no information."]
    assert np.unique(compute_features(silent, ["volume_zscore"]).iloc[19:]).tolist() == [0.0]


def test_warnings_come_before_training(tmp_path: Path, candles: pd.DataFrame) -> None:
    split = candles.iloc[:60].copy()
    split.iloc[30:, :4] /= 2
    file = to_csv(split, tmp_path / "SPLIT.csv")
    refused = invoke(tmp_path, "train", str(file))
    assert refused.returncode == 2
    assert "SPLIT.csv: the close jumps from" in refused.stderr
    assert "SPLIT: has 60 bars, but at least" in refused.stderr


@pytest.mark.parametrize("name", ["huge.csv", "huge.json"])
def test_a_file_that_does_not_fit_into_memory_is_refused_unread(tmp_path: Path, name: str) -> None:
    with (tmp_path / name).open("wb") as file:
        file.truncate(3 << 30)  # takes no space
    for read in (read_candles, lambda path: import_candles([path], ImportOptions())):
        with pytest.raises(DataError, match=f"{name}: is larger than 2 GiB, the most that can be read"):
            read(tmp_path / name)


def test_an_error_about_thousands_of_columns_lists_the_first(tmp_path: Path) -> None:
    (tmp_path / "wide.csv").write_text(",".join(f"c{number}" for number in range(2000)) + "\n" + ",".join(["1"] * 2000))
    with pytest.raises(DataError, match=r"found c0, c1, .*c19 and 1,980 more\. The header must name"):
        read_candles(tmp_path / "wide.csv")


@pytest.mark.parametrize("time", ["inf", "99999999999999999999999", "1e30"])
def test_an_epoch_number_that_no_year_has_is_refused_by_its_line(tmp_path: Path, time: str) -> None:
    file = write(tmp_path, *at_times([time, time]))
    with pytest.raises(DataError, match=r"line 2: timestamp .* cannot be read"):
        read_candles(file)
    with pytest.raises(DataError, match=r"line 2: the time .* is beyond the years that can be read"):
        import_candles([file], ImportOptions())
