"""Whatever bytes or table go in, candles come out that hold, or a `DataError` that names the file."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as some

from data.candles import OHLCV, REGIME, candle_warnings, check_candles, read_candles
from data.errors import DataError
from tests.conftest import to_csv
from tests.data.test_candles import HEADER, ROWS

TEXT = "\n".join([HEADER, *ROWS]) + "\n"
TIMES = ["timestamp", "Date", "open_time", "time", "regime", "", "funding", "close"]
CELLS = some.one_of(
    some.sampled_from(["", "nan", "inf", "-1", "0", "1e400", "true", "10", "10,5", '"', "1704067200", "20240101"]),
    some.sampled_from(["2024-01-01", "2024-01-01T04:00Z", "2024-01-01T04:00+02:00", "2099-01-01", "01/02/2024"]),
    some.floats().map(repr),
    some.integers().map(str),
    some.text(max_size=4),
)


@pytest.fixture(scope="module")
def file() -> Iterator[Path]:
    """One name for all examples: a fixture of each would be shared among them anyway."""
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder) / "ANY.csv"


def assert_refused_or_whole(file: Path) -> None:
    try:
        candles = read_candles(file)
    except DataError as refused:
        if not str(refused).startswith(str(file)):
            raise
    else:
        assert list(candles)[:5] == OHLCV
        assert set(candles.dtypes) == {np.dtype(float)}
        assert candles.index.is_monotonic_increasing
        assert candles.index.is_unique
        assert str(candles.index.tz) == "UTC"
        assert np.isfinite(candles[OHLCV].to_numpy()).all()
        check_candles(candles)
        assert isinstance(candle_warnings(candles), list)


@given(some.binary(max_size=400))
def test_any_bytes_are_refused_or_give_valid_candles(file: Path, content: bytes) -> None:
    file.write_bytes(content)
    assert_refused_or_whole(file)


@given(some.data())
def test_a_file_with_changed_bytes_is_refused_or_gives_valid_candles(file: Path, data: some.DataObject) -> None:
    content = TEXT.encode()
    for _ in range(data.draw(some.integers(1, 4))):
        start = data.draw(some.integers(0, len(content)))
        end = data.draw(some.integers(start, min(len(content), start + 8)))
        put = data.draw(
            some.one_of(some.binary(max_size=6), some.sampled_from([b",", b"\n", b'"', b"\r", b"\0", b";"]))
        )
        content = content[:start] + put + content[end:]
    file.write_bytes(content)
    assert_refused_or_whole(file)


@given(some.lists(some.lists(CELLS, min_size=6, max_size=8), max_size=6), some.permutations(TIMES))
def test_any_table_is_refused_or_gives_valid_candles(file: Path, rows: list[list[str]], names: list[str]) -> None:
    header = ["timestamp", *OHLCV, *names[:2]]
    file.write_text("\n".join(",".join(row) for row in [header, *rows]), encoding="utf-8", errors="replace")
    assert_refused_or_whole(file)


PRICES = some.floats(1e-6, 1e6)
BARS = some.tuples(PRICES, PRICES, PRICES, PRICES, some.floats(0, 1e12), some.integers(0, 99))


@given(
    some.lists(BARS, min_size=1, max_size=12),
    some.sampled_from(["1min", "4h", "1D"]),
    some.datetimes(pd.Timestamp("1990-01-01"), pd.Timestamp("2020-01-01")),
)
def test_valid_candles_are_read_back_bit_for_bit(
    file: Path, bars: list[tuple[float, ...]], interval: str, start: pd.Timestamp
) -> None:
    values = np.array(bars)
    prices = np.sort(values[:, :4], axis=1)[:, [1, 3, 0, 2]]  # open, high, low, close
    index = pd.date_range(pd.Timestamp(start).floor("s"), periods=len(bars), freq=interval, tz="UTC", name="timestamp")
    candles = pd.DataFrame(
        np.column_stack([prices, values[:, 4:]]), columns=[*OHLCV, REGIME], index=index.as_unit("us")
    )
    candles.loc[candles.index[0], REGIME] = 0  # numbers that begin later are a question
    pd.testing.assert_frame_equal(read_candles(to_csv(candles, file)), candles, check_exact=True, check_freq=False)


@given(some.lists(some.floats(), min_size=4, max_size=4))
def test_labels_are_whole_numbers_from_0_to_99_or_refused(candles: pd.DataFrame, labels: list[float]) -> None:
    labelled = candles.iloc[:4].assign(regime=labels)
    if all(label in range(100) for label in labels):
        check_candles(labelled)
    else:
        with pytest.raises(DataError, match="regime is"):
            check_candles(labelled)
