from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from data.candles import read_candles
from data.errors import DataError
from data.growing_csv import GrowingCsv
from tests.conftest import switching_candles, to_csv

CANDLES = switching_candles(60).drop(columns="regime")


def growing(folder: Path, existing: Path | None = None) -> GrowingCsv:
    return GrowingCsv(folder / "X.part", existing)


def assert_holds(file: Path, n_bars: int) -> None:
    pd.testing.assert_frame_equal(read_candles(file), CANDLES.head(n_bars), check_freq=False, rtol=1e-15)


def test_pages_are_joined_in_one_file(tmp_path: Path) -> None:
    file = growing(tmp_path)
    assert file.known() is None
    file.append(CANDLES[:20])
    file.append(CANDLES[20:50])
    file.finish(tmp_path / "X.csv")
    assert_holds(tmp_path / "X.csv", 50)
    assert [path.name for path in tmp_path.iterdir()] == ["X.csv"]


@pytest.mark.parametrize("lost", [1, 10, 60])
def test_a_row_that_a_kill_cut_off_is_written_again(tmp_path: Path, lost: int) -> None:
    growing(tmp_path).append(CANDLES[:20])
    part = tmp_path / "X.part"
    part.write_bytes(part.read_bytes()[:-lost])
    again = growing(tmp_path)
    known = again.known()
    assert known is not None
    assert len(known) == 19
    again.append(CANDLES[19:50])
    again.finish(tmp_path / "X.csv")
    assert_holds(tmp_path / "X.csv", 50)


def test_a_kill_before_the_first_row_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "X.part").write_text("timestamp,open")
    assert growing(tmp_path).known() is None


def test_the_file_that_is_continued_stays_as_it_is_until_the_end(tmp_path: Path) -> None:
    old = to_csv(CANDLES[:30], tmp_path / "OLD.csv")
    before = old.read_bytes()
    file = growing(tmp_path, old)
    file.append(CANDLES[30:50])
    assert old.read_bytes() == before
    file.finish(tmp_path / "NEW.csv")
    assert (tmp_path / "NEW.csv").read_bytes().startswith(before)
    assert_holds(tmp_path / "NEW.csv", 50)
    assert [path.name for path in tmp_path.iterdir()] == ["NEW.csv"]


def test_a_kill_between_the_two_renames_loses_nothing(tmp_path: Path) -> None:
    old = to_csv(CANDLES[:30], tmp_path / "OLD.csv")
    growing(tmp_path, old).append(CANDLES[30:50])
    new = old.replace(tmp_path / "NEW.csv")  # what finish does first
    assert_holds(new, 30)
    again = growing(tmp_path, new)
    known = again.known()
    assert known is not None
    assert len(known) == 50
    again.finish(new)
    assert_holds(new, 50)


def test_a_changed_file_restarts_its_part_file(tmp_path: Path) -> None:
    old = to_csv(CANDLES[:30], tmp_path / "OLD.csv")
    growing(tmp_path, old).append(CANDLES[30:50])
    to_csv(CANDLES[1:32], old)
    known = growing(tmp_path, old).known()
    assert known is not None
    assert len(known) == 31


def test_two_writers_at_once_are_refused(tmp_path: Path) -> None:
    one, other = growing(tmp_path), growing(tmp_path)
    one.append(CANDLES[:20])
    with pytest.raises(DataError, match="another download is writing to it"):
        other.append(CANDLES[:20])


@pytest.mark.parametrize(
    ("header", "row"),
    [
        ("Date,Open,High,Low,Close,Volume", "2024-01-01T00:00:00Z,1,1,1,1,1"),
        ("timestamp,open,high,low,close,volume", "1704067200,1,1,1,1,1"),
        ("timestamp,open,high,low,close,volume,regime", "2024-01-01T00:00:00Z,1,1,1,1,1,0"),
    ],
)
def test_a_file_of_another_format_is_not_continued(tmp_path: Path, header: str, row: str) -> None:
    file = tmp_path / "OLD.csv"
    file.write_text(f"{header}\n{row}\n")
    with pytest.raises(DataError, match="Candles can be appended only to timestamp,open"):
        growing(tmp_path, file).known()
