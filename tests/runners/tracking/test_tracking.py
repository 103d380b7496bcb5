"""Reads trainings from TensorBoard's files and backtests from an MLflow store, with those libraries."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from models import ModelSet
from runners.backtesting.runs import find_run
from runners.tracking.mlflow import log_run, open_store
from runners.tracking.tensorboard import TensorBoardLog
from tests.conftest import ROOT, SMALL, invoke, to_csv
from training import TrainSettings
from training.trainer import Progress

LOSSES = {"loss/train": "train_losses", "loss/validation": "validation_losses"}
QUICK = [f"--{name.replace('_', '-')}={value}" for name, value in SMALL.items()]


def events(folder: Path) -> Any:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    return EventAccumulator(str(folder)).Reload()


def hyperparameters(folder: Path) -> dict[str, Any]:
    """A run's row in TensorBoard's table of settings."""
    from tensorboard.plugins.hparams.metadata import SESSION_START_INFO_TAG
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

    content = events(folder).SummaryMetadata(SESSION_START_INFO_TAG).plugin_data.content
    given = HParamsPluginData.FromString(content).session_start_info.hparams
    return {name: getattr(value, value.WhichOneof("kind")) for name, value in given.items()}


@pytest.fixture(scope="module")
def workspace(candles: pd.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace where `regimes train --tensorboard` ran once."""
    workspace = tmp_path_factory.mktemp("home")
    (workspace / "data" / "csv").mkdir(parents=True)
    to_csv(candles, workspace / "data" / "csv" / "SWITCH.csv")
    ran = invoke(workspace, "train", "--tensorboard", str(workspace / "logs"), *QUICK)
    assert ran.returncode == 0, ran.stderr
    return workspace


def the_training(logs: Path) -> Path:
    (folder,) = (logs / "SWITCH").iterdir()
    return folder


def test_tensorboard_shows_the_losses_that_the_model_set_holds(workspace: Path) -> None:
    (models,) = (path for path in (workspace / "models" / "trained" / "SWITCH").iterdir() if path.is_dir())
    networks = {ensemble.name for ensemble in ModelSet.load(models).ensembles}
    training = the_training(workspace / "logs")
    assert {path.name for path in training.iterdir()} == {f"{name}_{member}" for name in networks for member in (1, 2)}
    for name, member in itertools.product(networks, (1, 2)):
        written = json.loads((models / f"LSTM_SWITCH_{name}.json").read_text())["training"]["members"][member - 1]
        log = events(training / f"{name}_{member}")
        for tag, losses in LOSSES.items():
            assert [event.step for event in log.Scalars(tag)] == list(range(1, SMALL["epochs"] + 1))
            assert [event.value for event in log.Scalars(tag)] == np.float32(written[losses]).tolist()
        assert set(log.Tags()["scalars"]) == set(LOSSES)
        assert log.Tensors("models/text_summary")[0].tensor_proto.string_val[0].decode() == str(models.resolve())


def test_tensorboard_compares_the_settings_of_each_network(tmp_path: Path) -> None:
    settings = TrainSettings(**SMALL, features="log_return,rsi", networks={"bullish": {"window": 9}})
    with TensorBoardLog(tmp_path, "SWITCH", settings) as log:
        log.on_epoch(Progress("all", 1, 1, 0.9))
        log.on_epoch(Progress("bullish", 1, 1, 0.9))
    all_regimes, bullish = (hyperparameters(the_training(tmp_path) / name) for name in ("all_1", "bullish_1"))
    assert (
        all_regimes.items()
        >= {**SMALL, "features": "log_return,rsi", "lr": 0.005, "seed": 0, "detector": "auto"}.items()
    )
    assert bullish == {**all_regimes, "window": 9}


def test_an_interrupted_training_leaves_the_losses_so_far(tmp_path: Path) -> None:
    log = TensorBoardLog(tmp_path, "SWITCH", TrainSettings())
    for epoch, loss in ((1, 0.75), (2, 0.5)):
        log.on_epoch(Progress("all", 1, epoch, loss))
        on_disk = events(the_training(tmp_path) / "all_1").Scalars("loss/validation")  # without closing the log
        assert (on_disk[-1].step, on_disk[-1].value) == (epoch, loss)
    log.__exit__()


