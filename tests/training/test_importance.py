from __future__ import annotations

import numpy as np
import pandas as pd

from data.synthetic import VISIBLE
from models import ModelSet
from tests.conftest import SMALL
from training import TrainSettings, train
from training.importance import permutation_importance


def test_the_feature_that_carries_the_edge_matters_most_and_noise_does_not() -> None:
    """A column that is the next return plus noise, and one of noise alone."""
    candles = VISIBLE.candles(1500, seed=5).drop(columns="regime")
    random = np.random.default_rng(0)
    following = np.log(candles["close"]).diff().shift(-1).fillna(0.0)
    hint, noise = random.standard_normal((2, len(candles)))
    known = candles.assign(hint=following + 0.5 * following.std() * hint, noise=noise)
    settings = TrainSettings(
        **{**SMALL, "epochs": 15, "density": False, "features": ("hint", "noise", "hour_of_day"), "detector": "trend"}
    )
    models = train(known, "HINT", settings)
    importance = permutation_importance(models, known)
    for name, of_features in importance.items():
        assert list(of_features) == ["hint", "noise", "hour_of_day"], name
    whole = importance["all"]
    assert whole["hint"] > 0.2
    assert abs(whole["noise"]) < 0.05
    assert abs(whole["hour_of_day"]) < 0.05


def test_importance_does_not_depend_on_bars_after_validation(model_set: ModelSet, candles: pd.DataFrame) -> None:
    cut = candles.loc[: model_set.validation_end]
    assert permutation_importance(model_set, cut) == permutation_importance(model_set, candles)
