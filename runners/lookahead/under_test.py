"""What the checks examine: a model set, or a Python file with the user's features, detectors and strategies."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path

import backtrader as bt
import pandas as pd

from data.candles import fingerprint
from data.errors import DataError, ModelSetError, SettingsError
from data.features import FEATURES
from models.model_set import ModelSet
from models.regimes import DETECTORS
from runners.lookahead.fresh import Ran, run_fresh
from runners.lookahead.order_runs import Trader
from runners.lookahead.tasks import Fitted, fit
from runners.workspace.user_code import load_code
from strategies import LSTMRegimeStrategy
from training.settings import TrainSettings

_MIN_BARS = 200  # enough to draw the cuts from the second half


@dataclass(frozen=True)
class UnderTest:
    """The models or user code to check, and the candles to check them on.

    Attributes
    ----------
    candles
        For a model set, the candles of its training.
    model_set
        None for a Python file.
    features
        Names of the features to check.
    trainings
        Settings of trainings to repeat on changed candles.
    traders
        Strategies to check.
    code
        The files of the user's code that new processes load; without any, the checks run in this process.
    candle_file
        The CSV of the candles.
    trades_column
        Whether backtests take the regime from the CSV.
    """

    name: str
    candles: pd.DataFrame
    model_set: ModelSet | None
    features: tuple[str, ...]
    trainings: tuple[TrainSettings, ...]
    traders: tuple[Trader, ...]
    code: tuple[Path, ...] = ()
    candle_file: Path | None = None
    trades_column: bool = False

    @cached_property
    def fitted(self) -> list[Ran[Fitted]]:
        """The detector and scalers of each training, fitted."""
        return self.fit_on(self.candles)

    def fit_on(self, candles: pd.DataFrame) -> list[Ran[Fitted]]:
        """The detector and scalers of each training, fitted on other candles."""
        return run_fresh(self.code, [partial(fit, self.name, candles, settings) for settings in self.trainings])


def models_under_test(
    model_set: ModelSet, candles: pd.DataFrame, candle_file: Path | None = None, *, trades_column: bool = False
) -> UnderTest:
    """A model set, with the candles of its training; raise a `ModelSetError` if the candles have changed."""
    training = model_set.provenance
    own = candles.loc[training.first_bar : training.last_bar]
    if len(own) != training.n_bars or fingerprint(own) != training.fingerprint:
        raise ModelSetError(
            f"{model_set.dataset}: the candles differ from those of the training ({training.n_bars} bars, "
            f"{training.first_bar} to {training.last_bar}). Name the CSV of the training, or train again."
        )
    experts = [*model_set.experts.values(), model_set.all_regimes]
    names = {*model_set.detector.features, *(name for expert in experts for name in expert.features)}
    return UnderTest(
        name=model_set.dataset,
        candles=own,
        model_set=model_set,
        features=tuple(sorted(names)),
        trainings=(TrainSettings(**{**training.settings, "detector": model_set.detector.name}),),
        traders=(Trader(LSTMRegimeStrategy, model_set),),
        code=tuple(dict.fromkeys([*FEATURES.files(), *DETECTORS.files()])),
        candle_file=candle_file,
        trades_column=trades_column,
    )


def code_under_test(
    file: Path, candles: pd.DataFrame, model_set: ModelSet | None, candle_file: Path | None = None
) -> UnderTest:
    """The features, detectors and strategies of a Python file; subclasses of our strategy trade ``model_set``.

    Raises
    ------
    DataError
        If there are too few candles to cut.
    SettingsError
        If the file cannot be run, contains nothing to check, or needs a model set.
    """
    if len(candles) < _MIN_BARS:
        raise DataError(f"the candles hold {len(candles)} bars, but a check needs {_MIN_BARS}. Bring more history.")
    features, detectors = dict(FEATURES), dict(DETECTORS)
    module = load_code(file)
    own_features = tuple(name for name, feature in FEATURES.items() if features.get(name) is not feature)
    own_detectors = [name for name, detector in DETECTORS.items() if detectors.get(name) is not detector]
    traders = []
    for member in vars(module).values():
        if not (isinstance(member, type) and issubclass(member, bt.Strategy) and member.__module__ == module.__name__):
            continue
        trades_models = issubclass(member, LSTMRegimeStrategy)
        if trades_models and model_set is None:
            raise SettingsError(f"{file}: {member.__name__} trades a model set. Name one with --models.")
        traders.append(Trader(member, model_set if trades_models else None))
    if not (own_features or own_detectors or traders):
        raise SettingsError(
            f"{file}: registers no feature (@feature) or detector (@register_detector) and defines no bt.Strategy."
        )
    settings = TrainSettings().model_copy(update={"features": own_features} if own_features else {})
    detectors_to_train = own_detectors or (["auto"] if own_features else [])
    return UnderTest(
        name=file.name,
        candles=candles,
        model_set=None,
        features=own_features,
        trainings=tuple(settings.model_copy(update={"detector": name}) for name in detectors_to_train),
        traders=tuple(traders),
        code=tuple(dict.fromkeys([*FEATURES.files(), *DETECTORS.files(), file.resolve()])),
        candle_file=candle_file,
    )
