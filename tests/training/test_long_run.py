from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.signal import lfilter

from training.long_run import cosine_coefficients, degrees_of_freedom, standard_error


def test_the_number_of_cosines_is_the_papers() -> None:
    """Lazarus, Lewis, Stock and Watson (2018): 0.4 T^(2/3)."""
    assert [degrees_of_freedom(n_bars) for n_bars in (10, 250, 1000, 8000)] == [2, 15, 40, 160]


def test_the_error_of_one_cosine_is_known() -> None:
    """Of amplitude a, it has the coefficient a sqrt(n / 2); the mean square over n_cosines is divided by n."""
    n_bars, n_cosines = 1000, 40
    wave = 3 * np.cos(math.pi * 7 * (np.arange(n_bars) + 0.5) / n_bars)
    assert standard_error(2 + wave) == pytest.approx(3 / math.sqrt(2 * n_cosines))
    assert cosine_coefficients(2 + wave)[0] == pytest.approx(2 * math.sqrt(n_bars))


@pytest.mark.parametrize("correlation", [-0.3, 0.0, 0.5])
def test_the_error_includes_autocorrelation(correlation: float) -> None:
    """The long-run variance of an AR(1) is its variance times (1 + rho) / (1 - rho); 50 series of 8,000 bars."""
    shocks = np.random.default_rng(0).standard_normal((8000, 50))
    errors = standard_error(lfilter([1], [1, -correlation], shocks, axis=0))
    assert math.sqrt(np.mean(errors**2)) == pytest.approx(1 / (1 - correlation) / math.sqrt(8000), rel=0.03)
