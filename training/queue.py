"""Trains many model sets in one queue: all detectors first, then all networks."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TypeVar

import pandas as pd
from joblib import Parallel, delayed

from models.model_set import ModelSet
from models.provenance import Study
from models.regimes import RegimeDetector
from training.fit import FitResult
from training.prepare import DetectorTask, Prepared, detector_task, prepare
from training.settings import TrainSettings
from training.trainer import Member, NetworkTask, assemble, network_tasks

Key = TypeVar("Key")


@dataclass(frozen=True)
class Training:
    """What one model set is trained on.

    Attributes
    ----------
    name
        The dataset, in the model set and in errors.
    study
        As in `training.trainer.train`.
    warm_start
        The model set with the initial weights; None for random ones.
    """

    name: str
    candles: pd.DataFrame
    settings: TrainSettings
    study: Study | None = None
    warm_start: ModelSet | None = None


def fit_detectors(trainings: Mapping[Key, Training]) -> dict[Key, RegimeDetector]:
    """The fitted detector of each training, in parallel as in `fit_networks`; errors as in `training.trainer.train`."""
    tasks = [detector_task(one.candles, one.name, one.settings) for one in trainings.values()]
    return dict(zip(trainings, Parallel()(delayed(DetectorTask.fit)(task) for task in tasks), strict=True))


def fit_networks(
    trainings: Mapping[Key, Training], detectors: Mapping[Key, RegimeDetector]
) -> Iterator[tuple[Key, ModelSet]]:
    """Yield each training's model set as soon as its last network is ready.

    The networks of all trainings share the local cores or a Dask cluster, according to `joblib.parallel_config`, which
    does not change the result. Errors as in `training.trainer.train`.
    """
    prepared: dict[Key, Prepared] = {}
    missing: dict[Key, int] = {}

    def tasks() -> Iterator[tuple[Key, NetworkTask]]:
        for key, one in trainings.items():
            prepared[key] = prepare(one.candles, one.name, one.settings, detector=detectors[key])
            its_tasks = network_tasks(prepared[key], warm_start=one.warm_start)
            missing[key] = len(its_tasks)
            yield from ((key, task) for task in its_tasks.values())

    fitted: dict[Key, dict[Member, FitResult]] = {key: {} for key in trainings}
    results = Parallel(return_as="generator_unordered")(delayed(_fit_network)(key, task) for key, task in tasks())
    try:
        for key, member, result in results:
            fitted[key][member] = result
            if len(fitted[key]) == missing[key]:
                one = trainings[key]
                yield key, assemble(one.candles, prepared.pop(key), fitted.pop(key), one.study)
    finally:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # that an interrupted queue was not used up
            results.close()


def _fit_network(key: Key, task: NetworkTask) -> tuple[Key, Member, FitResult]:
    return key, task.member, task.fit()
