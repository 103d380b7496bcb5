"""`regimes download`, from an exchange on loopback."""

from __future__ import annotations

import datetime as dt
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
import tomli_w

from data.candles import read_candles
from data.errors import DataError, SettingsError
from runners.commands.download import Source, download
from tests.conftest import ROOT, command, switching_candles, to_csv
from tests.exchange import Exchange, Fault
from tests.patience import PATIENCE_S
from tests.yahoo import serve_yahoo

CANDLES = switching_candles(2500).drop(columns="regime").round(2)
SINCE = dt.datetime(2022, 1, 1)
ARGUMENTS = ["BTC/USDT", "--timeframe", "4h", "--since", "2022-01-01"]


@pytest.fixture
def exchange(tmp_path: Path) -> Iterator[Exchange]:
    """An exchange, which the workspace's settings file names."""
    with Exchange(CANDLES, page_limit=400) as served:
        settings = {"exchange": {"binance": served.client_options()}}
        (tmp_path / "exchange.toml").write_text(tomli_w.dumps(settings))
        closed(served, 1000)
        yield served


def closed(exchange: Exchange, n_bars: int) -> None:
    """Set the time to a minute after the close of that many bars."""
    exchange.now = CANDLES.index[n_bars] + pd.Timedelta(minutes=1)


def get(
    workspace: Path, since: dt.datetime | None = SINCE, until: dt.datetime | None = None, name: str | None = None
) -> None:
    download("BTC/USDT", "4h", since, until, name=name, workspace_folder=workspace, config=workspace / "exchange.toml")


def at(workspace: Path) -> list[str]:
    return ["--workspace", str(workspace), "--config", str(workspace / "exchange.toml")]


def files(workspace: Path) -> list[str]:
    return sorted(path.name for path in (workspace / "data" / "csv").iterdir())


def assert_holds(file: Path, n_bars: int) -> None:
    pd.testing.assert_frame_equal(read_candles(file), CANDLES.head(n_bars), check_freq=False)


def test_a_file_is_named_by_its_first_and_last_day_and_renamed_when_it_grows(
    tmp_path: Path, exchange: Exchange, capsys: pytest.CaptureFixture[str]
) -> None:
    get(tmp_path)
    assert files(tmp_path) == ["BTCUSDT_4h_20220101_20220616.csv"]
    closed(exchange, 1300)
    get(tmp_path)
    assert files(tmp_path) == ["BTCUSDT_4h_20220101_20220805.csv"]
    assert_holds(tmp_path / "data" / "csv" / files(tmp_path)[0], 1300)
    output = capsys.readouterr()
    assert "300 new bars; the file holds 1,300 from 2022-01-01 00:00 to 2022-08-05 12:00" in output.out
    assert "BTCUSDT_4h_20220101_20220616.csv was renamed to" in " ".join(output.err.split())


@pytest.mark.parametrize("folder", ["models/trained", "results"])
def test_a_file_with_models_or_results_keeps_its_name(tmp_path: Path, exchange: Exchange, folder: str) -> None:
    get(tmp_path)
    (tmp_path / folder / "BTCUSDT_4h_20220101_20220616").mkdir(parents=True)
    for n_bars in (1300, 1400):
        closed(exchange, n_bars)
        get(tmp_path)
        assert files(tmp_path) == ["BTCUSDT_4h_20220101_20220616.csv"]
        assert_holds(tmp_path / "data" / "csv" / files(tmp_path)[0], n_bars)


def test_a_named_file_keeps_its_name_and_needs_no_first_day_to_append(tmp_path: Path, exchange: Exchange) -> None:
    with pytest.raises(SettingsError, match="first download needs --since"):
        get(tmp_path, None, name="BTC")
    get(tmp_path, name="BTC", until=dt.datetime(2022, 1, 31))
    assert_holds(tmp_path / "data" / "csv" / "BTC.csv", 31 * 6)
    get(tmp_path, None, name="BTC")
    assert_holds(tmp_path / "data" / "csv" / "BTC.csv", 1000)
    assert files(tmp_path) == ["BTC.csv"]


def test_a_named_file_can_be_continued_but_not_from_an_earlier_first_day(tmp_path: Path, exchange: Exchange) -> None:
    tenth = dt.datetime(2022, 1, 10)
    get(tmp_path, tenth, name="BTC")
    file = tmp_path / "data" / "csv" / "BTC.csv"
    closed(exchange, 1100)
    get(tmp_path, tenth, name="BTC")
    pd.testing.assert_frame_equal(read_candles(file), CANDLES.iloc[9 * 6 : 1100], check_freq=False)
    with pytest.raises(DataError, match=r"BTC\.csv begins at 2022-01-10 00:00, but binance .* from 2022-01-01 00:00"):
        get(tmp_path, SINCE, name="BTC")


