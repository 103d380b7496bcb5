from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from models import ModelSet
from models.provenance import Study
from runners.backtesting.engine import backtest
from runners.backtesting.result import Backtest
from runners.backtesting.runs import Trial, Trials, TrialsRead, read_runs, read_trials, trials_of_table
from runners.backtesting.settings import BacktestSettings
from runners.report import backtest_tables
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
        write_backtest(
            result, Trials(1, 0.0), tmp_path, candle_file=tmp_path / "SWITCH.csv", origin={"models": str(tmp_path)}
        )
    return tmp_path / "SWITCH"


def trials_of(result: Backtest, folder: Path) -> Trials:
    index = result.equity.index
    return Trials.of(read_trials(folder), result.metrics, None, index[0], index[-1])


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


def test_a_damaged_run_counts_as_a_trial_if_its_figures_can_be_read(
    results: list[Backtest], folder: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(folder, tmp_path / "SWITCH")
    second = read_runs(folder).runs[2].folder
    (second / "config.toml").write_text("[backtest\n")
    (warning,) = read_runs(folder).warnings
    assert str(second) in warning
    assert "It still counts as a trial. Backtest again, or remove the folder." in warning
    trials = trials_of(results[0], folder)
    assert (trials.count, trials.count_text, trials.warnings) == (2, "2", ())

    (second / "metrics.json").write_text("{")
    (warning,) = read_runs(folder).warnings
    assert "It is missing in the number of trials." in warning
    trials = trials_of(results[0], folder)
    assert (trials.count, trials.count_text, trials.warnings) == (1, "at least 1", (warning,))
    assert "... as at least 1 trial" in {name for name, _, _ in backtest_tables.figures(results[0], trials)}


def test_a_damaged_removed_run_or_grid_is_a_warning(results: list[Backtest], folder: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(folder, tmp_path / "SWITCH")
    read_runs(folder).runs[2].remove()
    removed = next((folder / ".removed").iterdir())
    (removed / "metrics.json").unlink()
    grid = folder / "sweeps" / "20260101T000000.000000Z"
    grid.mkdir(parents=True)
    (grid / "settings.csv").write_text("tried\nTrue\n")
    without_table = folder / "overfitting" / grid.name
    without_table.mkdir(parents=True)
    warnings = trials_of(results[0], folder).warnings
    assert [str(path) in text for path, text in zip((removed, without_table, grid), warnings, strict=True)] == [
        True
    ] * 3


def test_a_repeated_run_is_one_trial_and_an_in_sample_run_is_none(results: list[Backtest], folder: Path) -> None:
    trials = trials_of(results[0], folder)
    assert trials.count == 2
    sharpes = [result.metrics.sharpe for result in results]
    per_bar = np.array(sharpes, dtype=float) / np.sqrt(results[0].metrics.bars_per_year)
    assert trials.variance == pytest.approx(max(per_bar.var(ddof=1), 1 / (results[0].metrics.bars - 1)))


def test_runs_on_other_bars_are_no_trials(results: list[Backtest], folder: Path) -> None:
    later = results[0].equity.index[-1] + pd.Timedelta("1D")
    assert Trials.of(read_trials(folder), results[0].metrics, None, later, later + pd.Timedelta("9D")).count == 1


def test_more_trials_deflate_the_sharpe_ratio_and_the_table_counts_them(results: list[Backtest], folder: Path) -> None:
    trials, alone = trials_of(results[0], folder), Trials(1, 0.0)
    deflated = trials.deflated_sharpe(results[0].metrics)
    assert deflated is not None
    assert alone.deflated_sharpe(results[0].metrics) == pytest.approx(results[0].metrics.probabilistic_sharpe)
    assert deflated < (results[0].metrics.probabilistic_sharpe or 0)
    named = {name: mine for name, mine, _ in backtest_tables.figures(results[0], trials)}
    assert named["... as best of 2 trials"] == f"{100 * deflated:.1f} %"


def test_trials_that_hardly_differ_do_not_raise_the_deflated_sharpe_ratio(results: list[Backtest]) -> None:
    """Such as one good setting, repeated with slightly different exposures."""
    metrics, index = results[0].metrics, results[0].equity.index
    random = np.random.default_rng(0)
    bars, record = metrics.bars, metrics.track_record()
    assert record is not None

    def grid_trials(sharpes: np.ndarray) -> list[Trial]:
        table = {"first_bar": index[0], "last_bar": index[-1], "bars": bars, "tried": True}
        return trials_of_table(pd.DataFrame({"sharpe_per_bar": sharpes}).assign(**table))

    honest = grid_trials(random.standard_normal(300) / np.sqrt(bars))
    alike = grid_trials(record.sharpe + 1e-5 * random.random(20_000))
    before, after = (
        Trials.of(TrialsRead(some), metrics, None, index[0], index[-1]).deflated_sharpe(metrics)
        for some in (honest, honest + alike)
    )
    assert before is not None
    assert after is not None
    assert after <= before + 0.01


def test_the_sharpe_ratio_of_a_trial_on_few_bars_is_scaled(results: list[Backtest]) -> None:
    metrics, index = results[0].metrics, results[0].equity.index
    short = Trial(index[0], index[19], 20, "short", 0.5)  # 0.5 over 20 bars is as likely as 0.14 over 240
    trials = Trials.of(TrialsRead([short]), metrics, None, index[0], index[-1])
    record = metrics.track_record()
    assert record is not None
    expected = np.var([record.sharpe, 0.5 * np.sqrt(20 / metrics.bars)], ddof=1)
    assert trials.variance == pytest.approx(max(expected, 1 / (metrics.bars - 1)))


def test_the_trials_of_the_study_of_the_settings_count(results: list[Backtest]) -> None:
    metrics, index = results[0].metrics, results[0].equity.index
    study = Study("S1", index[0], bars=120, trials={}, sharpes={"bearish": [0.01, None, 0.02], "all": [0.0]})
    assert Trials.of(TrialsRead([]), metrics, study, index[0], index[-1]).count == 5
