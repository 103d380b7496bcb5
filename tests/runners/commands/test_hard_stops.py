"""Files on disk after a process was killed, ran out of space, or ran beside another one."""

from __future__ import annotations

import importlib
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pandas as pd
import pytest

from data.errors import StorageError
from data.files import mark_latest, require_writable
from models import ModelSet
from models.model_set import find_model_set
from runners.backtesting.engine import backtest
from runners.backtesting.runs import find_run, read_runs
from runners.backtesting.settings import BacktestSettings
from runners.backtesting.trial_index import INDEX, read_records
from runners.backtesting.trials import ALONE
from runners.report.write_run import write_backtest
from tests.conftest import ROOT, invoke, make_workspace, switching_candles
from tests.runners.commands.dying import die_at_every_step, in_a_process

QUICK = [
    "--detector",
    "trend",
    "--epochs",
    "1",
    "--hidden-dim",
    "8",
    "--num-layers",
    "1",
    "--window",
    "6",
    "--min-windows",
    "30",
]
A_WEEK = BacktestSettings(start=switching_candles().index[1160].to_pydatetime(), long_threshold=0.0002)
STOPS = [signal.SIGKILL, signal.SIGINT]


@pytest.fixture(scope="module")
def traded(candles: pd.DataFrame, model_set: ModelSet, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_workspace(tmp_path_factory.mktemp("home"), candles, model_set, A_WEEK)


@pytest.fixture
def workspace(traded: Path, tmp_path: Path) -> Path:
    """A copy of a workspace with a model set and a run."""
    return Path(shutil.copytree(traded, tmp_path / "home"))


def whole_sets(workspace: Path) -> list[ModelSet]:
    """All model sets that a command may load; an incomplete one would not load."""
    folder = workspace / "models" / "trained" / "SWITCH"
    assert find_model_set(folder).parent == folder
    return [ModelSet.load(path) for path in sorted(folder.glob("[0-9]*"))]


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def half_written(workspace: Path) -> list[Path]:
    return [path for path in workspace.rglob(".*") if path.name != INDEX]


@pytest.mark.parametrize("how", STOPS)
def test_saving_a_model_set_is_all_or_nothing(workspace: Path, model_set: ModelSet, how: signal.Signals) -> None:
    trained = workspace / "models" / "trained"
    before, deaths = files_of(trained), 0
    for _ in die_at_every_step(workspace, lambda: model_set.save(trained), how):
        deaths += 1
        if len(whole_sets(workspace)) == 1:
            assert {name: text for name, text in files_of(trained).items() if "/." not in name} == before
    assert deaths > 15
    assert len(whole_sets(workspace)) > 1
    assert bool(half_written(workspace)) == (how is signal.SIGKILL)


@pytest.mark.parametrize("how", STOPS)
def test_writing_a_backtest_is_all_or_nothing(
    workspace: Path, candles: pd.DataFrame, model_set: ModelSet, how: signal.Signals, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runners.report.write_run.report_html", lambda *_: "not drawn")
    results, (first,) = workspace / "results", read_runs(workspace / "results" / "SWITCH").runs
    before, result = files_of(first.folder), backtest(candles, model_set, A_WEEK)
    origin = {"models": str(workspace / "models" / "trained" / "SWITCH")}

    def write() -> None:
        write_backtest(result, ALONE, results, candle_file=first.file, origin=origin)

    deaths = 0
    for _ in die_at_every_step(workspace, write, how):
        deaths += 1
        runs = read_runs(results / "SWITCH").runs
        assert [len(list(run.folder.iterdir())) for run in runs] == [6] * len(runs)
        assert find_run(results, "SWITCH").metrics == first.metrics
        assert files_of(first.folder) == before
    assert deaths > 10
    assert invoke(workspace, "runs").returncode == 0
    assert bool(half_written(workspace)) == (how is signal.SIGKILL)


def test_a_killed_training_leaves_earlier_files_and_can_run_again(workspace: Path) -> None:
    before = files_of(workspace)
    program = (
        "import pathlib, signal; from tests.runners.commands.dying import die_at; from runners.cli import app; "
        f"die_at(pathlib.Path({str(workspace)!r}), lambda name: name == 'SWITCH_all.pt', signal.SIGKILL); app()"
    )
    command = [sys.executable, "-W", "error", "-c", program, "train", "--workspace", str(workspace), *QUICK]
    killed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    after = files_of(workspace)
    assert {path: after[path] for path in before} == before
    assert after.keys() > before.keys()
    assert all("/." in path for path in after.keys() - before.keys())
    assert invoke(workspace, "train", *QUICK).returncode == 0
    assert len(whole_sets(workspace)) == 2


def test_two_parallel_trainings_of_one_dataset_do_not_mix(workspace: Path) -> None:
    seeds = ["1", "2"]
    in_workspace = ["--workspace", str(workspace)]
    started = [
        subprocess.Popen(
            [sys.executable, "-W", "error", "-m", "runners.cli", "train", *QUICK, "--seed", seed, *in_workspace],
            cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )
        for seed in seeds
    ]  # fmt: skip
    for process in started:
        output, _ = process.communicate()
        assert process.returncode == 0, output
    _, *new = whole_sets(workspace)
    assert sorted(str(one.provenance.settings["seed"]) for one in new) == seeds
    assert half_written(workspace) == []


def test_a_file_size_limit_is_an_error_and_leaves_no_partial_files(workspace: Path, model_set: ModelSet) -> None:
    before = files_of(workspace)

    def limited() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))
        with pytest.raises(StorageError, match=r"cannot be written \(File too large\)\. Earlier content is unchanged"):
            model_set.save(workspace / "models" / "trained")

    assert in_a_process(limited) == 0
    assert files_of(workspace) == before


