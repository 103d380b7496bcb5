"""`regimes compare`, `regimes runs` and `regimes retrain`."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from data.errors import DataError
from data.files import mark_latest, new_run_id
from models import ModelSet
from models.model_set import find_model_set
from models.provenance import Study
from runners.backtesting.comparison import compare
from runners.backtesting.metrics import metrics_of
from runners.backtesting.runs import Run, find_run, read_runs
from runners.backtesting.settings import BacktestSettings
from runners.backtesting.trials import read_trials, trials_of
from runners.commands.retrain import describe_difference
from runners.report import comparison_tables
from runners.report.comparison_page import comparison_html
from tests.conftest import SMALL, invoke, make_workspace, to_csv
from training.resampling import Returns, resample

CHANCE = ("sharpe_low", "sharpe_high", "drawdown_low", "drawdown_high", "seed_error")  # from members and yardsticks
SPLIT_LATER = BacktestSettings(long_threshold=0.0002, short_threshold=-0.0002)


@pytest.fixture(scope="module")
def made(candles: pd.DataFrame, model_set: ModelSet, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with a model set and three runs: two on the same bars, one that begins 140 bars later."""
    return make_workspace(
        tmp_path_factory.mktemp("home"),
        candles,
        model_set,
        SPLIT_LATER,
        BacktestSettings(long_threshold=0.0006, short_threshold=-0.0006),
        SPLIT_LATER.model_copy(update={"start": candles.index[1100].to_pydatetime()}),
    )


@pytest.fixture(scope="module")
def runs(made: Path) -> list[Run]:
    return read_runs(made / "results" / "SWITCH").runs


@pytest.fixture
def workspace(made: Path, tmp_path: Path) -> Path:
    """A copy to change."""
    return shutil.copytree(made, tmp_path / "home")


def test_runs_on_the_same_bars_keep_their_own_figures(runs: list[Run]) -> None:
    comparison = compare(runs[:2], "two")
    assert [one.metrics for one in comparison.runs] == [run.metrics for run in runs[:2]]
    assert comparison.partly == []
    assert "the same for every run" in comparison_tables.common_bars(comparison)
    returns = [one.growth / one.growth.shift(1, fill_value=1.0) - 1 for one in comparison.runs]
    observed = resample([Returns(one.to_numpy()) for one in returns], comparison.runs[0].metrics.bars_per_year)
    first, second = comparison.runs
    assert first.sharpe_difference is None
    assert second.sharpe_difference is not None
    assert second.sharpe_difference.difference == pytest.approx(observed.sharpe[1] - observed.sharpe[0])
    assert second.drawdown_difference is not None
    assert second.drawdown_difference.difference == pytest.approx(
        second.metrics.max_drawdown - first.metrics.max_drawdown
    )
    assert [one.seed_luck for one in comparison.runs] == ["own", "own"]
    assert "The tests cover the luck of bars and seeds." in comparison_tables.verdicts(comparison)


def without_members(run: Run) -> Run:
    """The run with the files of one member."""
    for name, kept in (("equity.csv", 1), ("forecasts.csv", 1)):
        table = pd.read_csv(run.folder / name, index_col="timestamp")
        names = [column for column in table if column.startswith("member_")]
        table.drop(columns=names[kept:]).to_csv(run.folder / name)
    return replace(run, members=run.members[:1])


def test_a_run_of_one_member_borrows_the_spread_of_the_other_or_has_none(runs: list[Run], workspace: Path) -> None:
    single, other = (
        without_members(find_run(workspace / "results", str(workspace / "results" / "SWITCH" / run.id)))
        for run in runs[:2]
    )
    mixed, alone, several = (compare(pair, "two") for pair in ([single, runs[1]], [single, other], runs[:2]))
    assert [one.seed_luck for one in mixed.runs] == ["borrowed", "own"]
    assert "Seed luck taken from the members of B, for one member shows none: A." in comparison_tables.verdicts(mixed)
    assert [one.seed_luck for one in alone.runs] == ["unknown", "unknown"]
    assert any("Seed luck unknown: one member (A, B)." in told for told in comparison_tables.verdicts(alone))
    widths = []
    for comparison in (alone, several, mixed):
        difference = comparison.runs[1].sharpe_difference
        assert difference is not None
        widths.append(difference.high - difference.low)
    assert widths[0] < widths[1] < widths[2]  # the seeds add to the luck of the bars, and one seed more than two


