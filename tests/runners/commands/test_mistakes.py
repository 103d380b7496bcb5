"""A user error is one line that says what to do, without a traceback unless --verbose is given."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import typer

from models import ModelSet
from runners.cli import COMMANDS, app, load_command
from runners.commands.options import reporting_errors
from tests.conftest import ROOT, SMALL, invoke, make_workspace, switching_candles, to_csv
from training import TrainSettings, train

FILES = (ROOT / "docs" / "files.md").read_text(encoding="utf-8")


def ended(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """Exit status of ``regimes`` with these arguments."""
    monkeypatch.setattr(sys, "argv", ["regimes", *arguments])
    with pytest.raises(SystemExit) as exit_:
        app()
    return int(exit_.value.code or 0)


def interrupted() -> None:
    raise KeyboardInterrupt


def faulty() -> None:
    raise ZeroDivisionError("ours")


def forbidden() -> None:
    raise PermissionError(13, "Permission denied", "data.csv")


def test_exit_statuses_match_the_manual(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert ended(monkeypatch, "--version") == 0
    assert ended(monkeypatch, "train", "nothing.csv") == 2
    assert capsys.readouterr().err == "Error: data/csv/nothing.csv: there is no such file.\n"
    assert ended(monkeypatch, "trian") == 2
    assert "Did you mean 'train'" in capsys.readouterr().err
    assert ended(monkeypatch, "train", "--widnow", "3") == 2
    assert "Possible options: --min-windows, --window" in capsys.readouterr().err
    documented = {int(status) for status in re.findall(r"^\| (\d+) \|", FILES, flags=re.MULTILINE)}
    assert documented == {0, 1, 2, 3, 4, 130}  # 1 is `regimes check`'s and `doctor`'s, tested with them


@pytest.mark.parametrize(("command", "status"), [(interrupted, 130), (faulty, 3), (forbidden, 2)])
def test_the_exit_status_shows_why_a_command_ends(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], command: object, status: int
) -> None:
    monkeypatch.setattr(sys, "argv", ["regimes"])
    alone = typer.Typer(pretty_exceptions_enable=False)
    alone.command()(reporting_errors(command))  # type: ignore[arg-type]
    with pytest.raises(SystemExit) as exit_:
        alone()
    assert exit_.value.code == status
    errors = capsys.readouterr().err
    if command is faulty:
        assert "ZeroDivisionError: ours" in errors
        assert "This is a bug in regimes. Please report it with the output of `regimes doctor`." in errors
    if command is forbidden:
        assert errors == "Error: data.csv: Permission denied.\n"


def test_verbose_shows_where_an_error_comes_from(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "bad.toml").write_text("[train\n")
    for verbose in ([], ["--verbose"]):
        assert ended(monkeypatch, "train", "x.csv", "--config", str(tmp_path / "bad.toml"), *verbose) == 2
        errors = capsys.readouterr().err
        assert "bad.toml: is not a TOML file" in errors
        assert ("Traceback" in errors) == bool(verbose)
        assert ("TOMLDecodeError" in errors) == bool(verbose)


def test_every_command_offers_it() -> None:
    commands = {name: load_command(name) for name in COMMANDS}
    for name in ("runs", "live"):
        commands |= commands.pop(name).commands  # type: ignore[union-attr]
    without = [name for name, one in commands.items() if "verbose" not in {parameter.name for parameter in one.params}]
    assert without == []


@pytest.fixture(scope="module")
def workspace(candles: pd.DataFrame, model_set: ModelSet, tmp_path_factory: pytest.TempPathFactory) -> Path:
    workspace = make_workspace(tmp_path_factory.mktemp("home"), candles, model_set)
    (workspace / "binary").write_bytes(bytes(range(256)))
    (workspace / "table.toml").write_text("train = 3\n")
    (workspace / "entry.toml").write_text("[trian]\nwindow = 3\n")
    (workspace / "file.toml").write_text("file = 3\n")
    return workspace


FILE_COMMANDS = ["train", "optimize", "backtest", "walk-forward", "retrain"]


@pytest.mark.parametrize("name", FILE_COMMANDS)
def test_every_command_rejects_a_file_without_candles(workspace: Path, name: str) -> None:
    refused = {
        "SWITHC.csv": r"SWITHC\.csv: there is no such file\. Did you mean 'SWITCH\.csv'\?",
        str(workspace): "is a folder. Name a CSV file",
        str(workspace / "binary"): "is not a text file",
    }
    for file, message in refused.items():
        ran = invoke(workspace, name, file)
        assert ran.returncode == 2
        assert re.search(message, ran.stderr), ran.stderr


@pytest.mark.parametrize("name", ["train", "optimize", "backtest", "walk-forward"])
def test_every_command_rejects_an_invalid_settings_file(workspace: Path, name: str) -> None:
    refused = {
        "binary": "is not a TOML file",
        "nothing.toml": "there is no such file",
        ".": "cannot be read .Is a directory",
        "table.toml": "train is 3, but must be a table",
        "entry.toml": "there is no entry 'trian'. Did you mean 'train'?",
        "file.toml": "file is 3, but must be a text",
    }
    for file, message in refused.items():
        ran = invoke(workspace, name, "SWITCH", "--config", str(workspace / file))
        assert ran.returncode == 2
        assert re.search(message, ran.stderr), ran.stderr


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (["train", "SWITCH", "--features", "rsi,momentm"], r"feature 'momentm' .* Did you mean 'momentum'\?"),
        (["train", "SWITCH", "--detector", "tredn"], r"no detector 'tredn'.* Did you mean 'trend'\?"),
        (
            ["train", "SWITCH", "--detector", "labels"],
            "labels' needs a column 'regime', which the candles do not",
        ),
        (["evaluate", "SWITHC"], r"there is no model set\. Train one: .* Did you mean 'SWITCH'\?"),
        (["backtest", "SWITCH", "--models", "binary"], "binary: there is no model set"),
        (["compare", "SWITHC"], "there is no such run in .* lists all runs"),
        (["runs", "rm", "*"], r"\*: there is no such run"),
        (["sweep", "["], r"\[: there is no such run"),
        (["check", "nothing"], "there is no model set"),
    ],
)
def test_the_error_for_an_unknown_name_suggests_the_nearest(workspace: Path, command: list[str], message: str) -> None:
    name, *arguments = command
    before = ["rm"] if arguments[0] == "rm" else []
    ran = invoke(workspace, name, *before, *arguments[len(before) :])
    assert ran.returncode == 2
    assert re.search(message, ran.stderr), ran.stderr


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (["backtest", "--home", "."], "--home is called --workspace now"),
        (["backtest", "--between=flat"], "--between is called --neutral now"),
        (["evaluate", "--candles", "SWITCH"], "--candles is called the argument DATASET now"),
        (["live", "status", "--dataset", "SWITCH"], "--dataset is called the argument DATASET now"),
        (["live", "--patience", "3"], "--patience is called --retry-seconds now"),
    ],
)
def test_the_error_for_a_renamed_flag_gives_the_new_name(workspace: Path, command: list[str], message: str) -> None:
    ran = invoke(workspace, *command)
    assert (ran.returncode, message in " ".join(ran.stderr.split())) == (2, True), ran.stderr


def test_the_error_for_a_renamed_setting_gives_the_new_name(tmp_path: Path) -> None:
    for text, message in (
        ('home = "."\n', "home is called workspace now. Rename it."),
        ("[backtest]\nbetween = 'flat'\n", "between is called neutral now. Rename it."),
        ("[live]\npatience = 3\n", "patience is called retry_seconds now. Rename it."),
    ):
        (tmp_path / "regimes.toml").write_text(text)
        ran = invoke(tmp_path, "config")
        assert (ran.returncode, message in ran.stderr) == (2, True), ran.stderr


def test_the_error_for_a_mistyped_run_suggests_the_nearest(
    tmp_path: Path, candles: pd.DataFrame, model_set: ModelSet
) -> None:
    workspace = make_workspace(tmp_path, candles, model_set)
    (workspace / "results" / "SWITCH").mkdir(parents=True)
    assert "Did you mean 'SWITCH'?" in invoke(workspace, "compare", "SWITHC").stderr


def test_candles_that_the_models_cannot_forecast_are_an_error_that_names_the_file(
    tmp_path: Path, candles: pd.DataFrame, model_set: ModelSet
) -> None:
    workspace = make_workspace(tmp_path, candles, model_set)
    daily = to_csv(candles.iloc[::6], tmp_path / "DAILY.csv")
    for ran in (
        invoke(workspace, "backtest", str(daily), "--models", "SWITCH"),
        invoke(workspace, "backtest", str(daily), "--models", str(workspace / "models" / "trained" / "SWITCH")),
        invoke(workspace, "evaluate", str(daily), "--models", str(workspace / "models" / "trained" / "SWITCH")),
    ):
        assert ran.returncode == 2
    assert "DAILY.csv: bars are 1 d apart, but the models of SWITCH were trained on bars 4 h apart" in ran.stderr

    funding = candles.assign(funding=np.sin(np.arange(len(candles))))
    reads_it = train(funding, "FUNDING", TrainSettings(**SMALL, detector="trend", features=("log_return", "funding")))
    models = str(reads_it.save(workspace / "models" / "trained"))
    for ran in (
        invoke(workspace, "backtest", "SWITCH", "--models", models),
        invoke(workspace, "evaluate", "SWITCH", "--models", models),
    ):
        assert ran.returncode == 2
        assert re.search(r"SWITCH\.csv: has no column funding, which the models of FUNDING read\.", ran.stderr)


def test_a_file_of_one_bar_is_an_error_that_names_the_file(
    tmp_path: Path, candles: pd.DataFrame, model_set: ModelSet
) -> None:
    workspace = make_workspace(tmp_path, candles, model_set)
    models = str(workspace / "models" / "trained" / "SWITCH")
    one = str(to_csv(candles.iloc[:1], tmp_path / "ONE.csv"))
    messages = {
        ("train", one): r"ONE: has 1 bars, but at least \d+ are needed: .* Bring more history",
        ("optimize", one): r"ONE: has 1 bars, but at least \d+ are needed: .* Bring more history",
        ("walk-forward", one): r"ONE: there are 1 bars; 1 to train on .* or bring more history",
        ("backtest", one, "--models", models): r"ONE\.csv: has 1 bars, but at least 2 are needed\. Bring more history",
        ("evaluate", one, "--models", models): r"ONE\.csv: has 1 bars, but at least 2 are needed\. Bring more history",
    }
    for command, message in messages.items():
        ran = invoke(workspace, *command)
        assert ran.returncode == 2
        assert re.search(message, ran.stderr), ran.stderr


def test_trading_another_symbol_is_a_warning_and_results_get_its_name(
    tmp_path: Path, candles: pd.DataFrame, model_set: ModelSet
) -> None:
    workspace = make_workspace(tmp_path, candles, model_set)
    other = switching_candles(seed=7).drop(columns="regime")
    to_csv(other, workspace / "data" / "csv" / "OTHER.csv")
    ran = invoke(workspace, "backtest", "OTHER", "--models", str(workspace / "models" / "trained" / "SWITCH"))
    assert ran.returncode == 0
    assert "The models were trained on SWITCH, not on OTHER" in ran.stderr
    assert ran.stdout.startswith("OTHER\n") or "OTHER" in ran.stdout.splitlines()[0]
    assert [path.name for path in (workspace / "results").iterdir()] == ["OTHER"]


def test_a_label_that_training_has_not_seen_is_a_warning(tmp_path: Path, labelled: pd.DataFrame) -> None:
    late = labelled.copy()
    late.loc[late.index[-100:], "regime"] = 3
    file = to_csv(late, tmp_path / "LATE.csv")
    small = [f"--{name.replace('_', '-')}={value}" for name, value in SMALL.items()]
    ran = invoke(tmp_path, "train", str(file), *small)
    assert ran.returncode == 0
    assert f"100 bars, the first at {late.index[-100]:%Y-%m-%d %H:%M}, have the regime 3, which is not in" in ran.stderr
    assert "there is no expert for it" in ran.stderr


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"regime": 0.0}, "ONE: the training part's column 'regime' holds only 0; a classifier needs two"),
        (
            {"open": 10.0, "high": 10.0, "low": 10.0, "close": 10.0},
            "ONE: the close does not change in the training part",
        ),
    ],
)
def test_candles_without_information_are_an_error_that_names_the_dataset(
    tmp_path: Path, labelled: pd.DataFrame, changed: dict[str, float], message: str
) -> None:
    file = to_csv(labelled.assign(**changed), tmp_path / "ONE.csv")
    ran = invoke(tmp_path, "train", str(file))
    assert ran.returncode == 2
    assert message in ran.stderr


def test_no_dataset_is_trained_if_one_is_refused(tmp_path: Path, candles: pd.DataFrame) -> None:
    good, bad = to_csv(candles, tmp_path / "GOOD.csv"), to_csv(candles.iloc[::-1], tmp_path / "BAD.csv")
    ran = invoke(tmp_path, "train", str(good), str(bad))
    assert ran.returncode == 2
    assert "BAD.csv, line 3: timestamp" in ran.stderr
    assert not (tmp_path / "models").exists()
