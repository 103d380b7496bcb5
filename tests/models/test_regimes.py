from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from hmmlearn.hmm import GaussianHMM
from scipy.stats import multivariate_normal

from data.errors import DataError, SettingsError
from data.features import compute_features
from models.detectors.hmm import HMMDetector
from models.detectors.labels import ColumnDetector, LabelsDetector
from models.detectors.trend import TrendDetector
from models.regimes import DETECTORS, HOLD_MEMORY, find_detector, hold_lookback, likeliest_regime, regime_name

REGIMES = (0, 1, 2)


def observed(candles: pd.DataFrame, names: tuple[str, ...]) -> np.ndarray:
    return compute_features(candles, names).to_numpy()


@pytest.fixture(scope="module")
def hmm(labelled: pd.DataFrame) -> HMMDetector:
    return HMMDetector().fit(observed(labelled, HMMDetector().features)[20:800], None, seed=0)


def test_regime_names() -> None:
    assert [regime_name(regime) for regime in range(5)] == ["bearish", "sideways", "bullish", "regime3", "regime4"]


def test_the_filter_is_the_forward_recursion_over_its_memory(hmm: HMMDetector, labelled: pd.DataFrame) -> None:
    features = observed(labelled, hmm.features)[20:400]
    scaled = (features - hmm.mean_) / hmm.scale_
    states = list(zip(hmm.state_means_, hmm.state_covariances_, strict=True))
    eigenvalues, vectors = np.linalg.eig(hmm.transitions_.T)
    stationary = np.real(vectors[:, np.argmax(np.real(eigenvalues))])
    stationary /= stationary.sum()
    probabilities = hmm.filter(features)
    for bar in (127, 200, 379):
        belief = stationary
        for row in scaled[bar - 127 : bar + 1]:
            belief = belief @ hmm.transitions_ * [multivariate_normal.pdf(row, *state) for state in states]
            belief = belief / belief.sum()
        np.testing.assert_allclose(probabilities[bar], belief, rtol=1e-6, atol=1e-12)
    assert np.isnan(probabilities[:127]).all()


def test_the_filter_at_a_bar_is_the_same_to_the_last_bit_from_its_memory_alone(
    hmm: HMMDetector, labelled: pd.DataFrame
) -> None:
    features = observed(labelled, hmm.features)[20:]
    whole = hmm.filter(features)
    for bar in (127, 500, 1000):
        alone = hmm.filter(features[bar + 1 - hmm.memory : bar + 1])
        np.testing.assert_array_equal(alone[-1], whole[bar])


def test_the_hmm_orders_states_by_mean_return_and_recovers_known_ones(hmm: HMMDetector, labelled: pd.DataFrame) -> None:
    assert (np.diff(hmm.state_means_[:, 0]) > 0).all()
    detected = likeliest_regime(hmm.filter(observed(labelled, hmm.features)), REGIMES)[800:]
    truth = labelled["regime"].to_numpy()[800:]
    assert np.mean(detected == truth) > 0.6  # chance is a third; the 20-bar volatility lags


def test_the_race_of_starts_ends_at_the_likelihood_of_the_best_start_fitted_to_the_end(sp500: pd.DataFrame) -> None:
    table = compute_features(sp500, HMMDetector().features).dropna().to_numpy()[:2000]
    detector = HMMDetector().fit(table, None, seed=0)
    scaled = (table - detector.mean_) / detector.scale_
    scores = []
    for seed in range(3):
        model = GaussianHMM(3, "full", n_iter=200, tol=1e-2, random_state=seed)
        scores.append(model.fit(scaled).score(scaled))
    raced = GaussianHMM(3, "full")
    raced.means_, raced.covars_ = detector.state_means_, detector.state_covariances_
    raced.transmat_, raced.startprob_ = detector.transitions_, model.startprob_
    assert raced.score(scaled) > max(scores) - 1e-4 * len(scaled)