def test_runs_over_different_bars_are_compared_over_the_common_ones_with_a_note(runs: list[Run]) -> None:
    comparison = compare([runs[0], runs[2]], "two")
    assert comparison.partly == ["A"]
    assert (comparison.bars, comparison.first_bar) == (100, runs[2].first_bar)
    assert "further bars of A are left out" in comparison_tables.common_bars(comparison)
    whole = runs[0].equity()
    first = whole.index.get_loc(comparison.first_bar)
    later = whole.iloc[first:]
    assert comparison.runs[0].growth.iloc[-1] == pytest.approx(
        whole["equity"].iloc[-1] / whole["equity"].iloc[first - 1]
    )
    assert comparison.runs[0].metrics.costs == pytest.approx(later["commission"].sum())
    assert comparison.runs[0].metrics.trades == sum(runs[0].trades()["closed"] >= comparison.first_bar.tz_convert(None))
    assert comparison.runs[1].metrics == runs[2].metrics


def test_a_runs_files_reproduce_its_figures(runs: list[Run]) -> None:
    for run in runs:
        again = metrics_of(run.equity(), run.trades(), run.cash)
        chance = {name: getattr(run.metrics, name) for name in CHANCE}
        assert replace(again, **chance) == run.metrics


def test_what_differs_is_listed_and_the_best_is_marked(runs: list[Run]) -> None:
    comparison = compare(runs[:2], "two")
    assert dict(comparison.differing)["backtest: long_threshold"] == ["0.0002", "0.0006"]
    assert "dataset" not in dict(comparison.differing)
    rows = {name: (cells, best) for name, cells, best in comparison_tables.figures(comparison)}
    assert rows["total return"][1] == {int(np.argmax([run.metrics.total_return for run in runs[:2]]))}
    assert rows["commission paid"][1] == {int(np.argmin([run.metrics.costs for run in runs[:2]]))}
    assert rows["time in market"][1] == set()


def test_a_repeated_run_is_reported_as_such(runs: list[Run]) -> None:
    comparison = compare([runs[0], runs[0]], "twice")
    assert "A and B earned the same at every bar." in comparison_tables.verdicts(comparison)
    assert comparison.differing == []
    assert "the runs repeat each other" in comparison_html([comparison])


def test_runs_without_common_bars_are_an_error_with_their_ranges(runs: list[Run], workspace: Path) -> None:
    early = find_run(workspace / "results", str(workspace / "results" / "SWITCH" / runs[0].id))
    table = pd.read_csv(early.folder / "equity.csv")
    table.iloc[:10].to_csv(early.folder / "equity.csv", index=False)
    with pytest.raises(DataError, match=r"0 bars in common, 20 are needed: SWITCH/.* 2022-"):
        compare([early, runs[2]], "two")


def test_a_run_is_found_by_its_dataset_its_id_or_the_beginning_of_it(runs: list[Run], made: Path) -> None:
    results, wanted = made / "results", runs[1]
    assert find_run(results, "SWITCH").id == runs[-1].id
    for name in (wanted.id, f"SWITCH/{wanted.id}", str(wanted.folder), wanted.id[:-1]):
        assert find_run(results, name).id == wanted.id
    with pytest.raises(DataError, match="3 runs begin with this"):
        find_run(results, "2")
    with pytest.raises(DataError, match="there is no such run"):
        find_run(results, "1999")


def test_compare_prints_tables_and_writes_the_page_and_a_csv(workspace: Path) -> None:
    ran = invoke(workspace, "compare", "--csv", str(workspace / "c.csv"))
    assert ran.returncode == 0, ran.stderr
    assert "the difference is" in " ".join(ran.stdout.split())
    assert "Hansen" in ran.stdout
    assert (workspace / "results" / "compare.html").read_text().count('<section class="chart"') == 1
    output = json.loads(invoke(workspace, "compare", "--json").stdout)
    assert output["page"] == str(workspace / "results" / "compare.html")
    (group,) = output["comparisons"]
    table = pd.read_csv(workspace / "c.csv")
    assert (
        list(table["run"]) == [run["run"] for run in group["runs"]] == [run.id for run in read_runs_of(workspace)[-2:]]
    )
    assert list(table["sharpe"]) == [run["sharpe"] for run in group["runs"]]


