from __future__ import annotations

import json
import math

import numpy as np
import pandas as pd
import pytest

from data.errors import DataError
from models import Forecaster, ModelSet
from tests.conftest import SMALL, halted
from training import TrainSettings, train
from training.evaluation import Evaluation, evaluate
from training.scores import diebold_mariano, score


def test_a_score_follows_its_formulas() -> None:
    forecast = np.array([0.01, -0.02, 0.03, 0.01])
    outcome = np.array([0.02, -0.01, -0.01, 0.0])
    result = score(forecast, outcome, training_mean=0.005)
    squared = np.array([1e-4, 1e-4, 16e-4, 1e-4])
    assert result.mse == pytest.approx(squared.mean())
    assert result.rmse == pytest.approx(math.sqrt(squared.mean()))
    assert result.mae == pytest.approx(0.0175)
    assert result.r2_zero == pytest.approx(1 - squared.sum() / np.sum(outcome**2))
    assert result.r2_mean == pytest.approx(1 - squared.sum() / np.sum((outcome - 0.005) ** 2))
    assert result.hit_rate == pytest.approx(2 / 3)  # a bar that did not move has no direction
    p, z, n = 2 / 3, 1.959964, 3
    half_width = z * math.sqrt(p * (1 - p) / n + z**2 / (4 * n**2)) / (1 + z**2 / n)
    assert result.hit_high - result.hit_low == pytest.approx(2 * half_width, rel=1e-5)
    assert result.dm_p is None  # four bars are too few for the test


def test_the_forecast_zero_saves_nothing_and_has_no_direction() -> None:
    outcome = np.random.default_rng(0).standard_normal(50)
    result = score(np.zeros(50), outcome, training_mean=0.0)
    assert result.r2_zero == 0
    assert result.hit_rate is None
    assert result.information_coefficient is None
    assert result.dm_statistic is None


def test_diebold_mariano_has_its_nominal_size() -> None:
    """Two equally good forecasts: about one test in twenty may say otherwise."""
    random = np.random.default_rng(1)
    rejected = 0
    for _ in range(400):
        outcome, one, other = random.standard_normal((3, 200))
        rejected += diebold_mariano(one, other, outcome)[1] < 0.05
    assert 8 <= rejected <= 40


def test_diebold_mariano_is_the_t_statistic_where_losses_are_independent() -> None:
    random = np.random.default_rng(2)
    outcome = random.standard_normal(4000)
    better, worse = 0.2 * outcome, np.zeros(4000)
    difference = (worse - outcome) ** 2 - (better - outcome) ** 2
    statistic, p_value = diebold_mariano(better, worse, outcome)
    assert statistic == pytest.approx(difference.mean() / (difference.std() / math.sqrt(4000)), rel=0.15)
    assert p_value < 1e-6
    assert diebold_mariano(worse, better, outcome)[0] == pytest.approx(-statistic)


@pytest.fixture(scope="module")
def result(model_set: ModelSet, candles: pd.DataFrame) -> Evaluation:
    return evaluate(model_set, candles)


def test_every_forecast_is_scored_on_the_same_unseen_bars(
    result: Evaluation, model_set: ModelSet, candles: pd.DataFrame
) -> None:
    assert result.forecasts.index[0] == candles.index[960]
    assert result.forecasts.index[-1] == candles.index[-2]  # the last bar's outcome is not known yet
    assert set(result.scores["all bars"]) == {"experts", "shrunk", "one LSTM", "ridge", "mean", "zero"}
    groups = {name: of["experts"].bars for name, of in result.scores.items()}
    assert groups.pop("all bars") == sum(groups.values()) == 239
    for of_group in result.scores.values():
        assert len({one.bars for one in of_group.values()}) == 1
    expected = Forecaster(model_set).forecast(candles)["forecast"]
    np.testing.assert_array_equal(result.forecasts["experts"], expected.iloc[960:-1])


def test_baselines_use_the_training_part_only(result: Evaluation, model_set: ModelSet, candles: pd.DataFrame) -> None:
    returns = np.log(candles["close"]).diff()
    assert result.forecasts["mean"].iloc[0] == pytest.approx(returns.iloc[1:840].mean())
    changed = candles.copy()
    changed.iloc[1100:] *= 1.5
    again = evaluate(model_set, changed)
    pd.testing.assert_series_equal(again.forecasts["ridge"].iloc[:130], result.forecasts["ridge"].iloc[:130])


def test_regimes_are_described_in_and_out_of_sample(result: Evaluation) -> None:
    for part in ("train", "test"):
        regimes = result.regimes[part]
        assert sum(one.occupancy for one in regimes.values()) == pytest.approx(1)
        for one in regimes.values():
            assert sum(one.transitions.values()) == pytest.approx(1)
    assert result.regimes["train"]["bearish"].volatility > result.regimes["train"]["sideways"].volatility
    assert result.classifier is None


def test_a_classifier_of_labels_is_evaluated_on_the_test_part(labelled: pd.DataFrame) -> None:
    result = evaluate(train(labelled, "LABELS", TrainSettings(**SMALL)), labelled)
    assert result.classifier is not None
    counts = np.array(result.classifier.confusion)
    assert counts.sum() == 240
    assert result.classifier.accuracy == pytest.approx(np.trace(counts) / 240)
    assert counts.sum(axis=1).tolist() == [int((labelled["regime"].iloc[960:] == regime).sum()) for regime in (0, 1, 2)]


def test_the_conclusion_agrees_with_the_test(result: Evaluation) -> None:
    assert result.conclusion.startswith("On 239 unseen bars the experts' squared error is ")
    assert "one LSTM" in result.conclusion
    zero = result.scores["all bars"]["experts"].dm_p
    assert f"p = {zero:.2f}" in result.conclusion or f"p = {zero:.3f}" in result.conclusion
    json.dumps(result.to_dict(), allow_nan=False)


def test_experts_that_all_use_the_one_lstm_are_reported_as_the_same(candles: pd.DataFrame) -> None:
    all_too_rare = train(candles, "SWITCH", TrainSettings(**SMALL | {"min_windows": 600}))
    assert all(expert.training["fallback"] for expert in all_too_rare.experts.values())
    assert "; the same as one LSTM. " in evaluate(all_too_rare, candles).conclusion


def test_candles_without_the_training_part_or_without_unseen_bars_are_refused(
    model_set: ModelSet, candles: pd.DataFrame
) -> None:
    with pytest.raises(DataError, match="do not contain the training part"):
        evaluate(model_set, candles.iloc[500:])
    with pytest.raises(DataError, match="only 4 bars after"):
        evaluate(model_set, candles.iloc[:965])


def test_a_test_part_without_price_changes_has_errors_but_no_relative_ones(candles: pd.DataFrame) -> None:
    still = halted(candles, np.arange(len(candles)) >= 955)
    model_set = train(still, "HALTED", TrainSettings(**SMALL))
    result = evaluate(model_set, still)
    experts = result.scores["all bars"]["experts"]
    assert experts.rmse > 0
    assert (experts.r2_zero, experts.hit_rate, experts.information_coefficient) == (None, None, None)
    assert "worse than zero" in result.conclusion
    json.dumps(result.to_dict(), allow_nan=False)
