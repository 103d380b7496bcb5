"""Files of own code: what a model set remembers of them, and names that they may not take."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest

from tests.conftest import ROOT, SMALL, invoke, own_code_removed, to_csv

FEATURE = """from data.features import feature
from strategies import LSTMRegimeStrategy

@feature("last_change", lookback=1)
def last_change(candles):
    return candles["close"].diff().to_numpy() * 1.0
"""
DETECTOR = (ROOT / "runners" / "examples" / "own_code.py").read_text()
STRATEGY = "from strategies import LSTMRegimeStrategy\n\nclass Mine(LSTMRegimeStrategy):\n    pass\n"


@pytest.fixture(scope="module")
def made(candles: pd.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with three files of own code, and a run of a set that depends on two of them."""
    workspace = tmp_path_factory.mktemp("home")
    (workspace / "data" / "csv").mkdir(parents=True)
    to_csv(candles, workspace / "data" / "csv" / "SWITCH.csv")
    for name, text in {"features": FEATURE, "detectors": DETECTOR, "trading": STRATEGY}.items():
        (workspace / f"{name}.py").write_text(text)
    (workspace / "regimes.toml").write_text('code = ["features.py", "detectors.py", "trading.py"]\n')
    with own_code_removed():
        train(workspace, "--features", "log_return,last_change", "--detector", "mean_reversion")
        assert invoke(workspace, "backtest").returncode == 0
    return workspace


@pytest.fixture
def workspace(made: Path, tmp_path: Path) -> Path:
    """A copy to change."""
    return Path(shutil.copytree(made, tmp_path / "home"))


def train(workspace: Path, *options: str) -> Path:
    small = [f"--{name.replace('_', '-')}={value}" for name, value in SMALL.items()]
    ran = invoke(workspace, "train", *small, *options)
    assert ran.returncode == 0, ran.stderr
    return max((workspace / "models" / "trained" / "SWITCH").glob("2*"))


def edit(file: Path) -> None:
    file.write_text(file.read_text() + "# another comment\n")


@pytest.mark.parametrize("name", ["features.py", "detectors.py"])
def test_every_command_refuses_a_set_whose_own_code_has_changed(workspace: Path, name: str) -> None:
    (config,) = (workspace / "results" / "SWITCH").glob("2*/config.toml")
    commands = [["backtest"], ["backtest", "--config", str(config)], ["evaluate"], ["check", "--quick"], ["retrain"]]
    commands.append(["live", "SWITCH", "--replay"])
    before = (workspace / name).read_text()
    edit(workspace / name)
    for command in commands:
        ran = invoke(workspace, *command)
        assert ran.returncode == 2, command
        assert f"was trained with a feature or detector from {name} (sha256 " in ran.stderr
        assert "which has changed since. Train again, or bring the old file back" in ran.stderr
    (workspace / name).write_text(before)
    assert invoke(workspace, "evaluate").returncode == 0


def test_a_set_does_not_depend_on_own_code_that_it_does_not_use(workspace: Path) -> None:
    edit(workspace / "trading.py")
    assert invoke(workspace, "evaluate").returncode == 0
    plain = train(workspace)
    assert "code" not in json.loads((plain / "model_set.json").read_text())["provenance"]
    for name in ("features.py", "detectors.py", "trading.py"):
        edit(workspace / name)
    assert invoke(workspace, "evaluate").returncode == 0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (FEATURE.replace("last_change", "rsi"), "mine.py, line 4: SettingsError: the feature 'rsi' of "),
        (FEATURE, "mine.py, line 4: SettingsError: the feature 'last_change' of "),
        (DETECTOR.replace("close_to_mean", "close_to_average"), "the detector 'mean_reversion' of "),
        (DETECTOR.replace("close_to_mean", "a").replace("mean_reversion", "hmm"), "the detector 'hmm' of "),
    ],
)
def test_own_code_cannot_take_a_name_that_is_defined_already(workspace: Path, text: str, message: str) -> None:
    (workspace / "mine.py").write_text(text)
    (workspace / "regimes.toml").write_text('code = ["features.py", "detectors.py", "mine.py"]\n')
    ran = invoke(workspace, "evaluate")
    assert ran.returncode == 2
    assert message in ran.stderr
    assert "is already defined in" in ran.stderr