def test_runs_that_are_named_are_compared_in_their_order(workspace: Path, runs: list[Run]) -> None:
    first, second, _ = runs
    (group,) = json.loads(invoke(workspace, "compare", second.id, first.id, "--json").stdout)["comparisons"]
    assert (group["title"], [run["run"] for run in group["runs"]]) == ("SWITCH", [second.id, first.id])


def test_the_error_without_runs_says_how_to_make_one(tmp_path: Path) -> None:
    for command, message in {
        ("compare",): "results: holds no run yet. `regimes backtest DATASET` makes one.",
        ("runs",): "results: holds no run yet.",
        ("runs", "BTC"): "results: holds no run of BTC yet.",
    }.items():
        ran = invoke(tmp_path, *command)
        assert ran.returncode == 2
        assert message in ran.stderr


def test_an_incomplete_run_cannot_be_compared(workspace: Path, runs: list[Run]) -> None:
    folder = workspace / "results" / "SWITCH" / runs[0].id
    (folder / "config.toml").unlink()
    failed = invoke(workspace, "compare", "SWITCH", str(folder))
    assert failed.returncode == 2
    assert f"{folder}: " in failed.stderr
    assert "Backtest again, or remove the folder." in failed.stderr


def test_a_folder_in_place_of_the_csv_is_an_error_and_does_not_change(workspace: Path) -> None:
    (workspace / "c.csv").mkdir()
    failed = invoke(workspace, "compare", "--csv", str(workspace / "c.csv"))
    assert failed.returncode == 2
    assert "c.csv: cannot be written (Is a directory). Earlier content is unchanged." in failed.stderr
    assert list(workspace.glob(".c.csv*")) == list((workspace / "c.csv").iterdir()) == []


def test_runs_that_only_hold_are_not_tested_against_holding(
    candles: pd.DataFrame, model_set: ModelSet, tmp_path: Path
) -> None:
    always_long = BacktestSettings(long_threshold=-1.0, short_threshold=-2.0)
    workspace = make_workspace(tmp_path, candles, model_set, always_long, always_long)
    ran = invoke(workspace, "compare")
    assert ran.returncode == 0, ran.stderr
    assert "Hansen" not in ran.stdout
    assert json.loads(invoke(workspace, "compare", "--json").stdout)["comparisons"][0]["superior_to_holding_p"] is None


def test_a_dataset_with_one_run_is_left_out_with_a_notice_if_others_have_two(workspace: Path, runs: list[Run]) -> None:
    lone = workspace / "results" / "LONE" / runs[0].id
    shutil.copytree(runs[0].folder, lone)
    ran = invoke(workspace, "compare")
    assert "not compared: LONE" in ran.stderr
    assert "LONE" not in ran.stdout


def test_a_dataset_alone_is_compared_by_its_two_newest_runs(workspace: Path, runs: list[Run]) -> None:
    shutil.copytree(runs[0].folder, workspace / "results" / "LONE" / runs[0].id)
    ran = invoke(workspace, "compare", "SWITCH")
    assert ran.returncode == 0
    assert f"the two newest runs of SWITCH: {runs[-2].id}, {runs[-1].id}" in ran.stderr
    alone = invoke(workspace, "compare", "LONE")
    assert "holds only one run of LONE; a comparison needs two" in alone.stderr


def test_one_run_is_not_compared_with_nothing(workspace: Path, runs: list[Run]) -> None:
    for run in runs[1:]:
        shutil.rmtree(workspace / "results" / "SWITCH" / run.id)
    remedy = "a comparison needs two. `regimes runs` lists all runs, `regimes backtest DATASET` makes another."
    for arguments, which in (([], "holds only one run of SWITCH; "), ([runs[0].id], f"{runs[0].id} is one run; ")):
        ran = invoke(workspace, "compare", *arguments)
        assert (ran.returncode, ran.stdout) == (2, "")
        assert f"{which}{remedy}" in ran.stderr
    assert not (workspace / "results" / "compare.html").exists()


