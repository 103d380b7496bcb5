"""The slots of a study's budget of trials, which any number of processes and machines may fill.

Optuna hands out trials on any storage, but does not count them for several processes, and learns of a killed one from
databases alone. Here a study of n trials has n slots. A fresh trial opens the next slot; a trial whose worker died or
was stopped fails, and another repeats its parameters in the same slot. All of it follows from the list of trials,
which every worker reads alike, so that it does not matter which of them acts on it, or whether two do.
"""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from optuna.trial import FrozenTrial, TrialState

# Attributes of a trial: whose slot it fills if not its own, and who runs it (or has queued it, before it runs).
REPEATS = "repeats"
WORKER = "worker"
# The slot of the settings that the search begins from, which two machines may both have asked for.
START = -1

_FINISHED = (TrialState.COMPLETE, TrialState.PRUNED)

# The trials of each slot, by the number of the one that opened it (or `START`), in the order in which they opened.
Slots = dict[int, list[FrozenTrial]]


def slots_of(trials: Sequence[FrozenTrial]) -> Slots:
    """A study's slots, from all its trials in their order."""
    slots: Slots = {}
    for trial in trials:
        slots.setdefault(int(trial.user_attrs.get(REPEATS, trial.number)), []).append(trial)
    return slots


def finished_trial(slot: Sequence[FrozenTrial]) -> FrozenTrial | None:
    """The trial that has filled a slot, if one has."""
    return next((trial for trial in slot if trial.state in _FINISHED), None)


def is_abandoned(slot: Sequence[FrozenTrial]) -> bool:
    """Whether nobody fills a slot that was begun."""
    return all(trial.state == TrialState.FAIL for trial in slot)


def is_queued(slot: Sequence[FrozenTrial]) -> bool:
    """Whether one of its trials waits for a worker."""
    return any(trial.state == TrialState.WAITING for trial in slot)


def place_of(number: int, slots: Slots) -> int:
    """The place among the slots, from 0, of a trial's."""
    return next(place for place, slot in enumerate(slots.values()) if any(one.number == number for one in slot))


def is_wanted(number: int, slots: Slots, budget: int) -> bool:
    """Whether a trial should run: its slot is within the budget, and every earlier trial of the slot has failed."""
    place = place_of(number, slots)
    slot = list(slots.values())[place]
    return place < budget and is_abandoned([trial for trial in slot if trial.number < number])


def known_parameters(slot: Sequence[FrozenTrial]) -> dict[str, Any]:
    """The parameters that a slot's trials had got when they failed."""
    return {name: value for trial in slot for name, value in trial.params.items()}


def this_worker() -> str:
    """This process's name: its machine and its number there."""
    return f"{_this_machine()}/{os.getpid()}"


def _this_machine(namespace: Path = Path("/proc/self/ns/pid")) -> str:
    """Where process numbers mean the same: the host or, of containers that share its name, the container."""
    return f"{platform.node()} {os.readlink(namespace)}" if namespace.is_symlink() else platform.node()


class Watch:
    """Finds trials whose worker is gone.

    A process of this machine can be looked up. One elsewhere, whose clock may be wrong, is gone when it has not
    finished an epoch for ``stale_after`` seconds of this process's clock.
    """

    def __init__(self, stale_after: float) -> None:
        self.stale_after = stale_after
        self._seen: dict[int, tuple[int, float]] = {}

    def lost(self, trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
        """The running trials that nobody runs any more, if this process runs none."""
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
    """Whether a trial was left by a process of this machine; by this one, if it was queued here and died elsewhere."""
    machine, _, process = str(attributes.get(WORKER, "")).rpartition("/")
    return machine == _this_machine() and (int(process) == os.getpid() or not _is_alive(int(process)))


def _is_alive(process: int) -> bool:
    """Whether a process of this machine runs; one that was killed and not yet waited for does not."""
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
