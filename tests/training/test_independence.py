from __future__ import annotations

import numpy as np
import pytest

from training.independence import (
    MeanCorrelation,
    few_points,
    independent_trials,
    return_hashes,
)


def test_equal_trials_count_as_one_independent_ones_as_many_and_opposite_ones_as_more() -> None:
    """Bailey and López de Prado (2014), appendix A.3: rho + (1 - rho) M."""
    assert independent_trials(1.0, 1000) == 1
    assert independent_trials(0.0, 1000) == 1000
    assert independent_trials(0.9, 101) == pytest.approx(11)
    assert independent_trials(-1.0, 2) == 3


def test_the_mean_correlation_is_that_of_the_matrix_in_parts_of_any_size() -> None:
    random = np.random.default_rng(0)
    returns = random.normal(0, 0.01, (500, 1)) + random.normal(0.001, 0.01, (500, 40))
    expected = np.corrcoef(returns.T)[np.triu_indices(40, 1)].mean()
    for parts in (1, 3, 40):
        mean = MeanCorrelation(500)
        for part in np.array_split(returns, parts, axis=1):
            mean.add(part)
        assert mean.value == pytest.approx(expected, rel=1e-12)


def test_a_series_that_never_changes_is_correlated_with_no_other() -> None:
    moving = np.random.default_rng(0).normal(0, 0.01, (100, 1))
    mean = MeanCorrelation(100)
    mean.add(np.hstack([moving, np.full((100, 1), 0.001), 2 * moving]))
    assert mean.value == pytest.approx(1 / 3)  # of three pairs, one has the correlation 1


def test_a_long_series_is_kept_in_few_points_that_have_its_correlations() -> None:
    random = np.random.default_rng(0)
    common = random.normal(0, 0.01, 9000)
    one, other = (common + random.normal(0, 0.01, 9000) for _ in range(2))
    kept = [few_points(series) for series in (one, other)]
    assert [(len(series), series.dtype) for series in kept] == [(3000, np.float32)] * 2
    assert np.corrcoef(*kept)[0, 1] == pytest.approx(np.corrcoef(one, other)[0, 1], abs=0.03)
    short = few_points(one[:4000])
    np.testing.assert_allclose(short, one[:4000], rtol=1e-6)


def test_rounding_errors_do_not_change_the_hash_of_returns_but_any_trade_does() -> None:
    random = np.random.default_rng(0)
    returns = random.normal(0, 0.01, (7704, 200))
    hashes = return_hashes(returns)
    assert len(set(hashes)) == 200
    assert return_hashes(returns + random.normal(0, 1e-12, returns.shape)) == hashes
    assert [return_hashes(returns[:, [at]])[0] for at in range(3)] == hashes[:3]
    changed = returns.copy()
    changed[5000] += 1e-5
    assert not set(return_hashes(changed)) & set(hashes)


def test_the_hash_of_returns_depends_on_the_number_of_bars_and_not_on_the_version() -> None:
    """It is kept in files."""
    assert return_hashes(np.zeros((100, 1))) != return_hashes(np.zeros((101, 1)))
    assert return_hashes(np.linspace(-0.01, 0.02, 50)[:, None]) == ["cb634820900183d3"]
