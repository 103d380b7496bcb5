"""With --json, standard output is JSON and nothing else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from models import ModelSet
from runners.backtesting.runs import read_runs
from runners.backtesting.settings import BacktestSettings
from runners.backtesting.trial_records import BACKTEST, EVALUATION
from runners.backtesting.trials import read_trials, trials_of
from tests.conftest import invoke, make_workspace


@pytest.fixture(scope="module")
def workspace(candles: pd.DataFrame, model_set: ModelSet, tmp_path_factory: pytest.TempPathFactory) -> Path:
    eager = BacktestSettings(long_threshold=0.0002, short_threshold=-0.0002)
    return make_workspace(tmp_path_factory.mktemp("place") / "home", candles, model_set, BacktestSettings(), eager)


def json_output(workspace: Path, name: str, *arguments: str) -> Any:
    ran = invoke(workspace, name, *arguments, "--json")
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout)


def test_runs_are_listed_with_all_figures_in_the_requested_order(workspace: Path) -> None:
    runs = json_output(workspace, "runs", "--sort", "sharpe")
    assert len(runs) == 2
    assert runs[0]["sharpe"] <= runs[1]["sharpe"]
    for run in runs:
        written = json.loads((Path(run["folder"]) / "metrics.json").read_text())
        assert {name: run[name] for name in written["strategy"]} == written["strategy"]
        assert (run["dataset"], run["run"], run["kind"]) == ("SWITCH", Path(run["folder"]).name, "backtest")
        assert 0 <= run["deflated_sharpe"] <= 1
        assert (run["trials"], 1 <= run["effective_trials"] <= 2) == (2, True)


def test_a_backtest_prints_what_it_wrote(workspace: Path) -> None:
    run = json_output(workspace, "backtest", "SWITCH", "--exposure", "0.5", "--note", "half")
    assert run.pop("trials") >= 2
    assert 1 < run.pop("effective_trials") <= 3
    assert 0 <= run.pop("deflated_sharpe") <= 1
    assert run.pop("mark") == ""
    folder = Path(run.pop("folder"))
    assert folder.name == run.pop("run")
    assert run == json.loads((folder / "metrics.json").read_text())
    again = json_output(workspace, "backtest", "--forecasts", folder.name, "--exposure", "0.4")
    assert again["strategy"]["trades"] == run["strategy"]["trades"]


def test_a_notice_is_not_part_of_the_json(workspace: Path) -> None:
    folder = Path(json_output(workspace, "runs")[0]["folder"])
    config = folder / "config.toml"
    config.write_text(config.read_text().replace('fingerprint = "', 'fingerprint = "0'))
    ran = invoke(workspace, "backtest", "--config", str(config), "--json")
    assert "has changed since the run" in ran.stderr
    assert json.loads(ran.stdout)["dataset"] == "SWITCH"


def test_an_evaluation_prints_what_it_wrote(workspace: Path) -> None:
    evaluation = json_output(workspace, "evaluate", "SWITCH")
    folder = Path(evaluation.pop("folder"))
    assert evaluation == json.loads((folder / "evaluation.json").read_text())


def test_an_evaluation_is_a_look_at_the_bars_that_a_backtest_of_the_same_models_trades(workspace: Path) -> None:
    json_output(workspace, "evaluate", "SWITCH")
    records = read_trials(workspace / "results").records
    (look, *_), (run, *_) = ([one for one in records if one.kind == kind] for kind in (EVALUATION, BACKTEST))
    assert (look.training, look.bars.months) == (run.training, run.bars.months)
    traded = read_runs(workspace / "results" / "SWITCH").runs[0]
    assert "evaluation" not in trials_of(traded, read_trials(workspace / "results")).sentence()


def test_an_error_leaves_standard_output_empty(workspace: Path) -> None:
    for name in ("backtest", "evaluate", "compare"):
        ran = invoke(workspace, name, "NOTHING", "--json")
        assert (ran.returncode, ran.stdout) == (2, "")
        assert ran.stderr.startswith("Error: ")
