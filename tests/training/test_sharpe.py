from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import kurtosis, norm, skew

from training.independence import independent_trials
from training.resampling import superior_predictive_ability
from training.sharpe import (
    LEVEL,
    SIGNIFICANT_PROBABILITY,
    TrackRecord,
    expected_best_sharpe,
    sharpe_difference,
    sharpe_interval,
    sharpe_ratio,
)


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
    interval, sharpe = sharpe_interval(returns, 1), float(sharpe_ratio(returns))
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


def test_the_interval_of_independent_returns_is_close_to_the_normal_one() -> None:
    """Lo (2002): the standard error of an annualised ratio is about one over the root of the years."""
    returns = np.random.default_rng(0).normal(0.0005, 0.01, 2500)
    interval = sharpe_interval(returns, 250)
    assert interval is not None
    assert interval.high - interval.low == pytest.approx(2 * 1.96 / math.sqrt(10), rel=0.15)
    assert interval.low < returns.mean() / returns.std(ddof=1) * math.sqrt(250) < interval.high


def test_the_interval_has_about_its_nominal_coverage() -> None:
    random = np.random.default_rng(1)
    intervals = [sharpe_interval(random.normal(0.001, 0.01, 500), 250) for _ in range(60)]
    truth = 0.1 * math.sqrt(250)
    assert 52 <= sum(one is not None and one.low <= truth <= one.high for one in intervals) <= 60


def test_autocorrelated_returns_widen_the_interval() -> None:
    random = np.random.default_rng(2)
    shocks = random.normal(0, 0.01, 3000)
    returns = np.convolve(shocks, np.ones(10), mode="valid")
    apart, together = sharpe_interval(random.permutation(returns), 250), sharpe_interval(returns, 250)
    assert apart is not None
    assert together is not None
    assert together.high - together.low > 1.8 * (apart.high - apart.low)


def test_equal_returns_give_equal_intervals() -> None:
    returns = np.random.default_rng(3).normal(0, 0.01, 300)
    assert sharpe_interval(returns, 250) == sharpe_interval(returns.copy(), 250)


def test_equal_skill_is_not_significantly_different_but_a_constant_excess_return_is() -> None:
    random = np.random.default_rng(4)
    market = random.normal(0.0003, 0.01, 1000)
    lucky = sharpe_difference(market, random.normal(0.0003, 0.01, 1000), 250)
    better = sharpe_difference(market + random.normal(0.0006, 0.002, 1000), market, 250)
    assert lucky is not None
    assert lucky.p_value > 0.1
    assert lucky.low < 0 < lucky.high
    assert better is not None
    assert better.p_value < 0.01
    assert better.low > 0


def test_the_test_of_a_difference_has_about_its_nominal_size() -> None:
    random = np.random.default_rng(5)
    result = [sharpe_difference(*random.normal(0, 0.01, (2, 300)), 250) for _ in range(60)]
    assert sum(one is not None and one.p_value < 0.05 for one in result) <= 8


def test_the_interval_of_a_difference_contains_0_unless_its_p_value_is_significant() -> None:
    random = np.random.default_rng(8)
    answers = set()
    for _ in range(60):
        market, noise = random.normal(0, 0.01, 250), random.standard_t(3, 250)
        result = sharpe_difference(market + 0.005 * (noise + 0.25), market, 250)
        assert result is not None
        assert (result.low > 0 or result.high < 0) == (result.p_value < 1 - LEVEL)
        answers.add(result.low > 0)
    assert answers == {True, False}


def test_an_account_that_never_moves_has_neither_interval_nor_difference() -> None:
    still, moving = np.zeros(100), np.random.default_rng(6).normal(0, 0.01, 100)
    assert sharpe_interval(still, 250) is None
    assert sharpe_difference(still, moving, 250) is None
    assert sharpe_difference(moving, moving, 250) is None


def test_a_rarely_trading_strategy_has_an_interval_without_a_warning() -> None:
    returns = np.zeros(400)
    returns[200] = 0.01
    assert sharpe_interval(returns, 250) is not None


def test_the_best_of_many_random_strategies_is_not_significant() -> None:
    p_values = []
    for seed in range(20):
        random = np.random.default_rng(seed)
        holding = random.normal(0, 0.01, 800)
        p_values.append(superior_predictive_ability(list(random.normal(0, 0.01, (20, 800))), holding))
    assert sum(p is not None and p < 0.05 for p in p_values) <= 4


def test_a_skilled_strategy_among_many_random_ones_is_significant() -> None:
    random = np.random.default_rng(7)
    holding = random.normal(0, 0.01, 800)
    strategies = [*random.normal(0, 0.01, (20, 800)), holding + random.normal(0.001, 0.005, 800)]
    result = superior_predictive_ability(strategies, holding)
    assert result is not None
    assert result < 0.02
    assert superior_predictive_ability([holding], holding) is None
