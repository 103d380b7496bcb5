from __future__ import annotations

import math

import numpy as np
import pytest

from training.sharpe import (
    TrackRecord,
    expected_best_sharpe,
    sharpe_difference,
    sharpe_interval,
    superior_predictive_ability,
)


def test_the_probabilistic_sharpe_ratio_is_the_papers_hedge_fund() -> None:
    """Bailey and López de Prado (2012): two years of months, 0.458 a month."""
    assert TrackRecord(0.458, 24).probabilistic_sharpe() == pytest.approx(0.982, abs=5e-4)
    assert TrackRecord(0.458, 24, -2.448, 10.164).probabilistic_sharpe() == pytest.approx(0.913, abs=5e-4)


@pytest.mark.parametrize(("bars_per_year", "years"), [(250, 2.73), (52, 2.83), (12, 3.24)])
def test_the_minimum_track_record_is_the_papers_for_a_sharpe_of_2_against_1(bars_per_year: int, years: float) -> None:
    scale = math.sqrt(bars_per_year)
    needed = TrackRecord(2 / scale, 1000).minimum_length(1 / scale)
    assert needed is not None
    assert needed / bars_per_year == pytest.approx(years, abs=0.005)


def test_the_minimum_track_record_is_the_papers_for_monthly_returns_that_are_not_normal() -> None:
    needed = TrackRecord(2 / math.sqrt(12), 60, -0.72, 5.78).minimum_length(1 / math.sqrt(12))
    assert needed is not None
    assert needed / 12 == pytest.approx(4.99, abs=0.005)


def test_a_losing_strategy_has_no_minimum_track_record() -> None:
    assert TrackRecord(-0.1, 1000).minimum_length() is None


def test_the_deflated_sharpe_ratio_is_the_papers() -> None:
    """Bailey and López de Prado (2014): 2.5 a year over five years of days, best of 100; of 46; of 88 normal ones."""
    variance = 0.5 / 250
    assert expected_best_sharpe(100, variance) == pytest.approx(0.1132, abs=5e-5)
    record = TrackRecord(2.5 / math.sqrt(250), 1250, -3, 10)
    assert record.deflated_sharpe(100, variance) == pytest.approx(0.9004, abs=5e-5)
    assert record.deflated_sharpe(46, variance) == pytest.approx(0.9505, abs=5e-5)
    normal = TrackRecord(2.5 / math.sqrt(250), 1250)
    assert normal.deflated_sharpe(88, variance) == pytest.approx(0.9505, abs=5e-5)


def test_one_trial_is_not_deflated() -> None:
    record = TrackRecord(0.1, 500, -1, 5)
    assert record.deflated_sharpe(1, 0.0) == record.probabilistic_sharpe()


def test_a_track_record_takes_the_moments_of_its_returns() -> None:
    returns = np.array([0.1, -0.1, 0.1, 0.2, -0.2])
    record = TrackRecord.of(returns)
    assert record is not None
    centred = returns - returns.mean()
    assert record.sharpe == pytest.approx(returns.mean() / returns.std(ddof=1))
    assert record.skewness == pytest.approx(np.mean(centred**3) / returns.std() ** 3)
    assert record.kurtosis == pytest.approx(np.mean(centred**4) / returns.std() ** 4)
    assert TrackRecord.of(np.zeros(50)) is None


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