def test_without_new_candles_the_file_does_not_change(
    tmp_path: Path, exchange: Exchange, capsys: pytest.CaptureFixture[str]
) -> None:
    get(tmp_path)
    file = tmp_path / "data" / "csv" / files(tmp_path)[0]
    before = file.read_bytes()
    get(tmp_path)
    assert "0 new bars; the file holds 1,000 from 2022-01-01 00:00" in capsys.readouterr().out
    assert files(tmp_path) == [file.name]
    assert file.read_bytes() == before


def test_missing_candles_are_counted(tmp_path: Path, exchange: Exchange, capsys: pytest.CaptureFixture[str]) -> None:
    exchange.candles = CANDLES.drop(CANDLES.index[[*range(20), 50, 51]])
    get(tmp_path)
    errors = capsys.readouterr().err
    assert "no candles from 2022-01-01 to 2022-01-04 08:00" in errors
    assert "2 bars of 4h are missing" in errors


def test_candles_that_differ_from_the_source_leave_the_file_unchanged(tmp_path: Path, exchange: Exchange) -> None:
    get(tmp_path)
    file = tmp_path / "data" / "csv" / files(tmp_path)[0]
    changed = CANDLES.head(1000).copy()
    changed.iloc[995, 2] -= 0.01
    before = to_csv(changed, file).read_bytes()
    closed(exchange, 1300)
    ran = command(tmp_path, "download", *ARGUMENTS, *at(tmp_path))
    assert ran.returncode == 2
    assert f"{file}, line 997 (2022-06-15 20:00): low is" in ran.stderr
    assert files(tmp_path) == [file.name]
    assert file.read_bytes() == before


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_an_interrupted_download_resumes(tmp_path: Path, exchange: Exchange, how: signal.Signals) -> None:
    exchange.faults += [Fault(), Fault(), Fault(holds=True)]
    running = subprocess.Popen(
        [sys.executable, "-W", "error", "-m", "runners.cli", "download", *ARGUMENTS, *at(tmp_path)],
        env={**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "200"},
        stderr=subprocess.PIPE,
        text=True,
    )
    assert exchange.on_hold.wait(timeout=PATIENCE_S)
    running.send_signal(how)
    errors = running.communicate()[1]
    assert running.returncode != 0
    assert ("800 new bars are kept" in errors) == (how is signal.SIGINT)
    assert "Traceback" not in errors
    assert files(tmp_path) == ["BTCUSDT_4h_20220101.part"]

    exchange.asked.clear()
    get(tmp_path)
    assert exchange.asked[0] == CANDLES.index[790]
    assert files(tmp_path) == ["BTCUSDT_4h_20220101_20220616.csv"]
    assert_holds(tmp_path / "data" / "csv" / files(tmp_path)[0], 1000)


@pytest.mark.parametrize("pages", [0, 2])
def test_a_failed_download_reports_what_it_keeps(
    tmp_path: Path, exchange: Exchange, capsys: pytest.CaptureFixture[str], pages: int
) -> None:
    exchange.faults += [*[Fault()] * pages, Fault(status=451)]
    with pytest.raises(DataError, match="HTTP 451"):
        get(tmp_path)
    assert ("800 new bars are kept" in capsys.readouterr().err) == bool(pages)
    assert files(tmp_path) == ["BTCUSDT_4h_20220101.part"][:pages]
    get(tmp_path)
    assert_holds(tmp_path / "data" / "csv" / "BTCUSDT_4h_20220101_20220616.csv", 1000)


def test_errors_come_before_any_request(tmp_path: Path, exchange: Exchange) -> None:
    with pytest.raises(SettingsError, match="--since YYYY-MM-DD"):
        get(tmp_path, None)
    with pytest.raises(SettingsError, match=r"'csv/BTC\.csv' is not a dataset name"):
        get(tmp_path, name="csv/BTC.csv")
    for elsewhere in ("..", "csv/BTC", ".BTC"):
        with pytest.raises(DataError, match=f"--name: '{re.escape(elsewhere)}' cannot name a dataset"):
            get(tmp_path, name=elsewhere)
    with pytest.raises(SettingsError, match="--exchange is for crypto"):
        download("AAPL", "1d", SINCE, source=Source.YFINANCE, exchange="kraken", workspace_folder=tmp_path)
    assert exchange.asked == []


def test_a_period_without_candles_is_an_error(tmp_path: Path, exchange: Exchange) -> None:
    with pytest.raises(DataError, match="no closed candle"):
        get(tmp_path, dt.datetime(2015, 1, 1), until=dt.datetime(2015, 2, 1))
    assert files(tmp_path) == []


def test_stocks_come_from_yahoo(tmp_path: Path) -> None:
    with serve_yahoo(tmp_path) as yahoo:
        first, last = yahoo.opens[2], yahoo.opens[-2]
        download(
            "AAPL",
            "1d",
            first.normalize().tz_localize(None).to_pydatetime(),
            source=Source.YFINANCE,
            workspace_folder=tmp_path,
        )
    assert files(tmp_path) == [f"AAPL_1d_{first:%Y%m%d}_{last:%Y%m%d}.csv"]


def test_the_command_line_does_not_import_the_clients() -> None:
    code = "import sys, runners.cli; assert not {'ccxt', 'yfinance', 'pandas'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)
