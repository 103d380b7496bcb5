"""The result of one network's study so far."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import optuna
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState

from training.search.settings import SearchSettings
from training.search.slots import REPEATS, START, finished_trial, slots_of
from training.search.worker import SHARPE
from training.settings import NetworkSettings


@dataclass(frozen=True)
class Tried:
    """A finished trial.

    Attributes
    ----------
    value
        Of the objective; None if the trial was pruned.
    sharpe
        Sharpe ratio per bar on the validation part, after costs; None if pruned or undefined.
    is_start
        Whether these are the initial settings of the search.
    """

    settings: NetworkSettings
    value: float | None
    sharpe: float | None
    epochs: int
    is_start: bool

    def to_dict(self) -> dict[str, Any]:
        return {
            "state": "pruned" if self.value is None else "complete",
            "value": self.value,
            "sharpe": self.sharpe,
            "epochs": self.epochs,
            "settings": self.settings.model_dump(mode="json"),
        }


@dataclass(frozen=True)
class StudyResult:
    """The finished trials of one network's study, one per slot, in order; ``trials`` are Optuna's, for its plots."""

    name: str
    search: SearchSettings
    trials: list[FrozenTrial]

    @classmethod
    def read(cls, name: str, search: SearchSettings, storage: BaseStorage, study: str) -> StudyResult:
        """Read a study from the storage; without trials if there is no such study."""
        try:
            known = optuna.load_study(study_name=study, storage=storage).get_trials(deepcopy=False)
        except KeyError:
            known = []
        finished = [trial for slot in slots_of(known).values() if (trial := finished_trial(slot))]
        return cls(name, search, finished)

    @property
    def tried(self) -> list[Tried]:
        return [
            Tried(
                settings=self.search.network(trial.params),
                value=trial.value if trial.state == TrialState.COMPLETE else None,
                sharpe=trial.user_attrs.get(SHARPE),
                epochs=len(trial.intermediate_values),
                is_start=trial.user_attrs.get(REPEATS) == START,
            )
            for trial in self.trials
        ]

    @property
    def ranked(self) -> list[Tried]:
        """The trials with a value, best first."""
        sign = 1 if self.search.direction == "minimize" else -1
        valued = [(sign * one.value, one) for one in self.tried if one.value is not None]
        return [one for _, one in sorted(valued, key=lambda pair: pair[0])]

    @property
    def best(self) -> Tried | None:
        return next(iter(self.ranked), None)

    @property
    def start(self) -> Tried | None:
        """The trial of the initial settings, if the search space contains them."""
        return next((one for one in self.tried if one.is_start), None)

    @property
    def pruned(self) -> int:
        return sum(one.value is None for one in self.tried)

    def to_dict(self) -> dict[str, Any]:
        return {
            "finished": len(self.trials),
            "pruned": self.pruned,
            "best": self.best.to_dict() if self.best else None,
            "trials": [one.to_dict() for one in self.tried],
        }