def test_a_price_that_does_not_move_has_no_hidden_states() -> None:
    with pytest.raises(DataError, match="price hardly moves"):
        HMMDetector().fit(np.zeros((300, 2)), None, seed=0)


def test_a_price_that_alternates_between_two_values_has_no_hidden_states(labelled: pd.DataFrame) -> None:
    alternating = labelled.assign(close=np.where(np.arange(len(labelled)) % 2, 100.0, 110.0))
    features = observed(alternating, HMMDetector().features)[20:800]
    assert len(np.unique(features, axis=0)) == 2
    with pytest.raises(DataError, match="no hidden Markov model fits the training part"):
        HMMDetector().fit(features, None, seed=0)


def test_two_different_rows_are_fitted_without_a_warning() -> None:
    rows = np.array([[0.01, 0.02], [-0.01, 0.03]])[np.random.default_rng(0).integers(2, size=300)]
    fitted = HMMDetector().fit(rows, None, seed=0)
    assert np.isfinite(fitted.filter(rows)[127:]).all()


@pytest.mark.parametrize(("n_states", "regimes"), [(2, (0, 2)), (4, (0, 1, 2, 3)), (5, (0, 1, 2, 3, 4))])
def test_bearish_has_the_lowest_and_bullish_the_highest_mean_of_any_number_of_states(
    labelled: pd.DataFrame, n_states: int, regimes: tuple[int, ...]
) -> None:
    names = ("log_return", "log_volatility(5)")
    detector = HMMDetector(n_states=n_states, features=names).fit(observed(labelled, names)[20:800], None, seed=0)
    assert detector.regimes == regimes
    means = detector.state_means_[:, 0]
    assert means[0] == means.min()
    assert means[regimes.index(2)] == means.max()
    assert np.all(np.diff(np.delete(means, regimes.index(2))) > 0)
    again = HMMDetector.from_parameters(json.loads(json.dumps(detector.parameters())))
    assert (again.regimes, again.features) == (regimes, names)
    np.testing.assert_allclose(again.filter(observed(labelled, names)), detector.filter(observed(labelled, names)))


def test_the_information_criterion_finds_the_number_of_states() -> None:
    """Two states that differ in volatility only, five times as far apart as one standard deviation."""
    random = np.random.default_rng(0)
    calm = np.repeat(random.random(40) < 0.5, 50)
    returns = np.where(calm, 0.01, 0.05) * random.standard_normal(2000)
    rows = np.column_stack([returns, np.where(calm, 0.01, 0.05) + 0.002 * random.standard_normal(2000)])
    assert HMMDetector(n_states="auto").fit(rows, None, seed=0).regimes == (0, 2)


def test_the_features_of_the_hidden_markov_model_begin_with_the_return() -> None:
    with pytest.raises(SettingsError, match="Begin it with log_return"):
        HMMDetector(features=("volatility", "log_return"))


def test_an_outlier_does_not_break_the_filter(hmm: HMMDetector, labelled: pd.DataFrame) -> None:
    features = observed(labelled, hmm.features)[20:400].copy()
    features[200] = [5.0, 3.0]
    probabilities = hmm.filter(features)[127:]
    np.testing.assert_allclose(probabilities.sum(axis=1), 1)


def test_the_trend_rule_follows_the_sign_of_a_clear_trend() -> None:
    probabilities = TrendDetector().filter(np.array([[-0.6], [0.1], [0.6], [np.nan]]))
    np.testing.assert_array_equal(probabilities[:3], np.eye(3))
    assert np.isnan(probabilities[3]).all()


def test_the_classifier_learns_labels_that_the_features_show(labelled: pd.DataFrame) -> None:
    names = LabelsDetector().features
    features, labels = observed(labelled, names)[50:], labelled["regime"].to_numpy()[50:]
    detector = LabelsDetector().fit(features[:800], labels[:800], seed=0)
    detected = likeliest_regime(detector.filter(features[800:]), detector.regimes)
    assert np.mean(detected == labels[800:]) > 0.6


