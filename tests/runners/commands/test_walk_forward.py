from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from data.candles import read_candles
from data.errors import StorageError
from models import Forecaster, ModelSet
from models.forecaster import member_forecasts
from runners.backtesting.cluster import workers
from runners.backtesting.runs import Run, read_runs
from runners.backtesting.walk_forward import Checkpoint, fold_folder
from strategies.array_simulation import SettingsGrid, simulate
from tests.conftest import ROOT, SMALL, command, invoke, switching_candles, to_csv
from tests.patience import PATIENCE_S
from training import TrainSettings
from training.settings import WalkForwardSettings
from training.walk_forward import FoldId, fit_folds

QUICK = [word for name, value in SMALL.items() for word in (f"--{name.replace('_', '-')}", str(value))]
SCHEDULE = WalkForwardSettings(train_bars=600, test_bars=200)
PLAN = ["--train-bars", "600", "--test-bars", "200", *QUICK]
TRADED = ["--long-threshold", "0.0002", "--short-threshold", "-0.0002"]
FIGURES = ("metrics.json", "equity.csv", "forecasts.csv", "trades.csv")


def runs_of(workspace: Path, dataset: str = "SWITCH") -> list[Run]:
    return read_runs(workspace / "results" / dataset).runs


def figures(run: Run) -> list[bytes]:
    return [(run.folder / name).read_bytes() for name in FIGURES]


def checkpoint(workspace: Path) -> Path:
    return workspace / "results" / "SWITCH" / ".walk-forward"