def test_without_tensorboard_nothing_is_trained(
    workspace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.startswith("torch.utils.tensorboard")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    ran = invoke(workspace, "train", "SWITCH", "--tensorboard", str(tmp_path / "logs"))
    assert ran.returncode == 2
    assert "pip install -c constraints.txt -e '.[tensorboard]'" in ran.stderr
    assert not (tmp_path / "logs").exists()


def test_a_folder_that_cannot_be_written_to_is_an_error(workspace: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    ran = invoke(workspace, "train", "SWITCH", "--tensorboard", str(tmp_path / "file"))
    assert ran.returncode == 2
    assert f"--tensorboard {tmp_path / 'file'}: cannot be written to" in ran.stderr


def run_folders(workspace: Path) -> list[Path]:
    return sorted((workspace / "results" / "SWITCH").glob("2*"))


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The client of one store for all tests: MLflow takes seconds to set up its tables."""
    pytest.importorskip("mlflow")
    return open_store(f"sqlite:///{tmp_path_factory.mktemp('mlflow') / 'mlflow.db'}")


def newest_run(client: Any) -> Any:
    experiment = client.get_experiment_by_name("SWITCH")
    return client.search_runs([experiment.experiment_id], order_by=["attributes.start_time DESC"])[0]


def log_backtest(workspace: Path, client: Any, *arguments: str) -> tuple[Any, Path]:
    """`regimes backtest --mlflow`: the run in MLflow, and its folder."""
    ran = invoke(workspace, "backtest", "--mlflow", client.tracking_uri, *arguments)
    assert ran.returncode == 0, ran.stderr
    return newest_run(client), run_folders(workspace)[-1]


@pytest.fixture(scope="module")
def logged_run(workspace: Path, client: Any) -> tuple[Any, Path]:
    """A backtest in MLflow, and its folder."""
    return log_backtest(workspace, client, "SWITCH", "--long-threshold", "0.0002", "--note", "a first try")


def test_mlflow_stores_figures_settings_and_files_of_a_run(
    workspace: Path, client: Any, logged_run: tuple[Any, Path], tmp_path: Path
) -> None:
    logged, folder = logged_run
    figures = json.loads((folder / "metrics.json").read_text())
    assert logged.data.metrics == {
        f"{strategy}/{name}": value
        for strategy in ("strategy", "buy_and_hold")
        for name, value in figures[strategy].items()
        if value is not None
    }
    params = logged.data.params
    assert (params["backtest.long_threshold"], params["backtest.neutral"]) == ("0.0002", "hold")
    assert {name: params[f"train.{name}"] for name in SMALL} == {name: str(value) for name, value in SMALL.items()}
    assert (logged.info.status, logged.info.run_name) == ("FINISHED", folder.name)
    assert (
        logged.data.tags.items()
        >= {
            "dataset": "SWITCH",
            "run": folder.name,
            "models": (workspace / "models" / "trained" / "SWITCH" / "latest").read_text().strip(),
            "fingerprint": figures["fingerprint"],
            "in_sample": "false",
            "mlflow.note.content": "a first try",
        }.items()
    )
    names = {file.path for file in client.list_artifacts(logged.info.run_id)}
    assert names == {"metrics.json", "config.toml", "report.html", "equity.csv", "forecasts.csv", "trades.csv"}
    for name in names:
        copy = client.download_artifacts(logged.info.run_id, name, str(tmp_path))
        assert Path(copy).read_bytes() == (folder / name).read_bytes()


def test_mlflow_keeps_files_beside_its_database(client: Any, logged_run: tuple[Any, Path]) -> None:
    kept = Path(client.tracking_uri.removeprefix("sqlite:///")).parent / "mlruns"
    assert Path(logged_run[0].info.artifact_uri).is_relative_to(kept)  # not in the working directory


def test_mlflow_marks_runs_that_are_not_on_unseen_bars(
    workspace: Path, client: Any, logged_run: tuple[Any, Path]
) -> None:
    run = find_run(workspace / "results", str(logged_run[1]))
    log_run(client, replace(run, in_sample=True))
    logged = newest_run(client)
    assert (logged.data.tags["in_sample"], logged.info.run_name) == ("true", f"{run.id} in-sample")


def test_mlflow_logs_runs_on_recorded_forecasts(workspace: Path, client: Any, logged_run: tuple[Any, Path]) -> None:
    source = logged_run[1]
    logged, folder = log_backtest(workspace, client, "--forecasts", source.name, "--exposure", "0.5")
    assert folder != source
    assert (logged.data.tags["run"], logged.data.tags["models"]) == (folder.name, f"of {source.name}")
    assert logged.data.params["backtest.exposure"] == "0.5"


def test_mlflow_logs_walk_forwards(workspace: Path, client: Any) -> None:
    plan = ["--train-bars", "800", "--test-bars", "400", "--jobs", "1"]
    ran = invoke(workspace, "walk-forward", *plan, *QUICK, "--mlflow", client.tracking_uri)
    assert ran.returncode == 0, ran.stderr
    logged, folder = newest_run(client), run_folders(workspace)[-1]
    assert logged.info.run_name == f"{folder.name} walk-forward"
    assert (logged.data.tags["kind"], logged.data.tags["models"]) == ("walk-forward", "one per fold")
    assert logged.data.params["walk_forward.test_bars"] == "400"


@pytest.mark.parametrize("uri", ["nonsense://here", "a/folder", "sqlite:////dev/null/mlflow.db"])
def test_a_store_that_cannot_be_used_is_an_error_before_the_backtest(workspace: Path, uri: str) -> None:
    pytest.importorskip("mlflow")
    before = run_folders(workspace)
    ran = invoke(workspace, "backtest", "SWITCH", "--mlflow", uri)
    assert ran.returncode == 2
    assert "Error: --mlflow: the store cannot be used: " in ran.stderr
    assert run_folders(workspace) == before


def test_mlflow_sends_no_telemetry() -> None:
    pytest.importorskip("mlflow")
    code = (
        "from runners.tracking import mlflow as mlflow_log\n"
        "try: mlflow_log.open_store('nonsense://here')\n"
        "except Exception as error: assert type(error).__name__ == 'SettingsError'\n"
        "from mlflow.telemetry import get_telemetry_client; print(get_telemetry_client())"
    )
    elsewhere = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}  # pytest and CI's variables turn it off, too
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=elsewhere)
    assert ran.stdout.strip() == "None"


def test_without_mlflow_nothing_is_traded(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mlflow", None)
    before = run_folders(workspace)
    ran = invoke(workspace, "backtest", "SWITCH", "--mlflow", "sqlite:///mlflow.db")
    assert ran.returncode == 2
    assert "pip install -c constraints.txt -e '.[mlflow]'" in ran.stderr
    assert run_folders(workspace) == before


def test_neither_library_is_imported_by_default() -> None:
    probe = "import sys, runners.cli; print({'tensorboard', 'mlflow', 'torch'} & set(sys.modules))"
    ran = subprocess.run([sys.executable, "-c", probe], cwd=ROOT, capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "set()"