def test_a_dataset_whose_newest_runs_have_no_common_bars_is_left_out_with_a_notice(
    workspace: Path, runs: list[Run]
) -> None:
    results = workspace / "results"
    apart = [shutil.copytree(runs[at].folder, results / "APART" / runs[at].id) for at in (0, 2)]
    table = pd.read_csv(apart[0] / "equity.csv")
    table.iloc[:10].to_csv(apart[0] / "equity.csv", index=False)
    ran = invoke(workspace, "compare")
    assert ran.returncode == 0, ran.stderr
    assert "APART is not compared: these runs have 0 bars in common" in ran.stderr
    assert "APART" not in ran.stdout
    assert "SWITCH" in ran.stdout
    shutil.rmtree(results / "SWITCH")
    shutil.copytree(results / "APART", results / "BPART")
    ran = invoke(workspace, "compare")
    assert ran.returncode == 2
    assert "BPART is not compared" in ran.stderr
    assert "nothing is left to compare. Name runs that traded the same bars" in ran.stderr


def test_every_reader_names_a_damaged_run_once_and_says_that_the_number_of_trials_lacks_it(
    workspace: Path, runs: list[Run]
) -> None:
    damaged = workspace / "results" / "SWITCH" / runs[0].id
    (damaged / "metrics.json").write_text("{")
    for arguments in (["runs"], ["compare"], ["backtest", "SWITCH"], ["sweep", runs[1].id, "--long-threshold", "0,1"]):
        ran = invoke(workspace, *arguments)
        assert ran.returncode == 0, ran.stderr
        assert "".join(ran.stderr.split()).count(f"{damaged}:therunisincomplete") == 1, (arguments, ran.stderr)
        assert "It is missing in the number of trials" in ran.stderr
    assert "the run is incomplete" in (workspace / "results" / "compare.html").read_text()
    newest = find_run(workspace / "results", "SWITCH")
    assert "best of at least 3 trials" in (newest.folder / "report.html").read_text()


def test_settings_of_single_networks_are_counted_on_the_terminal_and_listed_on_the_page(runs: list[Run]) -> None:
    own = {name: {"window": 9, "features": ["rsi", "macd"]} for name in ("all", "bearish")}
    before, study = runs[1].training, Study("S1", runs[1].first_bar, bars=9, trials={}, sharpes={})
    training = replace(before, settings={**before.settings, "networks": own}, study=study)
    comparison = compare([runs[0], replace(runs[1], training=training)])
    lines = comparison_tables.differing(comparison)
    assert "train: networks: 4 settings of all, bearish, listed on the page" in lines
    assert "study: A none, B S1" in lines
    assert len(lines) < len(comparison.differing)
    assert "rsi, macd" in comparison_html([comparison])


def read_runs_of(workspace: Path) -> list[Run]:
    return read_runs(workspace / "results" / "SWITCH").runs


def test_runs_can_be_listed_annotated_and_removed_but_still_count_as_trials(workspace: Path) -> None:
    first, second, _ = read_runs_of(workspace)
    assert command_of_runs(workspace, "note", first.id, "the [first] one").returncode == 0
    listed = command_of_runs(workspace, "--sort", "drawdown")
    assert "the [first] one" in listed.stdout
    order = sorted(read_runs_of(workspace), key=lambda run: run.metrics.max_drawdown)
    places = [listed.stdout.index(run.id.split(".")[0]) for run in (order[0], order[-1])]
    assert places == sorted(places)
    trials = trials_of(first, read_trials(workspace / "results"))
    assert command_of_runs(workspace, "rm", second.id).returncode == 0
    assert not second.folder.exists()
    assert len(read_runs_of(workspace)) == 2
    assert trials_of(first, read_trials(workspace / "results")).count == trials.count


def test_without_the_newest_run_the_dataset_means_the_one_before(workspace: Path) -> None:
    _, second, third = read_runs_of(workspace)
    assert find_run(workspace / "results", "SWITCH").id == third.id
    assert command_of_runs(workspace, "rm", "SWITCH").returncode == 0
    assert command_of_runs(workspace, "note", "SWITCH", "now the newest").returncode == 0
    assert [run.note for run in read_runs_of(workspace)] == ["", "now the newest"]
    assert read_runs_of(workspace)[-1].id == second.id


