from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import kurtosis, norm, skew

from training.independence import independent_trials
from training.resampling import Returns, resample
from training.sharpe import SIGNIFICANT_PROBABILITY, TrackRecord, expected_best_sharpe, sharpe_ratio, too_few_trades


def record_of(sharpe: float, bars: int, skewness: float = 0.0, kurtosis: float = 3.0) -> TrackRecord:
    """With the interval of a normal estimate and the standard error of independent returns (Mertens 2002)."""
    error = math.sqrt((1 - skewness * sharpe + (kurtosis - 1) / 4 * sharpe**2) / (bars - 1))
    margin = norm.ppf(0.975) * error
    return TrackRecord(sharpe, sharpe - margin, sharpe + margin, bars)


def test_the_probabilistic_sharpe_ratio_is_the_papers_hedge_fund() -> None:
    """Bailey and López de Prado (2012): two years of months, 0.458 a month."""
    assert record_of(0.458, 24).probabilistic_sharpe() == pytest.approx(0.982, abs=5e-4)
    assert record_of(0.458, 24, -2.448, 10.164).probabilistic_sharpe() == pytest.approx(0.913, abs=5e-4)


def test_the_minimum_track_record_is_the_papers_formula_for_a_two_sided_test() -> None:
    """Bailey and López de Prado (2012), eq. 13 without its one added bar, two-sided: 1.96 instead of 1.645."""
    record = record_of(2 / math.sqrt(12), 10_000, -0.72, 5.78)
    difference = 1 / math.sqrt(12)
    variance = 1 + 0.72 * record.sharpe + 4.78 / 4 * record.sharpe**2
    needed = record.minimum_length(difference)
    assert needed == pytest.approx(variance * (norm.ppf(0.975) / difference) ** 2, rel=1e-3)


def test_a_losing_strategy_has_no_minimum_track_record() -> None:
    assert record_of(-0.1, 1000).minimum_length() is None


def test_the_deflated_sharpe_ratio_is_the_papers() -> None:
    """Bailey and López de Prado (2014): 2.5 a year over five years of days, best of 100; of 46; of 88 normal ones."""
    variance = 0.5 / 250
    assert expected_best_sharpe(100, variance) == pytest.approx(0.1132, abs=5e-5)
    record = record_of(2.5 / math.sqrt(250), 1250, -3, 10)
    assert record.deflated_sharpe(100, variance) == pytest.approx(0.9004, abs=5e-5)
    assert record.deflated_sharpe(46, variance) == pytest.approx(0.9505, abs=5e-5)
    normal = record_of(2.5 / math.sqrt(250), 1250)
    assert normal.deflated_sharpe(88, variance) == pytest.approx(0.9505, abs=5e-5)


def test_one_trial_is_not_deflated() -> None:
    record = record_of(0.1, 500, -1, 5)
    assert record.deflated_sharpe(1, 0.0) == record.probabilistic_sharpe()


def test_the_expected_best_of_a_fractional_number_of_trials_rises_from_0() -> None:
    numbers = [1, 1 + 1e-9, 1.01, 1.5, 1.99, 2, 2.05, 2.1, 3, 10, 99.5, 1e3, 1e6]
    best = [expected_best_sharpe(number, 1.0) for number in numbers]
    assert best[0] == 0
    assert best == sorted(best)
    assert best[3] == pytest.approx(math.sqrt(0.5 / math.pi))  # exact for two trials with the correlation 0.5


@pytest.mark.parametrize("trials", [2, 3, 10, 100, 20_000])
@pytest.mark.parametrize("correlation", [0, 0.3, 0.7, 0.9, 0.99, 0.999])
def test_the_independent_trials_give_the_best_of_correlated_ones_or_more(trials: int, correlation: float) -> None:
    """The best of M normal trials without skill and equal correlations is sqrt(1 - rho) times that of M independent."""
    points = np.linspace(0, 12, 20_001)
    independent = np.trapezoid(1 - norm.cdf(points) ** trials - norm.cdf(-points) ** trials, points)
    counted = expected_best_sharpe(independent_trials(correlation, trials), 1.0)
    assert counted > 0.93 * math.sqrt(1 - correlation) * independent


NOT_ZERO = st.integers(-10_000, 10_000).filter(bool).map(lambda number: number / 10_000)


@given(ratios=st.tuples(NOT_ZERO, NOT_ZERO, NOT_ZERO).map(sorted), bars=st.integers(20, 5000))
def test_interval_probability_and_length_give_the_same_answer(ratios: list[float], bars: int) -> None:
    low, sharpe, high = ratios
    record = TrackRecord(sharpe, low, high, bars)
    probability, needed = record.probabilistic_sharpe(), record.minimum_length()
    assert (probability > SIGNIFICANT_PROBABILITY) == (low > 0)
    assert (probability < 1 - SIGNIFICANT_PROBABILITY) == (high < 0)
    assert (needed is not None and needed < bars) == (low > 0)
    assert record.significant == (low > 0 or high < 0)


def test_the_probability_of_independent_skewed_returns_is_close_to_the_papers() -> None:
    returns = 0.01 * (np.random.default_rng(9).exponential(1, 2500) - 0.972)
    interval, sharpe = resample([Returns(returns)], 1).sharpe_interval(), float(sharpe_ratio(returns))
    assert interval is not None
    ours = TrackRecord(sharpe, interval.low, interval.high, 2500).probabilistic_sharpe()
    paper = record_of(sharpe, 2500, float(skew(returns)), float(kurtosis(returns, fisher=False)))
    assert 0.9 < ours < 0.99
    assert ours == pytest.approx(paper.probabilistic_sharpe(), abs=0.01)


def test_a_benchmark_at_an_end_of_the_interval_has_the_probability_of_that_end() -> None:
    record = TrackRecord(0.05, -0.01, 0.15, 500)
    assert record.probabilistic_sharpe(-0.01) == pytest.approx(0.975)
    assert record.probabilistic_sharpe(0.05) == 0.5
    assert record.probabilistic_sharpe(0.15) == pytest.approx(0.025)


def test_few_trades_are_too_few_only_for_a_strategy_that_is_seldom_in_the_market() -> None:
    assert too_few_trades(29, 0.05)
    assert not too_few_trades(30, 0.05)
    assert not too_few_trades(0, 0.95)
