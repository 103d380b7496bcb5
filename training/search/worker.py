"""A worker of a study: runs one trial after another and reports their results."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import TrialState

from training.search.settings import SearchSettings
from training.search.slots import (
    REPEATS,
    START,
    WORKER,
    Slots,
    Watch,
    finished_trial,
    is_abandoned,
    is_queued,
    is_wanted,
    known_parameters,
    place_of,
    slots_of,
    this_worker,
)
from training.settings import NetworkSettings

# Attribute of a complete trial: its `Outcome.sharpe`.
SHARPE = "sharpe"

_SECONDS_BETWEEN_LOOKS = 0.5

OnEpoch = Callable[[int, float], None]


class Outcome(NamedTuple):
    """Results of a trained network on the validation part.

    Attributes
    ----------
    loss
        Mean squared error relative to the forecast 0's, at the best epoch.
    sharpe
        Sharpe ratio per bar of trading this network alone, after costs; None if undefined.
    """

    loss: float
    sharpe: float | None


class SearchProgress(NamedTuple):
    """Progress of a network's study.

    Attributes
    ----------
    finished
        Number of finished trials of all workers.
    epoch
        Of the current trial, 0 before its first; None while only other workers' trials are running.
    best
        Best value so far, if any.
    """

    name: str
    finished: int
    epoch: int | None
    best: float | None


@dataclass
class Worker:
    """Fills a study's slots with trials.

    Attributes
    ----------
    name
        The network's, for ``on_progress``.
    seed, start
        Seed of the samplers, and parameters of the first trial; the same for all workers of the study.
    train
        Trains a network; an exception in its second argument, called after each epoch, ends the training.
    """

    name: str
    study: optuna.Study
    search: SearchSettings
    seed: int
    start: dict[str, Any] | None
    train: Callable[[NetworkSettings, OnEpoch], Outcome]
    on_progress: Callable[[SearchProgress], None]

    def run(self) -> None:
        """Run trials until the slots are filled, the timeout is reached, or ``on_progress`` raises."""
        began, watch, budget = time.monotonic(), Watch(self.search.stale_after), self.search.trials
        while True:
            for lost in watch.lost(self.study.get_trials(deepcopy=False)):
                self._finish(lost.number, TrialState.FAIL)
            slots = self._slots()
            report = self._progress(slots)
            self.on_progress(report)
            within = dict(list(slots.items())[:budget])
            filled = sum(finished_trial(slot) is not None for slot in within.values())
            is_late = self.search.timeout is not None and time.monotonic() - began >= self.search.timeout
            if filled == budget or is_late:
                return
            self._queue(within)
            if any(is_queued(slot) for slot in self._slots().values()):
                self._try(self.study.ask(), report)
            else:  # other workers run the last trials, and may still die
                self.on_progress(report._replace(epoch=None))
                time.sleep(_SECONDS_BETWEEN_LOOKS)

    def _slots(self) -> Slots:
        return slots_of(self.study.get_trials(deepcopy=False))

    def _queue(self, slots: Slots) -> None:
        """Queue a trial for every abandoned slot, or else one for the next slot, if any.

        A queued trial names this worker, and later the one that runs it. If two workers queue the same trial, only one
        of the two runs.
        """

        def enqueue(parameters: dict[str, Any], **attributes: Any) -> None:
            self.study.enqueue_trial(parameters, user_attrs={WORKER: this_worker(), **attributes})

        abandoned = {number: known_parameters(slot) for number, slot in slots.items() if is_abandoned(slot)}
        for number, parameters in abandoned.items():
            enqueue(parameters or (self.start if number == START else None) or {}, **{REPEATS: number})
        if not slots and self.start is not None:
            enqueue(self.start, **{REPEATS: START})
        elif not abandoned and len(slots) < self.search.trials and not any(is_queued(slot) for slot in slots.values()):
            enqueue({})

    def _progress(self, slots: Slots) -> SearchProgress:
        finished = [trial for slot in slots.values() if (trial := finished_trial(slot))]
        values = [trial.values[0] for trial in finished if trial.state == TrialState.COMPLETE]
        best = min if self.search.objective == "loss" else max
        return SearchProgress(self.name, len(finished), 0, best(values, default=None))

    def _try(self, trial: optuna.Trial, report: SearchProgress) -> None:
        try:
            trial.set_user_attr(WORKER, this_worker())
            slots = self._slots()
            if not is_wanted(trial.number, slots, self.search.trials):
                self._finish(trial.number, TrialState.FAIL)
                return
            # The seed depends on the slot only, not on interruptions or on the worker.
            seed = np.random.SeedSequence([self.seed, place_of(trial.number, slots)]).generate_state(1)[0]
            self.study.sampler = optuna.samplers.TPESampler(seed=int(seed))
            try:
                self._finish(trial.number, TrialState.COMPLETE, self._value(trial, report))
            except optuna.TrialPruned:
                self._finish(trial.number, TrialState.PRUNED)
        except UpdateFinishedTrialError:
            pass  # another worker considered this one dead and took over the trial
        except BaseException:
            with suppress(Exception):
                self._finish(trial.number, TrialState.FAIL)
            raise

    def _value(self, trial: optuna.Trial, report: SearchProgress) -> float:
        by_loss = self.search.objective == "loss"

        def on_epoch(epoch: int, loss: float) -> None:
            if not math.isfinite(loss):
                raise optuna.TrialPruned
            # Pruning always uses the loss: a Sharpe ratio over some hundred bars is too noisy.
            trial.report(loss if by_loss else -loss, epoch)
            if trial.should_prune():
                raise optuna.TrialPruned
            self.on_progress(report._replace(epoch=epoch))

        outcome = self.train(self.search.suggest(trial), on_epoch)
        trial.set_user_attr(SHARPE, outcome.sharpe)
        value = outcome.loss if by_loss else outcome.sharpe
        if value is None:
            raise optuna.TrialPruned
        return value

    def _finish(self, number: int, state: TrialState, value: float | None = None) -> None:
        """End a trial unless it has ended; if several workers do so, the first one counts."""
        with suppress(UpdateFinishedTrialError):
            self.study.tell(number, value, state=state, skip_if_finished=True)