def test_a_run_that_ends_after_a_newer_one_does_not_become_the_newest(workspace: Path) -> None:
    older, *_, third = read_runs_of(workspace)
    younger = third.folder.rename(third.folder.with_name(new_run_id()))
    mark_latest(younger)
    mark_latest(older.folder)
    assert find_run(workspace / "results", "SWITCH").id == younger.name


def command_of_runs(workspace: Path, *arguments: str):  # type: ignore[no-untyped-def]
    return invoke(workspace, "runs", *arguments)


def test_retraining_trades_old_and_new_models_on_the_same_bars(workspace: Path, candles: pd.DataFrame) -> None:
    shutil.rmtree(workspace / "models")
    to_csv(candles.iloc[:1100], workspace / "data" / "csv" / "SWITCH.csv")
    small = [word for name, value in SMALL.items() for word in (f"--{name.replace('_', '-')}", str(value))]
    assert invoke(workspace, "train", *small).returncode == 0
    to_csv(candles, workspace / "data" / "csv" / "SWITCH.csv")
    ran = invoke(workspace, "retrain", "SWITCH")
    assert ran.returncode == 0, ran.stderr
    assert "100 bars were appended" in ran.stderr
    old, new = read_runs_of(workspace)[-2:]
    assert (old.first_bar, old.last_bar) == (new.first_bar, new.last_bar)
    assert new.first_bar == candles.index[960]  # unseen by both
    assert new.config["backtest"]["long_threshold"] == SPLIT_LATER.long_threshold  # the last run's
    assert old.models < new.models
    assert new.training.settings == old.training.settings
    assert "before (A) and after (B)" in (workspace / "results" / "compare.html").read_text()
    earlier = [run.returns for run in read_runs_of(workspace)[:-2]]
    assert trials_of(new, read_trials(workspace / "results")).count == len({*earlier, old.returns, new.returns})
    assert old.returns not in [*earlier, new.returns]  # the new models are those before: the same candles and seeds


@pytest.mark.parametrize("kept", [slice(900), slice(0, 961)])
def test_retraining_without_unseen_bars_ends_before_it_trains(
    workspace: Path, candles: pd.DataFrame, kept: slice
) -> None:
    to_csv(candles.iloc[kept], workspace / "data" / "csv" / "SWITCH.csv")
    before = sorted((workspace / "models").rglob("*"))
    ran = invoke(workspace, "retrain", "SWITCH")
    assert ran.returncode == 2
    assert "so no bars are left to compare them on. Bring newer candles" in ran.stderr
    assert f"use the bars up to {candles.index[959]}" in ran.stderr
    assert sorted((workspace / "models").rglob("*")) == before


def test_live_services_do_not_see_retrained_models_before_the_comparison_has_succeeded(
    workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    models = workspace / "models" / "trained" / "SWITCH"
    old = find_model_set(models)

    def compare_runs(*_: object) -> None:
        assert len(list(models.glob("2*"))) == 2
        assert find_model_set(models) == old
        raise DataError("no comparison")

    with monkeypatch.context() as patch:
        patch.setattr("runners.commands.compare.compare_runs", compare_runs)
        ran = invoke(workspace, "retrain", "SWITCH")
        assert (ran.returncode, ran.stderr.splitlines()[-1]) == (2, "Error: no comparison")
    assert find_model_set(models) == old
    assert invoke(workspace, "retrain", "SWITCH").returncode == 0
    assert find_model_set(models) == max(models.glob("2*"))


def test_retraining_reports_how_the_candles_have_changed(candles: pd.DataFrame, model_set: ModelSet) -> None:
    step = candles.index[1] - candles.index[0]
    longer = pd.concat([candles, candles.iloc[-3:].set_axis(candles.index[-3:] + 3 * step)])
    assert "have not changed since training" in describe_difference(model_set, candles)
    assert "3 bars were appended" in describe_difference(model_set, longer)
    assert "the candles were replaced: now 1,100 bars" in describe_difference(model_set, candles.iloc[100:])
