"""Distributes a study's budget of trials over any number of processes and machines, as slots.

Optuna does not limit the number of trials across processes, and detects killed workers in databases only. Here, a study
of n trials has n slots. A new trial opens the next slot. If its worker dies or is stopped, the trial fails, and another
trial repeats its parameters in the same slot. The slots follow from the list of trials, so all workers agree on them.
"""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from optuna.trial import FrozenTrial, TrialState

# Attributes of a trial: the slot that it repeats, and the worker that runs it (or has queued it).
REPEATS = "repeats"
WORKER = "worker"
# The slot of the initial settings, which two machines may both have queued.
START = -1

_FINISHED = (TrialState.COMPLETE, TrialState.PRUNED)

# The trials of each slot, by the number of its first trial (or `START`), in order.
Slots = dict[int, list[FrozenTrial]]


def slots_of(trials: Sequence[FrozenTrial]) -> Slots:
    """A study's slots, from all its trials in order."""
    slots: Slots = {}
    for trial in trials:
        slots.setdefault(int(trial.user_attrs.get(REPEATS, trial.number)), []).append(trial)
    return slots


def finished_trial(slot: Sequence[FrozenTrial]) -> FrozenTrial | None:
    """The finished trial of a slot, if there is one."""
    return next((trial for trial in slot if trial.state in _FINISHED), None)


def is_abandoned(slot: Sequence[FrozenTrial]) -> bool:
    """Whether all trials of a slot have failed."""
    return all(trial.state == TrialState.FAIL for trial in slot)


def is_queued(slot: Sequence[FrozenTrial]) -> bool:
    """Whether a trial of the slot waits for a worker."""
    return any(trial.state == TrialState.WAITING for trial in slot)


def place_of(number: int, slots: Slots) -> int:
    """The position, from 0, of a trial's slot."""
    return next(place for place, slot in enumerate(slots.values()) if any(one.number == number for one in slot))


def is_wanted(number: int, slots: Slots, budget: int) -> bool:
    """Whether a trial should run: its slot is within the budget, and all earlier trials of the slot have failed."""
    place = place_of(number, slots)
    slot = list(slots.values())[place]
    return place < budget and is_abandoned([trial for trial in slot if trial.number < number])


def known_parameters(slot: Sequence[FrozenTrial]) -> dict[str, Any]:
    """The parameters that a slot's failed trials had drawn."""
    return {name: value for trial in slot for name, value in trial.params.items()}


def this_worker() -> str:
    """The name of this process: its machine and process id."""
    return f"{_this_machine()}/{os.getpid()}"


def _this_machine(namespace: Path = Path("/proc/self/ns/pid")) -> str:
    """The scope of process ids: the host, or the container (containers may share a host name)."""
    return f"{platform.node()} {os.readlink(namespace)}" if namespace.is_symlink() else platform.node()


class Watch:
    """Detects trials whose worker has died.

    On this machine, by process id. On another one, whose clock may differ, by ``stale_after`` seconds of this process's
    clock without a finished epoch.
    """

    def __init__(self, stale_after: float) -> None:
        self.stale_after = stale_after
        self._seen: dict[int, tuple[int, float]] = {}

    def lost(self, trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
        """The running trials whose worker has died; this process must not run a trial."""
        running = [trial for trial in trials if trial.state == TrialState.RUNNING]
        return [trial for trial in running if _has_died(trial.user_attrs) or self._is_silent(trial)]

    def _is_silent(self, trial: FrozenTrial) -> bool:
        epochs, now = len(trial.intermediate_values), time.monotonic()
        known_epochs, since = self._seen.get(trial.number, (-1, now))
        if epochs != known_epochs:
            since = now
        self._seen[trial.number] = (epochs, since)
        return now - since > self.stale_after


def _has_died(attributes: Mapping[str, Any]) -> bool:
    """Whether a trial's process on this machine has ended; this process, if it queued a trial that died elsewhere."""
    machine, _, process = str(attributes.get(WORKER, "")).rpartition("/")
    return machine == _this_machine() and (int(process) == os.getpid() or not _is_alive(int(process)))


def _is_alive(process: int) -> bool:
    """Whether a process of this machine runs; a zombie does not."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # another user's
        return True
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:  # not on this system, or gone by now
        return True
    return state != "Z"
