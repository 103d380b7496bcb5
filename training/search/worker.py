"""A worker of a study: takes a trial, trains it, reports the outcome, and takes the next."""

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

# Attribute of a trial that was trained to its end: its `Outcome.sharpe`.
SHARPE = "sharpe"

_SECONDS_BETWEEN_LOOKS = 0.5

OnEpoch = Callable[[int, float], None]


class Outcome(NamedTuple):
    """A trained network on the validation part.

    Attributes
    ----------
    loss
        Mean squared error relative to the forecast 0's, at the best epoch.
    sharpe
        Ratio per bar of trading it alone, after costs; None where it is not defined.
    """

    loss: float
    sharpe: float | None


class SearchProgress(NamedTuple):
    """How far a network's study is.

    Attributes
    ----------
    finished
        Trials, of all workers.
    epoch
        Of the trial that runs, 0 before it does; None while only other workers' trials are left.
    best
        Value so far; None before there is one.
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
        What all workers of the study have in common: the seed of its samplers, and the parameters to be tried first.
    train
        Trains by some settings; an exception in its second argument, called after each epoch, ends the training.
    """

    name: str
    study: optuna.Study
    search: SearchSettings
    seed: int
    start: dict[str, Any] | None
    train: Callable[[NetworkSettings, OnEpoch], Outcome]
    on_progress: Callable[[SearchProgress], None]

    def run(self) -> None:
        """Try settings until the slots are filled, the time is up, or ``on_progress`` raises."""
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
            else:  # others have the last slots, and one of them may still die
                self.on_progress(report._replace(epoch=None))
                time.sleep(_SECONDS_BETWEEN_LOOKS)

    def _slots(self) -> Slots:
        return slots_of(self.study.get_trials(deepcopy=False))

    def _queue(self, slots: Slots) -> None:
        """Queue a trial for every abandoned slot, and else one for the next slot, if there is any.

        A queued trial names this worker at once, and later the worker that takes it. If two workers queue the same
        trial, one of the two is run.
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
            # Drawn from the seed and the slot: how often the study was stopped, and who goes on, does not matter.
            seed = np.random.SeedSequence([self.seed, place_of(trial.number, slots)]).generate_state(1)[0]
            self.study.sampler = optuna.samplers.TPESampler(seed=int(seed))
            try:
                self._finish(trial.number, TrialState.COMPLETE, self._value(trial, report))
            except optuna.TrialPruned:
                self._finish(trial.number, TrialState.PRUNED)
        except UpdateFinishedTrialError:
            pass  # another worker took this one for dead and took over the trial
        except BaseException:
            with suppress(Exception):
                self._finish(trial.number, TrialState.FAIL)
            raise

    def _value(self, trial: optuna.Trial, report: SearchProgress) -> float:
        by_loss = self.search.objective == "loss"

        def on_epoch(epoch: int, loss: float) -> None:
            if not math.isfinite(loss):
                raise optuna.TrialPruned
            # A Sharpe ratio of some hundred bars is too coarse to end a trial by: the loss does it for either aim.
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
        """End a trial unless it has ended; of several workers that do so, the first one counts."""
        with suppress(UpdateFinishedTrialError):
            self.study.tell(number, value, state=state, skip_if_finished=True)
