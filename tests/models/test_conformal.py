from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from models.conformal import INTERVALS, MEMORY, adapted_level, adapted_levels
from models.student import StudentMixture

N_BARS, DF, SCALE = 4000, 6.0, 0.01


def student(scale: float) -> StudentMixture:
    shape = (N_BARS, 1)
    return StudentMixture(np.ones(shape), np.zeros(shape), np.full(shape, scale), np.full(shape, DF))


@pytest.fixture(scope="module")
def log_returns() -> np.ndarray:
    return np.asarray(stats.t(DF, scale=SCALE).rvs(N_BARS, random_state=0))


def coverage(forecast: StudentMixture, log_returns: np.ndarray, levels: np.ndarray) -> np.ndarray:
    """Share of the next returns within the intervals of these levels, after the first `MEMORY` bars."""
    within = 2 * np.abs(forecast[: N_BARS - 1].cdf(log_returns[1:]) - 0.5)
    return np.mean(within[MEMORY:, None] <= levels[MEMORY:-1], axis=0)


def test_a_miss_widens_an_interval_and_a_hit_narrows_it() -> None:
    rate = 0.01
    misses, hits, unknown = [1.0] * 3, [0.0] * 10, [math.nan] * 5
    assert adapted_level([*unknown, *misses, *hits], 0.8) == pytest.approx(0.8 + rate * (3 * 0.8 - 10 * 0.2))
    assert adapted_level(unknown, 0.8) == 0.8


@pytest.mark.parametrize("factor", [0.75, 1.5])
def test_intervals_of_a_wrong_scale_hold_about_as_many_returns_as_they_say(
    log_returns: np.ndarray, factor: float
) -> None:
    forecast = student(SCALE * factor)
    nominal = coverage(forecast, log_returns, np.tile(INTERVALS, (N_BARS, 1)))
    adapted = coverage(forecast, log_returns, adapted_levels(forecast, log_returns))
    assert np.all(np.abs(nominal - INTERVALS) > 0.015)
    assert np.all(np.abs(adapted - INTERVALS) < 0.5 * np.abs(nominal - INTERVALS))


def test_right_intervals_stay_right(log_returns: np.ndarray) -> None:
    adapted = coverage(student(SCALE), log_returns, adapted_levels(student(SCALE), log_returns))
    shares = np.array(INTERVALS)
    assert np.all(np.abs(adapted - shares) < 3 * np.sqrt(shares * (1 - shares) / N_BARS))


def test_levels_depend_on_the_last_forecasts_only(log_returns: np.ndarray) -> None:
    forecast = student(0.8 * SCALE)
    whole = adapted_levels(forecast, log_returns)
    cut = slice(1000, 1000 + MEMORY + 1)
    piece = adapted_levels(forecast[cut], log_returns[cut])
    np.testing.assert_array_equal(piece[-1], whole[cut.stop - 1])
    assert not np.array_equal(piece[-2], whole[cut.stop - 2])