def test_the_classifier_of_two_classes_gives_probabilities_of_both() -> None:
    features = np.random.default_rng(0).standard_normal((200, 7))
    detector = LabelsDetector().fit(features, np.where(features[:, 0] > 0, 2.0, 0.0), seed=0)
    probabilities = detector.filter(features)
    assert detector.regimes == (0, 2)
    assert np.mean((probabilities[:, 1] > 0.5) == (features[:, 0] > 0)) > 0.95
    np.testing.assert_allclose(probabilities.sum(axis=1), 1)


def test_labels_of_one_class_cannot_train_a_classifier() -> None:
    with pytest.raises(DataError, match="holds only 1; a classifier needs two"):
        LabelsDetector().fit(np.zeros((50, 7)), np.ones(50), seed=0)


def test_the_classifier_needs_a_column_of_labels() -> None:
    with pytest.raises(DataError, match="needs a column 'regime'"):
        LabelsDetector().fit(np.zeros((50, 7)), None, seed=0)


def test_the_column_gives_probability_1_and_nan_for_an_unknown_label() -> None:
    probabilities = ColumnDetector((0, 1, 2)).filter(np.array([[0.0], [2.0], [7.0]]))
    np.testing.assert_array_equal(probabilities[:2], [[1, 0, 0], [0, 0, 1]])
    assert np.isnan(probabilities[2]).all()


@pytest.mark.parametrize("name", ["hmm", "trend", "labels"])
def test_a_detector_is_read_back_from_json(labelled: pd.DataFrame, name: str) -> None:
    detector = DETECTORS[name]()
    features = observed(labelled, detector.features)[50:]
    detector.fit(features[:700], labelled["regime"].to_numpy()[50:750], seed=1)
    again = find_detector(name).from_parameters(json.loads(json.dumps(detector.parameters())))
    assert again.regimes == detector.regimes
    np.testing.assert_array_equal(again.filter(features), detector.filter(features))


def test_an_unknown_detector_is_refused_with_the_known_ones() -> None:
    with pytest.raises(SettingsError, match="no detector 'hnm'; known: hmm, labels, trend"):
        find_detector("hnm")


def certain(regimes: list[int], confidence: float = 0.9) -> np.ndarray:
    rest = (1 - confidence) / 2
    return np.where(np.eye(3)[regimes] > 0, confidence, rest)


def test_without_holding_the_most_likely_regime_is_used() -> None:
    probabilities = certain([0, 2, 1, 1])
    probabilities[3] = np.nan
    np.testing.assert_array_equal(likeliest_regime(probabilities, REGIMES), [0, 2, 1, np.nan])


def test_a_regime_is_confirmed_after_min_dwell_bars() -> None:
    held = likeliest_regime(certain([0, 0, 0, 2, 0, 2, 2, 2, 1]), REGIMES, min_dwell=3)
    assert held.tolist() == [0, 0, 0, 0, 0, 0, 0, 2, 2]


def test_a_regime_below_min_confidence_is_not_confirmed() -> None:
    probabilities = np.vstack([certain([0, 0]), certain([2, 2], confidence=0.5), certain([2])])
    assert likeliest_regime(probabilities, REGIMES, min_confidence=0.8).tolist() == [0, 0, 0, 0, 2]


def test_a_held_regime_depends_on_nothing_before_its_lookback() -> None:
    random = np.random.default_rng(3)
    probabilities = random.dirichlet([0.4, 0.4, 0.4], size=1000)
    whole = likeliest_regime(probabilities, REGIMES, 0.6, 4)
    lookback = hold_lookback(0.6, 4)
    assert lookback == HOLD_MEMORY + 2
    for bar in range(lookback, 1000, 37):
        cut = likeliest_regime(probabilities[bar - lookback : bar + 1], REGIMES, 0.6, 4)
        assert cut[-1] == whole[bar]
