"""The trials of a workspace are read from its folders, and remembered in one file."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from models import ModelSet
from runners.backtesting import trial_index
from runners.backtesting.engine import backtest
from runners.backtesting.recording import counted, metrics_json, record_trial
from runners.backtesting.result import Backtest
from runners.backtesting.runs import find_run, read_runs
from runners.backtesting.settings import BacktestSettings
from runners.backtesting.trial_index import INDEX, read_records
from runners.backtesting.trials import Trials, read_trials, trials_of
from runners.report import backtest_tables
from tests.runners.test_earlier_formats import workspace_with

IDS = [f"2026010{day}T000000.000000Z" for day in range(1, 6)]


@pytest.fixture(scope="module")
def traded(candles: pd.DataFrame, model_set: ModelSet) -> list[Backtest]:
    """Backtests of the same bars with two thresholds."""
    return [
        backtest(candles, model_set, BacktestSettings(long_threshold=edge, short_threshold=-edge))
        for edge in (0.0002, 0.0006)
    ]


@pytest.fixture
def results(traded: list[Backtest], tmp_path: Path) -> Path:
    """Results with the first backtest twice, the second one once, and once more in-sample."""
    for made, result in zip(IDS, [traded[0], traded[0], traded[1], replace(traded[1], in_sample=True)], strict=False):
        write(result, tmp_path / "results" / "SWITCH" / made)
    return tmp_path / "results"


def write(result: Backtest, folder: Path) -> None:
    """What the count of trials reads of a run."""
    folder.mkdir(parents=True)
    (folder / "metrics.json").write_text(json.dumps(metrics_json(result)))
    result.equity.to_csv(folder / "equity.csv")
    settings = "\n".join(f"{name} = {getattr(result.settings, name)}" for name in ("long_threshold", "cash"))
    (folder / "config.toml").write_text(f"[backtest]\n{settings}\n")


def trials_with(result: Backtest, results: Path) -> Trials:
    return counted(result, results).trials


def test_repetitions_count_once_and_in_sample_results_do_not_count(traded: list[Backtest], results: Path) -> None:
    trials = trials_with(traded[0], results)
    assert trials.count == 2
    assert 1 < trials.effective < 2
    in_sample = [run for run in read_runs(results / "SWITCH").runs if run.in_sample]
    assert trials_of(in_sample[0], read_trials(results)).count == 2  # itself is the second one once more


def test_more_trials_deflate_the_sharpe_ratio_and_the_table_counts_them(traded: list[Backtest], results: Path) -> None:
    metrics, trials = traded[0].metrics, trials_with(traded[0], results)
    alone, deflated = trials_with(traded[0], results / "nowhere"), trials.deflated_sharpe(metrics)
    assert deflated is not None
    assert alone.deflated_sharpe(metrics) == pytest.approx(metrics.probabilistic_sharpe)
    assert deflated < (metrics.probabilistic_sharpe or 0)
    named = {name: mine for name, mine, _ in backtest_tables.figures(traded[0], trials)}
    assert named["... as best of 2 trials"] == f"{100 * deflated:.1f} %"


def test_a_renamed_csv_has_the_same_trials_and_later_bars_have_none(traded: list[Backtest], results: Path) -> None:
    """240 four-hour bars from June 10 to July 19: neither month is filled, so the first one is hashed from there on."""
    renamed = replace(traded[0], source=replace(traded[0].source, dataset="COPY"))
    assert trials_with(renamed, results).count == 2
    candles = traded[0].candles
    moved = candles.set_axis(candles.index + pd.Timedelta(days=50))
    assert trials_with(replace(renamed, candles=moved), results).count == 1
    assert trials_with(replace(traded[0], candles=moved), results).count == 1


def test_a_removed_run_still_counts_and_as_an_independent_one(traded: list[Backtest], results: Path) -> None:
    before = trials_with(traded[0], results)
    read_runs(results / "SWITCH").runs[2].remove()
    after = trials_with(traded[0], results)
    assert (before.count, after.count, after.effective) == (2, 2, 2)


def test_a_recorded_backtest_counts_like_a_run(traded: list[Backtest], results: Path) -> None:
    before = trials_with(traded[0], results)
    third = replace(traded[1], equity=traded[1].equity.assign(equity=1.01 * traded[1].equity["equity"]))
    recorded = record_trial(third, results)
    assert recorded.trials is not None
    assert recorded.trials.count == before.count + 1
    assert trials_with(traded[0], results).effective == pytest.approx(recorded.trials.effective)
    assert record_trial(third, results).trials == recorded.trials
    assert len(read_runs(results / "SWITCH").runs) == 4


def test_a_damaged_run_counts_if_its_figures_can_be_read(traded: list[Backtest], results: Path) -> None:
    second = results / "SWITCH" / IDS[2]
    (second / "config.toml").write_text("[backtest\n")
    (second / "equity.csv").unlink()
    trials = trials_with(traded[0], results)
    assert (trials.count, trials.count_text, trials.warnings) == (2, "2", ())

    (second / "metrics.json").write_text("{")
    trials = trials_with(traded[0], results)
    (warning,) = trials.warnings
    assert f"{second}: the run is incomplete" in warning
    assert "It is missing in the number of trials." in warning
    assert (trials.count, trials.count_text) == (1, "at least 1")
    assert "... as at least 1 trial" in {name for name, _, _ in backtest_tables.figures(traded[0], trials)}


def test_each_damaged_result_is_a_warning(results: Path) -> None:
    dataset = results / "SWITCH"
    read_runs(dataset).runs[2].remove()
    (dataset / ".removed" / IDS[2] / "metrics.json").unlink()
    (dataset / "recorded" / IDS[0]).mkdir(parents=True)
    for folder, file, text in (
        ("sweeps", "settings.csv", "tried\nTrue\n"),
        ("overfitting", "notes.txt", ""),
        ("evaluations", "evaluation.json", "[]"),
    ):
        (dataset / folder / IDS[0]).mkdir(parents=True)
        (dataset / folder / IDS[0] / file).write_text(text)
    for _ in range(2):  # a damaged result is not remembered
        warnings = read_trials(results).warnings
        assert len(warnings) == 5
        for folder in ("sweeps", "overfitting", "evaluations", "recorded"):
            assert sum(str(dataset / folder / IDS[0]) in warning for warning in warnings) == 1


def test_results_are_read_once_and_again_only_if_they_change(results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read = []

    def counting(results: Path, path: str, kind: str) -> object:
        read.append(path)
        return original(results, path, kind)

    original = trial_index.read_record
    monkeypatch.setattr(trial_index, "read_record", counting)
    first = read_records(results)
    assert read == [f"SWITCH/{made}" for made in IDS[:4]]
    again = read_records(results)
    assert len(read) == 4
    assert [record.bars for record in again.records] == [record.bars for record in first.records]
    assert [record.hashes.tolist() for record in again.records] == [record.hashes.tolist() for record in first.records]

    shutil.rmtree(results / "SWITCH" / IDS[0])
    shutil.copytree(results / "SWITCH" / IDS[1], results / "SWITCH" / IDS[4])
    (results / "SWITCH" / IDS[2] / "metrics.json").write_text("{")
    records, warnings = read_records(results)
    assert [record.made for record in records] == [IDS[1], IDS[3], IDS[4]]
    assert read[4:] == [f"SWITCH/{made}" for made in (IDS[2], IDS[4])]
    assert len(warnings) == 1


@pytest.mark.parametrize("state", ["missing", "no database", "cut off", "another version", "a folder", "locked"])
def test_an_index_that_cannot_be_used_changes_nothing(
    results: Path, state: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trial_index, "_PATIENCE_S", 0.0)
    expected, file = [record.made for record in read_records(results).records], results / INDEX
    for _ in damaged(file, state):
        assert [record.made for record in read_records(results).records] == expected
    if state not in ("a folder", "locked"):  # it was made anew
        monkeypatch.setattr(trial_index, "read_record", None)
        assert [record.made for record in read_records(results).records] == expected


def damaged(file: Path, state: str) -> Iterator[None]:
    """Damage the index while the block runs."""
    if state == "locked":
        (file.parent / "SWITCH" / IDS[3] / "metrics.json").touch()  # so that there is something to write
        other = sqlite3.connect(file)
        other.execute("BEGIN EXCLUSIVE")
        yield
        other.close()
        return
    content = file.read_bytes()
    file.unlink()
    if state == "a folder":
        file.mkdir()
    elif state != "missing":
        file.write_bytes({"no database": 99 * b"nothing", "cut off": content[:5000]}.get(state, content))
    if state == "another version":
        other = sqlite3.connect(file)
        other.execute("PRAGMA user_version = 99")
        other.execute("ALTER TABLE results DROP COLUMN sharpes")
        other.close()
    yield


def test_several_readers_at_once_get_the_same_records(results: Path) -> None:
    for number in range(20):
        shutil.copytree(results / "SWITCH" / IDS[2], results / f"MORE{number % 3}" / f"202602{number + 10}T")
    with ThreadPoolExecutor(8) as pool:
        read = list(pool.map(lambda _: read_records(results), range(8)))
    assert {len(records) for records, _ in read} == {24}
    assert all(not warnings for _, warnings in read)


@pytest.mark.parametrize("fixture", ["run_format_1", "run_format_2"])
def test_results_of_earlier_versions_count_by_dataset_and_time_as_independent_ones(
    tmp_path: Path, fixture: str
) -> None:
    results = workspace_with(tmp_path, fixture) / "results"
    old = find_run(results, "OLD")
    table = pd.DataFrame({"sharpe_per_bar": [0.01, 0.02, 0.02, 0.03], "tried": [True, True, True, False]})
    sweep = results / "OLD" / "sweeps" / IDS[0]
    sweep.mkdir(parents=True)
    table.assign(first_bar=old.first_bar, last_bar=old.last_bar, bars=120).to_csv(sweep / "settings.csv", index=False)
    shutil.copytree(old.folder, old.folder.with_name(IDS[1]))  # a repetition
    trials = trials_of(old, read_trials(results))
    assert (trials.count, trials.effective) == (3, 3)
    assert "2 from the sweep of 2026-01-01, 1 backtest;" in trials.sentence()
    shutil.copytree(results / "OLD", results / "COPY")
    assert trials_of(old, read_trials(results)).count == 3
