from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from models.student import StudentMixture
from training.density_scores import DensityScore, score_densities

N_BARS, DF = 4000, 6.0


def student(location: float, scale: float) -> StudentMixture:
    shape = (N_BARS, 1)
    return StudentMixture(np.ones(shape), np.full(shape, location), np.full(shape, scale), np.full(shape, DF))


def scores_of(forecasts: dict[str, StudentMixture], outcome: np.ndarray, reference: str) -> dict[str, DensityScore]:
    return score_densities(forecasts, outcome, {"all": np.arange(len(outcome))}, reference)["all"]


@pytest.fixture(scope="module")
def outcome() -> np.ndarray:
    return np.asarray(stats.t(DF, scale=0.01).rvs(N_BARS, random_state=0))


def test_the_true_density_is_calibrated_and_beats_a_wrong_one(outcome: np.ndarray) -> None:
    scores = scores_of({"true": student(0, 0.01), "wide": student(0, 0.02)}, outcome, "true")
    true, wide = scores["true"], scores["wide"]
    assert true.log_score == pytest.approx(stats.t(DF, scale=0.01).logpdf(outcome).mean())
    assert true.dm_p is None
    assert true.r2_zero == 0
    assert wide.dm_statistic > 5
    assert wide.crps > true.crps
    for level, share in true.coverage.items():
        assert abs(share - float(level)) < 3 * math.sqrt(float(level) * (1 - float(level)) / N_BARS)
    assert np.abs(np.array(true.pit) - 0.1).max() < 3 * math.sqrt(0.09 / N_BARS)
    for risk in true.risks:
        assert risk.coverage_p > 0.01
        assert risk.shortfall == pytest.approx(risk.expected_shortfall, rel=0.15)
    assert wide.risks[1].coverage_p < 0.001


def test_crps_is_that_of_the_distribution() -> None:
    """For a standard normal variable and the outcome 0 it is (sqrt(2) - 1) / sqrt(pi)."""
    shape = (10, 1)
    normal = StudentMixture(np.ones(shape), np.zeros(shape), np.ones(shape), np.full(shape, 1e6))
    score = scores_of({"normal": normal}, np.zeros(10), "normal")["normal"]
    assert score.crps == pytest.approx((math.sqrt(2) - 1) / math.sqrt(math.pi), rel=0.01)


def test_breaches_that_come_together_are_not_independent(outcome: np.ndarray) -> None:
    clustered = np.sort(outcome)
    scattered = scores_of({"true": student(0, 0.01)}, outcome, "true")["true"].risks[1]
    together = scores_of({"true": student(0, 0.01)}, clustered, "true")["true"].risks[1]
    assert scattered.independence_p > 0.01
    assert together.independence_p < 1e-6
    assert together.coverage_p == scattered.coverage_p


def test_a_share_of_breaches_has_the_p_value_of_kupiecs_test() -> None:
    """Two of 250 bars at the 5 % level: the likelihood ratio by hand."""
    values = np.full(250, 0.0)
    values[:2] = -1.0
    shape = (250, 1)
    forecast = StudentMixture(np.ones(shape), np.zeros(shape), np.full(shape, 0.01), np.full(shape, DF))
    risk = scores_of({"one": forecast}, values, "one")["one"].risks[1]
    ratio = 2 * (2 * math.log(0.008 / 0.05) + 248 * math.log(0.992 / 0.95))
    assert risk.breaches == 0.008
    assert risk.coverage_p == pytest.approx(stats.chi2(1).sf(ratio))


def test_a_group_is_scored_as_if_there_were_no_other_bars(outcome: np.ndarray) -> None:
    forecasts = {"true": student(0.0, 0.01), "wide": student(0.001, 0.02)}
    rows = np.arange(0, N_BARS, 3)
    levels = np.tile([0.6, 0.9, 0.99], (N_BARS, 1))
    group = score_densities(forecasts, outcome, {"all": np.arange(N_BARS), "third": rows}, "true", levels)["third"]
    alone = scores_of({name: one[rows] for name, one in forecasts.items()}, outcome[rows], "true")
    assert group["wide"] == alone["wide"]
    assert group["true"].adapted_coverage["0.5"] > group["true"].coverage["0.5"]
    assert group["wide"].adapted_coverage == {}
