from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from joblib import parallel_config

from data.errors import DataError
from data.features import compute_features
from data.synthetic import with_noise_from
from models import Forecaster, ForecastSettings, ModelSet
from models.detectors.hmm import HMMDetector
from models.regimes import match_states
from tests.conftest import SMALL, halted
from training import TrainSettings, train
from training.settings import WalkForwardSettings
from training.walk_forward import FoldId, fit_folds, folds_of, stitched_forecasts

SETTINGS = TrainSettings(**SMALL)
SCHEDULE = WalkForwardSettings(train_bars=600, test_bars=200)


def fitted(
    candles: pd.DataFrame, schedule: WalkForwardSettings, settings: TrainSettings = SETTINGS
) -> dict[FoldId, ModelSet]:
    with parallel_config(backend="loky", n_jobs=2):
        return dict(sorted(fit_folds({"SWITCH": candles}, settings, schedule, {})))


def weights(model_set: ModelSet) -> torch.Tensor:
    experts = [*model_set.experts.values(), model_set.all_regimes]
    return torch.cat(
        [value.flatten() for one in experts for network in one.networks for value in network.state_dict().values()]
    )


@pytest.fixture(scope="module")
def folds(candles: pd.DataFrame) -> dict[FoldId, ModelSet]:
    return fitted(candles, SCHEDULE)


def test_each_fold_is_the_training_that_its_bars_alone_would_give(
    folds: dict[FoldId, ModelSet], candles: pd.DataFrame
) -> None:
    assert list(folds) == [FoldId("SWITCH", number) for number in range(3)]
    first = folds[FoldId("SWITCH", 0)]
    # the same bars as the training and validation parts of a series with a test part after them
    alone = train(candles.iloc[:750], "SWITCH", TrainSettings(**SMALL))
    assert torch.equal(weights(first), weights(alone))
    assert first.validation_end == candles.index[599]


def test_a_fold_does_not_depend_on_later_bars(folds: dict[FoldId, ModelSet], candles: pd.DataFrame) -> None:
    changed = fitted(with_noise_from(candles, 800, seed=1), SCHEDULE)
    for number, same in enumerate((True, True, False)):
        before, after = folds[FoldId("SWITCH", number)], changed[FoldId("SWITCH", number)]
        assert torch.equal(weights(before), weights(after)) is same
        assert (before.detector.parameters() == after.detector.parameters()) is same


def test_the_stitched_forecasts_are_those_of_each_folds_models(
    folds: dict[FoldId, ModelSet], candles: pd.DataFrame
) -> None:
    parts, model_sets = folds_of("SWITCH", candles, SCHEDULE), list(folds.values())
    table = stitched_forecasts(candles, parts, model_sets, ForecastSettings())
    assert table.index.equals(candles.index[600:])
    assert np.isfinite(table.to_numpy()).all()
    for fold, model_set in zip(parts, model_sets, strict=True):
        whole = Forecaster(model_set).forecast(candles).iloc[fold.test]
        np.testing.assert_allclose(table.loc[whole.index, "forecast"], whole["forecast"], rtol=1e-9)


def test_finished_folds_are_not_trained_again(folds: dict[FoldId, ModelSet], candles: pd.DataFrame) -> None:
    known = {fold: model_set for fold, model_set in folds.items() if fold.number != 1}
    (again,) = fit_folds({"SWITCH": candles}, SETTINGS, SCHEDULE, known)
    assert again[0] == FoldId("SWITCH", 1)
    assert torch.equal(weights(again[1]), weights(folds[again[0]]))