def may_mount() -> bool:
    mount = ["unshare", "--map-root-user", "--mount", "mount", "-t", "tmpfs", "tmpfs", "/mnt"]
    return bool(shutil.which("unshare")) and subprocess.run(mount, capture_output=True, check=False).returncode == 0


@pytest.mark.skipif(not may_mount(), reason="NO MOUNT: cannot mount a small disk to fill")
def test_a_full_disk_is_an_error_and_leaves_earlier_runs(workspace: Path, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    script = f"""
        set -e
        mount -t tmpfs -o size=8m tmpfs {disk}
        cp -r {workspace}/. {disk}
        head -c 100000 /dev/zero > {disk}/room
        cat /dev/zero > {disk}/rest 2>/dev/null || rm {disk}/room
        set +e
        {sys.executable} -W error -m runners.cli backtest --workspace {disk}
        echo status $?
        compare() {{ diff -r -x '{INDEX}*' {workspace}/$1 {disk}/$1; }}
        compare results && compare models && echo as before
    """
    command = ["unshare", "--map-root-user", "--mount", "bash", "-c", script]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert "cannot be written (No space left on device). Earlier content is unchanged." in ran.stderr
    assert ran.stdout.split("\n")[-3:] == ["status 2", "as before", ""]


WORK = [
    ("training.trainer", "train"),
    ("training.evaluation", "evaluate"),
    ("runners.backtesting.engine", "backtest"),
    ("runners.backtesting.walk_forward", "fit_missing"),
    ("runners.search.run_search", "prepare_search"),
    ("runners.backtesting.grid", "simulate_grid"),
]


@pytest.mark.parametrize(
    ("blocked", "name", "arguments"),
    [
        ("models/trained/SWITCH", "train", []),
        ("results/SWITCH", "backtest", []),
        ("results/SWITCH", "walk-forward", []),
        ("models/trained/SWITCH", "walk-forward", ["--keep-models"]),
        ("results/SWITCH", "evaluate", []),
        ("results/SWITCH", "retrain", []),
        ("results", "optimize", []),
        ("results", "demo", []),
        ("results/SWITCH/sweeps", "sweep", ["SWITCH"]),
        ("results/SWITCH/overfitting", "overfit", ["SWITCH"]),
    ],
)
def test_a_file_in_place_of_a_folder_is_an_error_before_the_work_starts(
    workspace: Path, blocked: str, name: str, arguments: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def start(*_: object, **__: object) -> None:
        raise AssertionError("the work started")

    for module, function in WORK:
        monkeypatch.setattr(importlib.import_module(module), function, start)
    place = workspace / blocked
    shutil.rmtree(place, ignore_errors=True)
    place.write_text("not a folder")
    failed = invoke(workspace, name, *arguments)
    assert failed.returncode == 2
    assert f"{place}" in failed.stderr
    assert "cannot be written (Not a directory)" in failed.stderr


def test_a_folder_without_write_permission_is_an_error(tmp_path: Path) -> None:
    require_writable(tmp_path / "results" / "SWITCH")
    assert list(tmp_path.iterdir()) == []
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o555)

        def refused() -> None:
            if os.geteuid() == 0:  # permissions do not apply to root
                os.setuid(65534)
            with pytest.raises(StorageError, match=r"results/SWITCH: cannot be written \(Permission denied\)"):
                require_writable(Path(folder) / "results" / "SWITCH")

        assert in_a_process(refused) == 0


def test_trials_in_a_folder_that_may_not_be_read_are_missing_with_a_warning(workspace: Path) -> None:
    with tempfile.TemporaryDirectory() as folder:
        results = Path(shutil.copytree(workspace / "results", Path(folder) / "results"))
        Path(folder).chmod(0o755)
        (results / "SWITCH").chmod(0)

        def refused() -> None:
            if os.geteuid() == 0:  # permissions do not apply to root
                os.setuid(65534)
            records, (warning,) = read_records(results)
            assert records == []
            assert f"{results}/SWITCH: the run is incomplete (PermissionError" in warning

        assert in_a_process(refused) == 0
        (results / "SWITCH").chmod(0o700)


def test_a_training_is_not_disturbed_by_the_removal_of_runs(workspace: Path) -> None:
    (run,) = read_runs(workspace / "results" / "SWITCH").runs
    training = [sys.executable, "-m", "runners.cli", "train", "SWITCH", *QUICK, "--workspace", str(workspace)]
    with subprocess.Popen(training, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        assert invoke(workspace, "runs", "rm", run.id).returncode == 0
    assert process.returncode == 0
    assert len(whole_sets(workspace)) == 2
    assert [record.made for record in read_records(workspace / "results").records] == [run.id]  # it still counts
    assert half_written(workspace) == [run.folder.parent / ".removed"]


def test_models_that_a_wrong_clock_dated_into_the_future_are_not_the_newest_for_ever(
    workspace: Path, model_set: ModelSet
) -> None:
    trained = workspace / "models" / "trained" / "SWITCH"
    future = trained / "20990101T000000.000000Z"
    model_set.write(future)
    mark_latest(future)
    assert find_model_set(trained) == future
    mark_latest(whole := model_set.save(workspace / "models" / "trained"))
    assert find_model_set(trained) == whole


def test_too_little_memory_is_an_error_without_a_traceback(workspace: Path) -> None:
    huge = [*QUICK, "--hidden-dim", "10000", "--workspace", str(workspace)]

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (3 << 30, 3 << 30))

    train = [sys.executable, "-m", "runners.cli", "train", *huge]
    ran = subprocess.run(train, cwd=ROOT, capture_output=True, text=True, check=False, preexec_fn=limit)
    assert ran.returncode == 2, ran.stderr
    assert "Error: there is not enough memory. Use fewer bars" in ran.stderr
    assert "Traceback" not in ran.stderr


@pytest.mark.parametrize("name", ["metrics.json", "config.toml", "equity.csv", "note.txt"])
def test_a_device_in_place_of_a_result_is_not_read(workspace: Path, name: str) -> None:
    (run,) = read_runs(workspace / "results" / "SWITCH").runs
    (run.folder / name).unlink(missing_ok=True)
    (run.folder / name).symlink_to("/dev/zero")
    shown = invoke(workspace, "runs")
    assert shown.returncode == (0 if name == "equity.csv" else 2)
    assert ("is no regular file" in shown.stderr) == (name != "equity.csv")
    assert invoke(workspace, "sweep", run.id, "--exposure", "0.5").returncode in (0, 2)


def test_a_device_in_place_of_the_mark_of_the_newest_models_is_not_read(workspace: Path) -> None:
    trained = workspace / "models" / "trained" / "SWITCH"
    (trained / "latest").unlink(missing_ok=True)
    (trained / "latest").symlink_to("/dev/zero")
    ran = invoke(workspace, "backtest", "SWITCH")
    assert ran.returncode == 2
    assert f"{trained / 'latest'}: is no regular file" in ran.stderr
