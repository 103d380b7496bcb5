"""What is checked: a trained model set, or a Python file with features, detectors and strategies of the user's own."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import backtrader as bt
import pandas as pd

from data.candles import fingerprint
from data.errors import DataError, ModelSetError, SettingsError
from data.features import FEATURES
from models.model_set import ModelSet
from models.regimes import DETECTORS
from runners.workspace.user_code import load_code
from strategies import LSTMRegimeStrategy
from training.prepare import Prepared, prepare
from training.settings import TrainSettings

_FEWEST_BARS = 200  # enough to draw the cuts from the second half


@dataclass(frozen=True)
class Subject:
    """What is checked, and the candles that it is checked on.

    Attributes
    ----------
    candles
        For a model set those that it was trained and split on.
    model_set
        None where a file is checked.
    features
        Names of the features whose values are checked.
    trainings
        Settings whose scaler and detector are refitted, and that train on the martingale.
    strategies
        Strategies whose orders are checked, with their parameters.
    """

    name: str
    candles: pd.DataFrame
    model_set: ModelSet | None
    features: tuple[str, ...]
    trainings: tuple[TrainSettings, ...]
    strategies: tuple[tuple[type[bt.Strategy], dict[str, Any]], ...]

    @cached_property
    def prepared(self) -> tuple[Prepared, ...]:
        """What each of the trainings learns before any network."""
        return tuple(prepare(self.candles, self.name, settings) for settings in self.trainings)


def of_model_set(model_set: ModelSet, candles: pd.DataFrame) -> Subject:
    """A model set, checked on the candles that it was trained on.

    Raises
    ------
    ModelSetError
        If the candles are others.
    """
    known = model_set.provenance
    own = candles.loc[known.first_bar : known.last_bar]
    if len(own) != known.n_bars or fingerprint(own) != known.fingerprint:
        raise ModelSetError(
            f"{model_set.dataset}: the candles are not those that the set was trained on ({known.n_bars} bars, "
            f"{known.first_bar} to {known.last_bar}). Name that file with --candles, or train again."
        )
    experts = [*model_set.experts.values(), model_set.all_regimes]
    names = {*model_set.detector.features, *(name for expert in experts for name in expert.features)}
    return Subject(
        name=model_set.dataset,
        candles=own,
        model_set=model_set,
        features=tuple(sorted(names)),
        trainings=(TrainSettings(**{**known.settings, "detector": model_set.detector.name}),),
        strategies=((LSTMRegimeStrategy, {"models": model_set}),),
    )


def of_file(file: Path, candles: pd.DataFrame, model_set: ModelSet | None) -> Subject:
    """What a Python file registers and defines; strategies derived from ours trade ``model_set``.

    Raises
    ------
    DataError
        If there are too few candles to cut.
    SettingsError
        If the file cannot be run, holds nothing to check, or needs a model set.
    """
    if len(candles) < _FEWEST_BARS:
        raise DataError(f"the candles hold {len(candles)} bars, a check needs {_FEWEST_BARS}. Bring more history.")
    features, detectors = dict(FEATURES), dict(DETECTORS)
    module = load_code(file)
    own_features = tuple(name for name, one in FEATURES.items() if features.get(name) is not one)
    own_detectors = [name for name, one in DETECTORS.items() if detectors.get(name) is not one]
    strategies: list[tuple[type[bt.Strategy], dict[str, Any]]] = []
    for found in vars(module).values():
        if not (isinstance(found, type) and issubclass(found, bt.Strategy) and found.__module__ == module.__name__):
            continue
        if not issubclass(found, LSTMRegimeStrategy):
            strategies.append((found, {}))
        elif model_set is not None:
            strategies.append((found, {"models": model_set}))
        else:
            raise SettingsError(f"{file}: {found.__name__} trades a model set; name one with --models.")
    if not (own_features or own_detectors or strategies):
        raise SettingsError(
            f"{file}: registers no feature (@feature) or detector (@register_detector) and defines no bt.Strategy."
        )
    settings = TrainSettings()
    if own_features:
        settings = settings.model_copy(update={"features": own_features})
    detectors_to_train = own_detectors or (["auto"] if own_features else [])
    return Subject(
        name=file.name,
        candles=candles,
        model_set=None,
        features=own_features,
        trainings=tuple(settings.model_copy(update={"detector": name}) for name in detectors_to_train),
        strategies=tuple(strategies),
    )