@pytest.fixture(scope="module")
def workspace(candles: pd.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace after one walk-forward whose models were kept."""
    workspace = tmp_path_factory.mktemp("home")
    (workspace / "data" / "csv").mkdir(parents=True)
    to_csv(candles, workspace / "data" / "csv" / "SWITCH.csv")
    ran = invoke(workspace, "walk-forward", *PLAN, *TRADED, "--keep-models")
    assert ran.returncode == 0, ran.stderr
    assert "each fold, after costs" in ran.stdout
    return workspace


@pytest.fixture
def copy(workspace: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(workspace, tmp_path / "home"))


def test_every_fold_trades_its_own_bars_in_one_backtest(workspace: Path, candles: pd.DataFrame) -> None:
    (run,) = runs_of(workspace)
    assert run.kind == "walk-forward"
    assert not run.in_sample
    equity = run.equity()
    assert equity.index.equals(candles.index[600:])
    assert np.isfinite(equity["forecast"]).all()
    assert run.metrics.trades > 5
    page = (run.folder / "report.html").read_text()
    assert "<h2>Folds</h2>" in page
    assert page.count("<td>2022-") > 9  # three folds and their sum


def test_keep_models_keeps_each_folds_models(workspace: Path, candles: pd.DataFrame) -> None:
    (run,) = runs_of(workspace)
    kept = sorted((workspace / "models" / "trained" / "SWITCH" / "walk_forward" / run.id).iterdir())
    assert [ModelSet.load(path).validation_end for path in kept] == list(candles.index[[599, 799, 999]])
    assert not checkpoint(workspace).exists()


def test_its_config_repeats_it_bit_for_bit(copy: Path) -> None:
    (first,) = runs_of(copy)
    config = first.folder / "config.toml"
    refused = invoke(copy, "backtest", "--config", str(config))
    assert refused.returncode == 2
    assert "Use regimes walk-forward --config" in refused.stderr
    assert config.read_text().count("members = 2") == 1
    repeated = invoke(copy, "walk-forward", "--config", str(config))
    assert repeated.returncode == 0, repeated.stderr
    assert figures(runs_of(copy)[-1]) == figures(first)
    assert (runs_of(copy)[-1].folder / "config.toml").read_bytes() == config.read_bytes()
    assert [path.name for path in (copy / "models" / "trained" / "SWITCH" / "walk_forward").iterdir()] == [first.id]


def test_the_votes_continue_from_fold_to_fold(workspace: Path, candles: pd.DataFrame) -> None:
    (run,) = runs_of(workspace)
    bars, members = candles.loc[run.first_bar :], member_forecasts(run.forecasts())
    prices = bars["open"].to_numpy(), bars["close"].to_numpy()
    whole = simulate(*prices, members, SettingsGrid.of(run.settings), run.cash)  # knows no folds
    assert members.shape[1] == 2
    np.testing.assert_array_equal(run.equity()["equity"], whole.equity[:, 0])


def test_a_config_of_before_there_were_members_trains_one(copy: Path) -> None:
    (first,) = runs_of(copy)
    config = first.folder / "config.toml"
    config.write_text(config.read_text().replace("members = 2\n", ""))
    repeated = invoke(copy, "walk-forward", "--config", str(config))
    assert repeated.returncode == 0, repeated.stderr
    assert runs_of(copy)[-1].training.settings["members"] == 1


def test_its_forecasts_can_be_traded_again_with_other_settings(copy: Path) -> None:
    (first,) = runs_of(copy)
    flat = invoke(copy, "backtest", "--forecasts", first.id, "--neutral", "flat")
    assert flat.returncode == 0, flat.stderr
    again = runs_of(copy)[-1]
    assert again.models == f"of {first.id}"
    assert again.forecasts().equals(first.forecasts())
    assert again.regime_returns == first.regime_returns
    assert len(first.regime_returns) == 3  # one for each fold
    assert again.settings.neutral == "flat"
    assert not again.equity()["position"].equals(first.equity()["position"])
    repeated = invoke(copy, "backtest", "--config", str(again.folder / "config.toml"))
    assert repeated.returncode == 0, repeated.stderr
    assert figures(runs_of(copy)[-1]) == figures(again)


def start_walk_forward(workspace: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "runners.cli", "walk-forward", "--workspace", str(workspace)]
    command += [*PLAN, *TRADED, "--jobs", "1"]
    return subprocess.Popen(command, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)})


def test_a_killed_run_resumes_at_the_first_unfinished_fold(workspace: Path, copy: Path) -> None:
    (whole,) = runs_of(workspace)
    shutil.rmtree(copy / "results")
    process = start_walk_forward(copy)
    while not list(checkpoint(copy).glob("*/0001")) and process.poll() is None:
        try:
            process.wait(0.02)
        except subprocess.TimeoutExpired:
            continue
    process.send_signal(signal.SIGKILL)
    process.wait()
    finished = list(checkpoint(copy).glob("*/[0-9]*"))
    assert 1 <= len(finished) < 3
    resumed = invoke(copy, "walk-forward", *PLAN, *TRADED)
    assert resumed.returncode == 0, resumed.stderr
    assert f"{len(finished)} of 3 folds exist already" in resumed.stderr
    assert figures(runs_of(copy)[-1]) == figures(whole)
    assert not checkpoint(copy).exists()


def test_a_damaged_fold_is_trained_again(workspace: Path, copy: Path) -> None:
    (whole,) = runs_of(workspace)
    shutil.rmtree(copy / "results")
    kept = copy / "models" / "trained" / "SWITCH" / "walk_forward" / whole.id
    (kept / "0002" / "detector.json").write_text("{}")
    candles = read_candles(copy / "data" / "csv" / "SWITCH.csv")
    shutil.move(kept, Checkpoint(copy / "results", "SWITCH", candles, TrainSettings(**SMALL), SCHEDULE, ()).folder)
    resumed = invoke(copy, "walk-forward", *PLAN, *TRADED)
    assert resumed.returncode == 0, resumed.stderr
    assert "2 of 3 folds exist already" in resumed.stderr
    assert figures(runs_of(copy)[-1]) == figures(whole)


def test_a_run_stopped_while_trading_trains_no_fold_again(workspace: Path, copy: Path) -> None:
    (whole,) = runs_of(workspace)
    shutil.rmtree(copy / "results")
    kept = copy / "models" / "trained" / "SWITCH" / "walk_forward" / whole.id
    candles = read_candles(copy / "data" / "csv" / "SWITCH.csv")
    shutil.move(kept, Checkpoint(copy / "results", "SWITCH", candles, TrainSettings(**SMALL), SCHEDULE, ()).folder)
    resumed = invoke(copy, "walk-forward", *PLAN, *TRADED)
    assert resumed.returncode == 0, resumed.stderr
    assert "3 of 3 folds exist already" in resumed.stderr
    assert "training folds" not in resumed.stderr
    assert figures(runs_of(copy)[-1]) == figures(whole)


def test_a_fold_is_written_once_and_a_failure_is_an_error(
    candles: pd.DataFrame, model_set: ModelSet, tmp_path: Path
) -> None:
    kept = Checkpoint(tmp_path, "SWITCH", candles, TrainSettings(**SMALL), SCHEDULE, ())
    kept.save(0, model_set)
    first = {path.name: path.stat().st_ino for path in fold_folder(kept.folder, 0).iterdir()}
    kept.save(0, model_set)  # an equal walk-forward in parallel was faster
    assert {path.name: path.stat().st_ino for path in fold_folder(kept.folder, 0).iterdir()} == first
    assert [path.name for path in kept.folder.iterdir()] == ["0001"]
    shutil.rmtree(kept.folder)
    kept.folder.write_text("not a folder")
    with pytest.raises(StorageError, match=r"0001: cannot be written \(Not a directory\)"):
        kept.save(0, model_set)


def test_folds_of_other_user_code_are_not_reused(copy: Path) -> None:
    (whole,) = runs_of(copy)
    kept = copy / "models" / "trained" / "SWITCH" / "walk_forward" / whole.id
    candles = read_candles(copy / "data" / "csv" / "SWITCH.csv")
    own = copy / "own.py"
    own.write_text("A = 1\n")
    before, same = (Checkpoint(copy, "SWITCH", candles, TrainSettings(**SMALL), SCHEDULE, [own]) for _ in range(2))
    own.write_text("A = 2\n")
    after = Checkpoint(copy, "SWITCH", candles, TrainSettings(**SMALL), SCHEDULE, [own])
    shutil.copytree(kept, before.folder)
    assert sorted(same.load()) == [0, 1, 2]
    assert after.load() == {}


def test_two_equal_parallel_walk_forwards_both_succeed(copy: Path, workspace: Path) -> None:
    (whole,) = runs_of(workspace)
    both = [start_walk_forward(copy) for _ in range(2)]
    assert [process.wait() for process in both] == [0, 0]
    assert [figures(run) for run in runs_of(copy)[1:]] == [figures(whole)] * 2


def test_the_range_setting_of_backtests_does_not_apply_to_folds(workspace: Path, copy: Path) -> None:
    assert invoke(copy, "init").returncode == 0  # its table for walk-forwards is not a walk-forward's run
    file = copy / "regimes.toml"
    file.write_text(file.read_text().replace("# start = ", "start = 2022-06-01"))
    walked = invoke(copy, "walk-forward", *PLAN, *TRADED)
    assert walked.returncode == 0, walked.stderr
    assert figures(runs_of(copy)[-1]) == figures(runs_of(workspace)[0])
    trained = invoke(copy, "train", *QUICK)
    traded = invoke(copy, "backtest", "--start", "2022-07-01")
    assert trained.returncode == traded.returncode == 0, trained.stderr + traded.stderr


def test_an_expert_that_a_fold_lacks_is_reported(copy: Path) -> None:
    ran = invoke(copy, "walk-forward", *PLAN, "--min-windows", "200", "--epochs", "1")
    assert ran.returncode == 0, ran.stderr
    assert re.search(r"Fold 1: \w+ uses the all-regimes network: only \d+ training windows", ran.stdout)
    assert "uses the all-regimes network" in (runs_of(copy)[-1].folder / "report.html").read_text()


def test_a_kept_fold_can_be_checked(copy: Path) -> None:
    (run,) = runs_of(copy)
    fold = copy / "models" / "trained" / "SWITCH" / "walk_forward" / run.id / "0001"
    checked = invoke(copy, "check", "SWITCH", "--models", str(fold), "--quick")
    assert "leave no bars to test on" not in checked.stderr
    assert checked.returncode in (0, 1), checked.stderr


def test_series_without_common_bars_are_not_compared_without_an_error(copy: Path, candles: pd.DataFrame) -> None:
    earlier = candles.set_axis(candles.index - pd.Timedelta("2000D")).iloc[:900]
    other = to_csv(earlier, copy / "data" / "csv" / "EARLIER.csv")
    ran = invoke(copy, "walk-forward", str(other), "SWITCH", *PLAN, *TRADED, "--regime-source", "detector")
    assert ran.returncode == 0, ran.stderr
    assert "these runs have 0 bars in common" in ran.stderr


def test_two_files_of_one_name_are_an_error_before_training(workspace: Path, tmp_path: Path) -> None:
    other = shutil.copy(workspace / "data" / "csv" / "SWITCH.csv", tmp_path / "SWITCH.csv")
    failed = invoke(workspace, "walk-forward", "SWITCH", str(other), *PLAN)
    assert failed.returncode == 2
    assert f"two of SWITCH, {other} have the same name" in failed.stderr


def test_labels_keep_their_meaning_and_the_run_says_that_their_names_fail(
    labelled: pd.DataFrame, tmp_path: Path
) -> None:
    fallen = labelled.assign(regime=2 - labelled["regime"])  # prices fall in the regime named bullish
    file = to_csv(fallen, tmp_path / "FALLEN.csv")
    ran = invoke(tmp_path, "walk-forward", str(file), *PLAN, *TRADED, "--keep-models")
    assert ran.returncode == 0, ran.stderr
    assert "In 3 of 3 folds the names of the regimes do not hold" in ran.stdout
    (run,) = runs_of(tmp_path, "FALLEN")
    kept = sorted((tmp_path / "models" / "trained" / "FALLEN" / "walk_forward" / run.id).iterdir())
    for folder, stop in zip(kept, (600, 800, 1000), strict=True):
        guessed = Forecaster(ModelSet.load(folder)).forecast(fallen.iloc[stop - 600 : stop])["regime"]
        known = guessed.dropna().index
        assert (guessed[known] == fallen.loc[known, "regime"]).mean() > 0.5  # its own numbers, in every fold


def test_a_missing_regime_column_is_an_error_before_training(workspace: Path) -> None:
    failed = invoke(workspace, "walk-forward", *PLAN, "--regime-source", "column")
    assert failed.returncode == 2
    assert "SWITCH: has no column 'regime'" in failed.stderr
    assert not checkpoint(workspace).exists()


def test_recorded_forecasts_fix_candles_settings_and_models(copy: Path) -> None:
    (run,) = runs_of(copy)
    refused = invoke(copy, "backtest", "SWITCH", "--forecasts", run.id)
    assert refused.returncode == 2
    assert "DATASET cannot be used with --forecasts" in refused.stderr
    candles = read_candles(run.file)
    candles.iloc[-100::2, candles.columns.get_indexer(["high", "close"])] *= 1.01
    config = run.folder / "config.toml"
    config.write_text(config.read_text().replace(str(run.file), str(to_csv(candles, copy / "CHANGED.csv"))))
    changed = invoke(copy, "backtest", "--forecasts", run.id)
    assert changed.returncode == 2
    assert "its bars have changed since" in changed.stderr
    gone = invoke(copy, "backtest", "--forecasts", str(copy / "nowhere"))
    assert gone.returncode == 2
    assert "there is no such run" in gone.stderr


def test_recorded_forecasts_can_only_be_traded_on_their_own_bars(workspace: Path) -> None:
    (run,) = runs_of(workspace)
    failed = invoke(workspace, "backtest", "--forecasts", run.id, "--end", "2022-02-01")  # the first fold trades later
    assert failed.returncode == 2
    assert f"the forecasts of {run.first_bar} to {run.last_bar} share no two bars in the range" in failed.stderr
    assert runs_of(workspace) == [run]


def test_several_csvs_are_compared_on_one_page(copy: Path) -> None:
    other = to_csv(switching_candles(900, seed=3).drop(columns="regime"), copy / "data" / "csv" / "OTHER.csv")
    ran = invoke(copy, "walk-forward", str(other), "SWITCH", *PLAN, *TRADED)
    assert ran.returncode == 0, ran.stderr
    page = (copy / "results" / "compare.html").read_text()
    assert "OTHER" in page
    assert "SWITCH" in page
    assert figures(runs_of(copy)[-1]) == figures(runs_of(copy)[0])


def test_a_user_detector_is_fitted_in_worker_processes(copy: Path) -> None:
    (copy / "regimes.toml").write_text(f'code = ["{ROOT / "runners" / "examples" / "own_code.py"}"]\n')
    ran = command(copy, "walk-forward", *PLAN, "--detector", "mean_reversion", cwd=copy)
    assert ran.returncode == 0, ran.stderr
    assert runs_of(copy)[-1].training.settings["detector"] == "mean_reversion"


@pytest.fixture(scope="module")
def cluster() -> Iterator[tuple[str, list[int]]]:
    """A Dask cluster of two worker processes: its address, and their process ids."""
    distributed, dask = pytest.importorskip("distributed"), pytest.importorskip("dask")
    patience = {f"distributed.comm.timeouts.{what}": f"{PATIENCE_S} s" for what in ("connect", "tcp")}
    with (
        dask.config.set(patience),
        distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as local,
    ):
        with distributed.Client(local, timeout=PATIENCE_S) as client:
            pids = list(client.run(os.getpid).values())
        yield local.scheduler_address, pids


def test_a_cluster_that_loses_a_worker_gives_the_same_models(
    workspace: Path, candles: pd.DataFrame, cluster: tuple[str, list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runners.backtesting.cluster._SECONDS_TO_CONNECT", PATIENCE_S)
    address, pids = cluster
    (run,) = runs_of(workspace)
    kept = workspace / "models" / "trained" / "SWITCH" / "walk_forward" / run.id
    trained: dict[FoldId, ModelSet] = {}
    with workers(address, None):
        for fold, model_set in fit_folds({"SWITCH": candles}, TrainSettings(**SMALL), SCHEDULE, {}):
            if not trained:
                os.kill(pids[0], signal.SIGKILL)
            trained[fold] = model_set
    for fold, model_set in trained.items():
        local = ModelSet.load(fold_folder(kept, fold.number))
        assert model_set.detector.parameters() == local.detector.parameters()
        for regime, expert in model_set.experts.items():
            for name, value in expert.networks[0].state_dict().items():
                assert value.equal(local.experts[regime].networks[0].state_dict()[name])


def test_the_error_without_dask_says_how_to_install_it(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    failed = invoke(workspace, "walk-forward", *PLAN, "--cluster", "tcp://127.0.0.1:9")
    assert failed.returncode == 2
    assert "--cluster needs Dask: pip install -c constraints.txt -e '.[cluster]'" in failed.stderr


def test_a_cluster_that_cannot_be_reached_is_an_error(workspace: Path) -> None:
    failed = invoke(workspace, "walk-forward", *PLAN, "--cluster", "tcp://127.0.0.1:9")
    assert failed.returncode == 2
    assert "no Dask scheduler answers" in failed.stderr
