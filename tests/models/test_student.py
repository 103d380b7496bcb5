from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from models.student import StudentMixture

ONE = StudentMixture(*(np.array([value]) for value in (1.0, 0.001, 0.02, 5.0)))
TWO = StudentMixture(np.array([0.3, 0.7]), np.array([-0.01, 0.004]), np.array([0.03, 0.005]), np.array([7.0, 12.0]))
LEVELS = (0.001, 0.025, 0.5, 0.9, 0.999)


def test_one_component_is_the_distribution_of_scipy() -> None:
    known = stats.t(5.0, loc=0.001, scale=0.02)
    for value in (-0.2, 0.001, 0.03):
        assert ONE.log_density(value) == pytest.approx(known.logpdf(value), rel=1e-12)
        assert ONE.cdf(value) == pytest.approx(known.cdf(value), rel=1e-12)
    np.testing.assert_allclose(ONE.quantiles(LEVELS), known.ppf(LEVELS), rtol=1e-8)
    assert ONE.mean() == pytest.approx(known.mean())
    assert ONE.deviation() == pytest.approx(known.std())


def test_a_mixture_is_the_weighted_sum_of_its_components() -> None:
    parts = stats.t(TWO.df, TWO.location, TWO.scale)
    assert np.exp(TWO.log_density(0.002)) == pytest.approx(TWO.weights @ parts.pdf(0.002), rel=1e-12)
    assert TWO.cdf(0.002) == pytest.approx(TWO.weights @ parts.cdf(0.002), rel=1e-12)
    drawn = np.where(np.random.default_rng(0).random(400_000) < 0.3, *parts.rvs((400_000, 2), random_state=1).T)
    assert TWO.mean() == pytest.approx(drawn.mean(), abs=2e-4)
    assert TWO.deviation() == pytest.approx(drawn.std(), rel=0.02)


def test_quantiles_invert_the_distribution_function_at_each_bar() -> None:
    random = np.random.default_rng(0)
    shape = (50, 4)
    weights = random.dirichlet(np.ones(4), 50)
    many = StudentMixture(
        weights, random.normal(0, 0.01, shape), random.uniform(1e-6, 0.05, shape), random.uniform(2.01, 50, shape)
    )
    found = many.quantiles(LEVELS)
    assert found.shape == (50, len(LEVELS))
    for at, level in enumerate(LEVELS):
        np.testing.assert_allclose(many.cdf(found[:, at]), level, atol=1e-8)
