"""Retrains on a schedule: each fold's models are trained on past bars only, and forecast the bars that follow."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import NamedTuple

import pandas as pd

from data.errors import DataError
from data.features import compute_features
from data.splits import Fold, walk_forward_folds
from models.forecaster import Forecaster
from models.model_set import ModelSet
from models.regimes import RegimeDetector, match_states
from models.settings import ForecastSettings
from training.queue import Training, fit_detectors, fit_networks
from training.settings import TrainSettings, WalkForwardSettings


class FoldId(NamedTuple):
    """A fold of a dataset, numbered from 0."""

    dataset: str
    number: int


def folds_of(dataset: str, candles: pd.DataFrame, schedule: WalkForwardSettings) -> list[Fold]:
    """The folds of one series; errors as in `data.splits.walk_forward_folds`, with the dataset's name."""
    plan = schedule.for_bars(len(candles))
    try:
        return walk_forward_folds(
            len(candles), plan.train_bars, plan.test_bars, expanding=schedule.expanding, embargo=schedule.embargo
        )
    except DataError as error:
        raise DataError(f"{dataset}: {error}") from error


def fit_folds(
    series: Mapping[str, pd.DataFrame],
    settings: TrainSettings,
    schedule: WalkForwardSettings,
    known: Mapping[FoldId, ModelSet],
) -> Iterator[tuple[FoldId, ModelSet]]:
    """Train the models of every fold that is not ``known``, and yield each as soon as its networks are ready.

    A fold is trained only on bars before its test part. Detectors are fitted first, in parallel, and their states
    matched to the previous fold's, so that a regime's number means the same in every fold. Then the networks of all
    folds and datasets train in parallel; with a warm start, one fold after another. They run on the local cores or on a
    Dask cluster, according to `joblib.parallel_config`, which does not change the result.

    Parameters
    ----------
    series
        Candles by dataset, as from `data.candles.read_candles`.
    settings
        Of every training; a fold has no test part, so training and validation share its bars in their ratio.
    known
        Folds that an interrupted run has finished.

    Raises
    ------
    DataError, SettingsError
        If no fold fits into a series, or a fold has too few bars to train on.
    """
    settings = settings.without_test()
    trainings = {
        FoldId(dataset, number): Training(f"{dataset}, fold {number + 1}", candles.iloc[fold.fit], settings)
        for dataset, candles in series.items()
        for number, fold in enumerate(folds_of(dataset, candles, schedule))
    }
    detectors = _detectors(series, trainings, {fold: model_set.detector for fold, model_set in known.items()})
    finished = dict(known)
    waiting = [fold for fold in trainings if fold not in known]
    steps = [waiting]
    if schedule.warm_start:
        numbers = sorted({fold.number for fold in waiting})
        steps = [[fold for fold in waiting if fold.number == number] for number in numbers]
    for step in steps:
        before = {fold: finished.get(FoldId(fold.dataset, fold.number - 1)) for fold in step if schedule.warm_start}
        due = {fold: replace(trainings[fold], warm_start=before.get(fold)) for fold in step}
        for fold, model_set in fit_networks(due, detectors):
            finished[fold] = replace(model_set, dataset=fold.dataset)
            yield fold, finished[fold]


def stitched_forecasts(
    candles: pd.DataFrame, folds: list[Fold], model_sets: list[ModelSet], settings: ForecastSettings
) -> pd.DataFrame:
    """The concatenated forecasts of all folds' test parts, as from `Forecaster.forecast_with_all_regimes`."""
    parts = []
    for fold, model_set in zip(folds, model_sets, strict=True):
        forecaster = Forecaster(model_set, settings)
        first = max(0, fold.test.start - forecaster.history)
        table = forecaster.forecast_with_all_regimes(candles.iloc[first : fold.test.stop])
        parts.append(table.iloc[fold.test.start - first :])
    return pd.concat(parts)


def _detectors(
    series: Mapping[str, pd.DataFrame], trainings: Mapping[FoldId, Training], known: Mapping[FoldId, RegimeDetector]
) -> dict[FoldId, RegimeDetector]:
    """Each fold's fitted detector, with the regimes' numbers of the previous fold."""
    fitted = fit_detectors({fold: training for fold, training in trainings.items() if fold not in known})
    detectors: dict[FoldId, RegimeDetector] = {}
    for fold, training in trainings.items():
        before = FoldId(fold.dataset, fold.number - 1)
        if fold in known:
            detectors[fold] = known[fold]
        elif before in detectors:
            first, last = trainings[before].candles.index[0], training.candles.index[-1]
            past = series[fold.dataset].loc[first:last]  # both folds' bars
            observed = compute_features(past, fitted[fold].features).to_numpy()
            detectors[fold] = match_states(fitted[fold], detectors[before], observed)
        else:
            detectors[fold] = fitted[fold]
    return detectors
