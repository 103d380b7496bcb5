"""What another program reads: with --json standard output is JSON, and nothing else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from models import ModelSet
from runners.backtesting.settings import BacktestSettings
from tests.conftest import invoke, make_workspace


@pytest.fixture(scope="module")
def workspace(candles: pd.DataFrame, model_set: ModelSet, tmp_path_factory: pytest.TempPathFactory) -> Path:
    eager = BacktestSettings(long_threshold=0.0002, short_threshold=-0.0002)
    return make_workspace(tmp_path_factory.mktemp("place") / "home", candles, model_set, BacktestSettings(), eager)


def told(workspace: Path, name: str, *arguments: str) -> Any:
    ran = invoke(workspace, name, *arguments, "--json")
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout)


def test_runs_are_told_with_all_their_figures_in_the_order_asked_for(workspace: Path) -> None:
    runs = told(workspace, "runs", "--sort", "sharpe")
    assert len(runs) == 2
    assert runs[0]["sharpe"] <= runs[1]["sharpe"]
    for run in runs:
        written = json.loads((Path(run["folder"]) / "metrics.json").read_text())
        assert {name: run[name] for name in written["strategy"]} == written["strategy"]
        assert (run["dataset"], run["run"], run["kind"]) == ("SWITCH", Path(run["folder"]).name, "backtest")
        assert 0 <= run["deflated_sharpe"] <= 1


def test_a_backtest_tells_what_it_wrote(workspace: Path) -> None:
    run = told(workspace, "backtest", "SWITCH", "--exposure", "0.5", "--note", "half")
    assert run.pop("trials") >= 2
    assert 0 <= run.pop("deflated_sharpe") <= 1
    folder = Path(run.pop("folder"))
    assert folder.name == run.pop("run")
    assert run == json.loads((folder / "metrics.json").read_text())
    again = told(workspace, "backtest", "--forecasts", folder.name, "--exposure", "0.4")
    assert again["strategy"]["trades"] == run["strategy"]["trades"]


def test_a_notice_stays_out_of_the_json(workspace: Path) -> None:
    folder = Path(told(workspace, "runs")[0]["folder"])
    config = folder / "config.toml"
    config.write_text(config.read_text().replace('fingerprint = "', 'fingerprint = "0'))
    ran = invoke(workspace, "backtest", "--config", str(config), "--json")
    assert "has changed since the run" in ran.stderr
    assert json.loads(ran.stdout)["dataset"] == "SWITCH"


def test_an_evaluation_tells_what_it_wrote(workspace: Path) -> None:
    found = told(workspace, "evaluate", "SWITCH")
    folder = Path(found.pop("folder"))
    assert found == json.loads((folder / "evaluation.json").read_text())


def test_a_mistake_leaves_standard_output_empty(workspace: Path) -> None:
    for name in ("backtest", "evaluate", "compare"):
        ran = invoke(workspace, name, "NOTHING", "--json")
        assert (ran.returncode, ran.stdout) == (2, "")
        assert ran.stderr.startswith("Error: ")
