"""`regimes import` makes a dataset, says what it did, and takes no decision that was not given."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from data.candles import fingerprint, read_candles
from data.files import sha256_of
from models import ModelSet
from tests.conftest import invoke, make_workspace, to_csv

MT5 = "<DATE>\t<TIME>\t<OPEN>\t<HIGH>\t<LOW>\t<CLOSE>\t<TICKVOL>\t<VOL>\t<SPREAD>\n" + "".join(
    f"2024.01.02\t{hour:02}:00:00\t10\t12\t9\t11\t5\t0\t2\n" for hour in range(10, 20)
)


@pytest.fixture
def export(tmp_path: Path) -> Path:
    file = tmp_path / "EURUSD.txt"
    file.write_text(MT5)
    return file


def test_it_asks_for_the_zone_and_then_writes_a_dataset_that_says_how_it_was_made(tmp_path: Path, export: Path) -> None:
    asked = invoke(tmp_path, "import", str(export))
    assert asked.returncode == 2
    assert "Answer with --timezone, such as --timezone Europe/Athens" in asked.stderr
    assert not (tmp_path / "data").exists()
    ran = invoke(tmp_path, "import", str(export), "--timezone", "Europe/Athens")
    assert ran.returncode == 0, ran.stderr
    said = " ".join(ran.stdout.split())
    for part in (
        "MetaTrader 5; tabs between columns, header",
        "tick_volume from <TICKVOL>",
        "taken as Europe/Athens",
        "10 candles",
    ):
        assert part in said
    file = tmp_path / "data" / "csv" / "EURUSD.csv"
    assert read_candles(file).index[0] == pd.Timestamp("2024-01-02 08:00", tz="UTC")
    record = json.loads(file.with_suffix(".import.json").read_text())
    assert record["sources"] == {str(export): sha256_of(export)}
    assert record["sha256"] == sha256_of(file)
    assert "MetaTrader 5" in record["notes"][0]
    assert "EURUSD " in invoke(tmp_path, "data").stdout


def test_a_dataset_is_replaced_only_on_request_and_never_by_a_dry_run(tmp_path: Path, export: Path) -> None:
    zone = ("--timezone", "UTC")
    shown = invoke(tmp_path, "import", str(export), *zone, "--dry-run")
    assert "2024-01-02 10:00" in shown.stdout
    assert not (tmp_path / "data").exists()
    assert invoke(tmp_path, "import", str(export), *zone, "--name", "FX").returncode == 0
    again = invoke(tmp_path, "import", str(export), *zone, "--name", "FX")
    assert again.returncode == 2
    assert "FX.csv: exists already. Choose another --name, or replace it with --overwrite." in again.stderr
    assert invoke(tmp_path, "import", str(export), *zone, "--name", "FX", "--overwrite").returncode == 0


def test_candles_that_need_no_change_are_copied(tmp_path: Path, labelled: pd.DataFrame) -> None:
    file = to_csv(labelled.assign(funding=0.25), tmp_path / "own.csv")
    ran = invoke(tmp_path, "import", str(file), "--name", "OWN")
    assert "nothing had to be changed" in ran.stdout
    assert (tmp_path / "data" / "csv" / "OWN.csv").read_bytes() == file.read_bytes()


def test_the_report_says_how_the_candles_were_imported(
    tmp_path: Path, candles: pd.DataFrame, model_set: ModelSet
) -> None:
    workspace = make_workspace(tmp_path / "home", candles, model_set)
    closes = tmp_path / "closes.csv"
    candles[["close"]].to_csv(closes)
    assert invoke(workspace, "import", str(closes), "--close-only", "--name", "SWITCH", "--overwrite").returncode == 0
    ran = invoke(workspace, "backtest", "SWITCH")
    assert ran.returncode == 0, ran.stderr
    (report,) = workspace.glob("results/SWITCH/*/report.html")
    assert "candles imported" in report.read_text()
    assert "made from closes: open is the previous close" in report.read_text()


def test_a_refused_file_comes_with_the_import_that_reads_it(tmp_path: Path, candles: pd.DataFrame) -> None:
    file = tmp_path / "newest_first.csv"
    to_csv(candles.iloc[::-1], file)
    refused = invoke(tmp_path, "train", str(file))
    assert refused.returncode == 2
    call = f"regimes import {file} --name newest_first_imported"
    assert f"`{call}` makes a dataset of it, and says what it changes." in refused.stderr
    assert invoke(tmp_path, *call.split()[1:]).returncode == 0
    made = read_candles(tmp_path / "data" / "csv" / "newest_first_imported.csv")
    assert fingerprint(made) == fingerprint(read_candles(to_csv(candles, tmp_path / "sorted.csv")))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--columns", "close"], "--columns: 'close' is not a pair such as close=Last"),
        (["--columns", "close=Last"], "has no column 'Last'; it has <DATE>, <TIME>"),
        (["--format", "nonsense"], "--format: 'nonsense' is none of binance, kraken"),
        (["--timezone", "Mars/Base"], "--timezone: 'Mars/Base' is no zone such as Europe/Athens"),
        (["--date-format", "xyz"], "--date-format: 'xyz' is none of dmy, mdy, ymd"),
        (["--timezone", "UTC", "--adjust"], "has no adjusted closes"),
        (["--timezone", "UTC", "--resample", "90m"], "--resample: 90m is no multiple of the interval of 1 h"),
        (["--timezone", "UTC", "--name", ".hidden"], "'.hidden' cannot name a dataset"),
        (["other.txt"], "several files need a name"),
    ],
)
def test_an_option_that_cannot_be_used_says_why(
    tmp_path: Path, export: Path, arguments: list[str], message: str
) -> None:
    ran = invoke(tmp_path, "import", str(export), *arguments)
    assert ran.returncode == 2
    assert message in ran.stderr


def test_a_file_without_volume_cannot_train_features_of_the_volume(tmp_path: Path, candles: pd.DataFrame) -> None:
    file = to_csv(candles.drop(columns="volume"), tmp_path / "SILENT.csv")
    ran = invoke(tmp_path, "import", str(file))
    assert "it has no volume; written as 0" in " ".join(ran.stdout.split())
    assert "SILENT.csv: the volume is 0 in every bar" in ran.stderr
    refused = invoke(tmp_path, "train", "SILENT", "--features", "log_return,volume_zscore")
    assert refused.returncode == 2
    assert "the volume is 0 in every bar. Leave volume_zscore out of the features." in refused.stderr