def test_a_warm_start_begins_with_the_previous_folds_weights(
    folds: dict[FoldId, ModelSet], candles: pd.DataFrame
) -> None:
    before = folds[FoldId("SWITCH", 1)]
    assert not any(expert.training["fallback"] for expert in before.experts.values())
    known = {fold: model_set for fold, model_set in folds.items() if fold.number < 2}
    standing_still, schedule = TrainSettings(**SMALL, lr=1e-12), SCHEDULE.model_copy(update={"warm_start": True})
    ((fold, after),) = fit_folds({"SWITCH": candles}, standing_still, schedule, known)
    assert fold.number == 2
    torch.testing.assert_close(weights(after), weights(before), rtol=0, atol=1e-6)


def test_several_series_train_at_once_as_each_would_alone(folds: dict[FoldId, ModelSet], candles: pd.DataFrame) -> None:
    both = {"SWITCH": candles, "SHORT": candles.iloc[200:]}
    with parallel_config(backend="loky", n_jobs=2):
        result = dict(fit_folds(both, SETTINGS, SCHEDULE, {}))
    assert {fold for fold in result if fold.dataset == "SHORT"} == {FoldId("SHORT", 0), FoldId("SHORT", 1)}
    for fold, model_set in folds.items():
        assert torch.equal(weights(result[fold]), weights(model_set))


def test_regimes_keep_the_previous_folds_numbers_even_if_their_means_swap() -> None:
    """Two calm states and a wild one; between the halves the calm ones' small drifts swap their order."""
    random = np.random.default_rng(0)
    state = np.repeat(random.integers(0, 3, 60), 40)
    volatility = np.array([0.03, 0.001, 0.008])
    drift = np.where(np.arange(len(state))[:, None] < 1200, [-0.002, 0.0002, 0.002], [0.004, 0.0002, -0.001])
    returns = drift[np.arange(len(state)), state] + volatility[state] * random.standard_normal(len(state))
    features = np.stack([returns, volatility[state] * (1 + 0.05 * random.standard_normal(len(state)))], axis=1)
    early, late = HMMDetector().fit(features[:1200], None, 0), HMMDetector().fit(features[1000:], None, 0)
    shared = features[1000:1200]
    by_mean_return = (late.filter(shared).argmax(axis=1) == early.filter(shared).argmax(axis=1))[128:].mean()
    named = match_states(late, early, shared)
    assert by_mean_return < 0.5
    assert (named.filter(shared).argmax(axis=1) == early.filter(shared).argmax(axis=1))[128:].mean() > 0.9
    assert HMMDetector.from_parameters(named.parameters()).parameters() == named.parameters()


def test_a_detector_without_common_bars_keeps_its_numbers(candles: pd.DataFrame) -> None:
    features = compute_features(candles, HMMDetector().features).to_numpy()[20:]
    detector = HMMDetector().fit(features[:500], None, 0)
    assert match_states(detector, detector, features[:100]).parameters() == detector.parameters()


def test_a_series_too_short_for_a_fold_is_refused_by_name(candles: pd.DataFrame) -> None:
    with pytest.raises(
        DataError, match=r"^SWITCH: there are 1,200 bars; 1,199 to train on and two to trade need 1,201"
    ):
        fitted(candles, WalkForwardSettings(train_bars=1199, test_bars=100))


def test_a_fold_with_too_few_bars_is_refused_by_name(candles: pd.DataFrame) -> None:
    with pytest.raises(DataError, match="SWITCH, fold 1: has 150 bars, but at least"):
        fitted(candles, WalkForwardSettings(train_bars=150, test_bars=100))


def test_a_fold_without_price_changes_in_its_validation_part_is_refused_by_name(candles: pd.DataFrame) -> None:
    still = halted(candles, (np.arange(1200) >= 700) & (np.arange(1200) < 800))
    with pytest.raises(DataError, match="SWITCH, fold 2: the close does not change in the validation part"):
        fitted(still, SCHEDULE)


def test_the_default_folds_learn_from_half_the_bars_and_trade_a_tenth(candles: pd.DataFrame) -> None:
    parts = folds_of("SWITCH", candles, WalkForwardSettings())
    assert [fold.test.start for fold in parts] == [600, 720, 840, 960, 1080]
