from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from data.candles import month_hashes
from data.errors import DataError
from models import ModelSet
from runners.backtesting.engine import backtest
from runners.backtesting.result import Backtest
from runners.backtesting.runs import find_run, read_runs
from runners.backtesting.settings import BacktestSettings
from runners.backtesting.trials import ALONE
from runners.report.write_run import write_backtest


@pytest.fixture(scope="module")
def results(candles: pd.DataFrame, model_set: ModelSet) -> list[Backtest]:
    """Backtests of the same bars with two thresholds."""
    return [
        backtest(candles, model_set, BacktestSettings(long_threshold=edge, short_threshold=-edge))
        for edge in (0.0002, 0.0006)
    ]


@pytest.fixture(scope="module")
def folder(results: list[Backtest], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results with the first run twice, the second run once, and once more in-sample."""
    tmp_path = tmp_path_factory.mktemp("results")
    for result in (results[0], results[0], results[1], replace(results[1], in_sample=True)):
        write_backtest(result, ALONE, tmp_path, candle_file=tmp_path / "SWITCH.csv", origin={"models": str(tmp_path)})
    return tmp_path / "SWITCH"


def test_runs_are_read_as_written(results: list[Backtest], folder: Path) -> None:
    runs = read_runs(folder).runs
    assert [run.in_sample for run in runs] == [False, False, False, True]
    assert [run.metrics for run in runs[1:3]] == [result.metrics for result in results]
    assert runs[0].holding == results[0].holding
    pd.testing.assert_frame_equal(runs[0].forecasts(), results[0].forecasts, check_exact=True, check_freq=False)
    assert {"regime", "p_bullish", "member_1", "member_2"} <= set(runs[0].forecasts())
    assert runs[0].config["backtest"]["long_threshold"] == 0.0002
    assert (runs[0].first_bar, runs[0].last_bar) == (results[0].equity.index[0], results[0].equity.index[-1])


def test_incomplete_runs_are_skipped(folder: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(folder, tmp_path / "SWITCH")
    newest = read_runs(folder).runs[-1].folder
    figures = json.loads((newest / "metrics.json").read_text())
    del figures["strategy"]["sharpe"]
    (newest / "metrics.json").write_text(json.dumps(figures))
    (folder / "20990101T000000.000Z").mkdir()
    assert len(read_runs(folder).runs) == 3
    assert read_runs(folder / "nowhere").runs == []


def test_a_run_keeps_hashes_of_its_bars_and_of_its_returns(results: list[Backtest], folder: Path) -> None:
    first, again, other, _ = read_runs(folder).runs
    assert first.months == again.months == other.months == tuple(month_hashes(results[0].candles))
    assert first.returns == again.returns != other.returns


def test_a_damaged_run_says_whether_it_still_counts_as_a_trial(folder: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(folder, tmp_path / "SWITCH")
    second = read_runs(folder).runs[2].folder
    (second / "config.toml").write_text("[backtest\n")
    (warning,) = read_runs(folder).warnings
    assert str(second) in warning
    assert "It still counts as a trial. Backtest again, or remove the folder." in warning
    (second / "metrics.json").write_text("{")
    (warning,) = read_runs(folder).warnings
    assert "It is missing in the number of trials." in warning


def test_an_empty_name_removes_no_run(folder: Path) -> None:
    with pytest.raises(DataError, match="an empty text names no run"):
        find_run(folder.parent, "")


def test_a_run_is_removed_at_once_by_one_of_two_commands(folder: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(folder, tmp_path / "SWITCH")
    runs = read_runs(folder).runs
    runs[0].remove()
    with pytest.raises(FileNotFoundError):
        runs[0].remove()
    assert read_runs(folder).runs[0].id == runs[1].id
    assert [path.name for path in (folder / ".removed").iterdir()] == [runs[0].id]
