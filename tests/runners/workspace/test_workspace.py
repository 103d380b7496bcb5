"""`init`, `config`, `data` and `doctor` of a workspace."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

import pandas as pd
import pytest

from data.errors import DataError, SettingsError
from runners import terminal
from runners.commands.config import TABLES, commented_settings
from runners.commands.data import data as list_candles
from runners.workspace.workspace import Workspace
from tests.conftest import ROOT, command, invoke, to_csv


def regimes(workspace: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    code = f"import sys; from runners.cli import app; sys.argv = ['regimes', *{arguments!r}]; app()"
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        cwd=workspace,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT), "HOME": str(workspace)},
    )


def test_every_line_of_a_new_settings_file_can_be_uncommented() -> None:
    text = commented_settings()
    assert tomllib.loads(text) == {kind.table: {} for kind in TABLES}
    lines = [line.removeprefix("# ") for line in text.splitlines() if not line.endswith(" = ")]
    setting = [line for line in lines if " = " in line or line.startswith(("[", "    ", "]"))]
    in_file = tomllib.loads("\n".join(setting))
    assert in_file["train"].pop("networks") == {"bullish": {"window": 40}}
    for kind in TABLES:
        table = kind.table
        assert kind.from_table(in_file[table], "text") == kind()
        named = {name for name, field in kind.model_fields.items() if field.default not in (None, {})}
        assert set(in_file[table]) == named


def test_init_writes_settings_once_and_config_shows_the_source_of_values(tmp_path: Path) -> None:
    assert regimes(tmp_path, "init").returncode == 0
    assert (tmp_path / "data" / "csv").is_dir()
    assert regimes(tmp_path, "init").returncode == 2  # nothing is overwritten
    file = tmp_path / "regimes.toml"
    file.write_text(file.read_text().replace("# window = 20", "window = 33"))
    values = json.loads(regimes(tmp_path, "config", "--json").stdout)
    assert values["train.window"] == {"value": 33, "from": "regimes.toml"}
    assert values["backtest.exposure"] == {"value": 0.95, "from": "default"}
    shown = {row.split()[0]: row.split()[1:] for row in invoke(tmp_path, "config").stdout.splitlines() if "." in row}
    assert shown["train.window"] == ["33", "regimes.toml"]
    assert shown["train.networks"] == ["-", "default"]


def test_the_settings_file_names_the_workspace_unless_a_folder_is_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "regimes.toml").write_text('workspace = "elsewhere"\n')
    monkeypatch.chdir(tmp_path)
    assert Workspace.open(None).path == Path("elsewhere")
    assert Workspace.open(tmp_path).path == tmp_path


def test_a_settings_file_elsewhere_names_workspace_and_code_relative_to_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, elsewhere = tmp_path / "here", tmp_path / "elsewhere"
    for folder, workspace in ((here, "of_here"), (elsewhere, "of_elsewhere")):
        folder.mkdir()
        (folder / "marks.py").write_text("import os\nos.environ['LOADED'] = os.environ['LOADED'] + __file__ + ';'\n")
        (folder / "regimes.toml").write_text(f'workspace = "{workspace}"\ncode = ["marks.py"]\n')
    monkeypatch.chdir(here)
    for config, path, code in (
        (None, Path("of_here"), ["marks.py"]),
        (Path("regimes.toml"), Path("of_here"), ["marks.py"]),  # its code runs once
        (elsewhere / "regimes.toml", elsewhere / "of_elsewhere", ["marks.py", f"{elsewhere}/marks.py"]),
    ):
        monkeypatch.setenv("LOADED", "")
        opened = Workspace.open(None, config)
        assert (opened.path, opened.code) == (path, tuple(map(Path, code)))
        loaded = os.environ["LOADED"].split(";")[:-1]
        assert [Path(file).resolve() for file in loaded] == [Path(file).resolve() for file in code]
    assert Workspace.open(tmp_path, elsewhere / "regimes.toml").path == tmp_path  # the flag comes first


def test_the_only_csv_is_the_default_but_none_or_several_are_an_error(tmp_path: Path, labelled: pd.DataFrame) -> None:
    workspace = Workspace(tmp_path)
    workspace.csv.mkdir(parents=True)
    with pytest.raises(DataError, match="holds no CSV"):
        workspace.candle_file(None)
    only = to_csv(labelled[:3], workspace.csv / "ONE.csv")
    assert workspace.candle_file(None) == workspace.candle_file("ONE") == workspace.candle_file("ONE.csv") == only
    to_csv(labelled[:3], workspace.csv / "TWO.csv")
    with pytest.raises(DataError, match=r"holds 2 CSVs\. Name one: ONE, TWO"):
        workspace.candle_file(None)


def test_the_error_for_an_unknown_entry_suggests_the_nearest(tmp_path: Path) -> None:
    (tmp_path / "regimes.toml").write_text("[trian]\nwindow = 3\n")
    with pytest.raises(SettingsError, match=r"no entry 'trian'. Did you mean 'train'"):
        Workspace.open(tmp_path)


def test_data_lists_valid_files_and_reports_errors_of_others(tmp_path: Path, labelled: pd.DataFrame) -> None:
    folder = tmp_path / "data" / "csv"
    folder.mkdir(parents=True)
    to_csv(labelled.drop(labelled.index[[5, 6]]), folder / "SWITCH.csv")
    (folder / "BROKEN.csv").write_text("timestamp,open\n1,2\n")
    ran = command(tmp_path, "data", "--json")
    (dataset,) = json.loads(ran.stdout)["datasets"]
    assert (dataset["dataset"], dataset["bars"], dataset["missing"], dataset["regimes"]) == ("SWITCH", 1198, 2, "0 1 2")
    assert "BROKEN.csv" in ran.stderr
    assert "SWITCH" in command(tmp_path, "data").stdout


@pytest.mark.parametrize("stem", ["abc[b]y[", "[red]x", "$x{%s}<b>"])
def test_a_dataset_may_have_brackets_in_its_name(tmp_path: Path, labelled: pd.DataFrame, stem: str) -> None:
    folder = tmp_path / "data" / "csv"
    folder.mkdir(parents=True)
    to_csv(labelled, folder / f"{stem}.csv")
    assert stem in invoke(tmp_path, "data").stdout
    missing = invoke(tmp_path, "train", f"{stem}y")
    assert f"{folder}/{stem}y.csv: there is no such file. Did you mean '{stem}.csv'?" in missing.stderr


def test_a_name_that_would_lie_elsewhere_or_cannot_be_read_is_refused(tmp_path: Path, labelled: pd.DataFrame) -> None:
    folder = tmp_path / "data" / "csv"
    folder.mkdir(parents=True)
    to_csv(labelled, folder / "GOOD.csv")
    for name in ("...csv", "..csv", ".hidden.csv", "es\x1b[31mc.csv", "two\nlines.csv"):
        to_csv(labelled, folder / name)
        for refused in (["train", str(folder / name)], ["backtest", name], ["live", "forget", name]):
            ran = invoke(tmp_path, *refused)
            assert ran.returncode == 2
            assert "cannot name a dataset. Use a name that does not begin with a dot" in ran.stderr
    ran = invoke(tmp_path, "data")
    assert ran.stdout.count("4 h") == ran.stdout.count("GOOD") == 1
    assert ran.stderr.count("cannot name a dataset") == 2  # hidden files are not listed
    assert "\x1b" not in ran.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data"]


def test_data_without_a_valid_file_only_reports_errors(tmp_path: Path) -> None:
    folder = tmp_path / "data" / "csv"
    folder.mkdir(parents=True)
    (folder / "BROKEN.csv").write_text("timestamp,open\n1,2\n")
    ran = invoke(tmp_path, "data")
    assert (ran.returncode, ran.stdout) == (0, "")
    assert "BROKEN.csv: column high, low, close, volume is missing" in ran.stderr


def test_data_fits_a_terminal_of_80_columns_with_long_names(
    tmp_path: Path, labelled: pd.DataFrame, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    name = "A_name_of_a_dataset_that_is_far_longer_than_most_names_are_BTCUSDT_4h_20220101_20250707"
    folder = tmp_path / "data" / "csv"
    folder.mkdir(parents=True)
    to_csv(labelled, folder / f"{name}.csv")
    monkeypatch.setattr(terminal.out, "_width", 80)
    list_candles(tmp_path)
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    first_row = next(number for number, line in enumerate(lines) if "A_name" in line)
    assert "".join(line.split()[0] for line in lines[first_row:] if line.strip()) == name


def test_version_and_doctor_succeed(tmp_path: Path) -> None:
    assert regimes(tmp_path, "--version").stdout.startswith("regimes ")
    ran = command(tmp_path, "doctor")
    assert ran.returncode == 0
    assert "torch" in ran.stdout
    assert "writable" in ran.stdout


def test_doctor_removes_the_drafts_of_killed_commands(tmp_path: Path) -> None:
    old = [tmp_path / "results" / "X" / ".run.0123abcd", tmp_path / "data" / "csv" / ".X.csv.89efabcd"]
    kept = [
        tmp_path / "results" / ".trials.sqlite",
        tmp_path / "results" / ".hidden",
        tmp_path / "results" / ".a.0000000f",
    ]
    for path in [*old, *kept]:
        path.mkdir(parents=True)
        (path / "part").touch()
        for one in (path / "part", path):
            os.utime(one, (0, 0))
    (kept[-1] / "part").touch()  # a command is writing it
    assert "left 2 drafts" in invoke(tmp_path, "doctor").stdout
    assert invoke(tmp_path, "doctor", "--clean").stdout.count("Removed ") == 2
    assert [path.exists() for path in old] == [False, False]
    assert all(path.exists() for path in kept)


def test_doctor_reports_a_file_in_place_of_a_folder(tmp_path: Path) -> None:
    (tmp_path / "results").write_text("")
    ran = invoke(tmp_path, "doctor")
    assert ran.returncode == 1
    rows = {line.split()[0]: line.split()[1:] for line in ran.stdout.splitlines() if "writable" in line}
    assert rows[f"{tmp_path}/results"] == ["not", "writable"]
    assert rows[f"{tmp_path}/data/csv"] == ["writable"]


def test_doctor_reports_folders_that_are_not_writable() -> None:
    is_root = os.geteuid() == 0
    with tempfile.TemporaryDirectory() as folder:
        assert invoke(Path(folder), "doctor").returncode == 0
        Path(folder).chmod(0o555)
        if is_root:  # permissions do not apply to root, so be another user
            os.seteuid(65534)
        try:
            ran = invoke(Path(folder), "doctor")
        finally:
            if is_root:
                os.seteuid(0)
    assert ran.returncode == 1
    rows = [line.split() for line in ran.stdout.splitlines() if "writable" in line]
    assert rows == [[f"{folder}/{name}", "not", "writable"] for name in ("data/csv", "models/trained", "results")]


_DEEP = ".".join(["a"] * 1500)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"[train]\nwindow = " + b"9" * 5000, "is not a TOML file"),
        (b"[train]\nseed = 0x" + b"F" * 5000, "seed: Input should be at most 4294967295, but a number of thousands"),
        (b"[train]\nseed = 99999999999", "seed: Input should be at most 4294967295"),
        (b"[train]\nhidden_dim = 1_000_000", "hidden_dim: Input should be less than or equal to 10000"),
        (b"[train]\nwindow = true", "window: Input should not be true or false, but True was given"),
        (b"[train]\nwindow = 2024-01-01", "window: Input should be a valid integer, but datetime.date"),
        (b"[backtest]\ncash = inf", "cash: Input should be a finite number"),
        (b"[backtest]\ncash = nan", "cash: Input should be a finite number"),
        (b"[train]\nwindow = 3\nwindow = 4", "Cannot overwrite a value"),
        (f"[train]\nwindow.{_DEEP} = 1".encode(), "window: Input should be a valid integer"),
        (b"x = " + b"[" * 10_000, "is not a TOML file"),
        (b"[train]\n" + b"k" * 100_000 + b" = 1", "there is no setting 'kkk"),
        (b'[train]\nwindow = "' + b"k" * 100_000 + b'"', "window: Input should be a valid integer"),
        (b'workspace = "a\\u0000b"', "workspace is 'a\\x00b', but must be a text"),
        (b'code = ["a\\u0000b.py"]', "code is"),
        (b"workspace = '\xe4'", "is not a TOML file"),
        (b"#" * 200_000, "is no regular file of at most 131,072 bytes"),
    ],
)
def test_a_hostile_settings_file_is_refused_in_a_few_lines(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "regimes.toml").write_bytes(content)
    ran = invoke(tmp_path, "config")
    assert ran.returncode == 2
    assert message in ran.stderr
    assert len(ran.stderr) < 1000


@pytest.mark.parametrize("target", [".", "/dev/zero", "nowhere", "regimes.toml"])
def test_a_settings_file_that_is_no_regular_file_is_not_taken_for_none(tmp_path: Path, target: str) -> None:
    (tmp_path / "regimes.toml").symlink_to(target)
    with pytest.raises(SettingsError, match=r"regimes\.toml: (there is no such|cannot be read)"):
        Workspace.open(tmp_path)


def test_a_byte_order_mark_in_a_settings_file_changes_nothing(tmp_path: Path) -> None:
    (tmp_path / "regimes.toml").write_bytes(b"\xef\xbb\xbf[train]\nwindow = 30\n")
    assert Workspace.open(tmp_path).given.content == {"train": {"window": 30}}


def test_a_workspace_whose_path_is_not_utf_8_is_refused() -> None:
    with pytest.raises(SettingsError, match="its name is not UTF-8"):
        Workspace.open(Path(os.fsdecode(b"n\xff")))


def test_a_name_too_long_for_the_names_of_models_is_refused_before_training(
    tmp_path: Path, labelled: pd.DataFrame
) -> None:
    folder = tmp_path / "data" / "csv"
    folder.mkdir(parents=True)
    to_csv(labelled[:3], folder / f"{'é' * 111}.csv")
    ran = invoke(tmp_path, "train", "é" * 111)
    assert ran.returncode == 2
    assert "of at most 220 bytes" in ran.stderr
