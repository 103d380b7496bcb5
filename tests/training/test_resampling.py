from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from arch.bootstrap import optimal_block_length as arch_block_length
from scipy.signal import lfilter
from scipy.stats import t as student

from training.drawdowns import optimal_block_length
from training.long_run import degrees_of_freedom, standard_error
from training.resampling import Interval, Returns, max_drawdowns, resample, superior_predictive_ability
from training.sharpe import LEVEL

N_BARS, SKILL = 1000, np.array([-2.0, -1.0, 0.0, 1.0, 2.0]) / 1e3  # of five members, per bar
MARKET, OTHER = np.random.default_rng(0).normal(0.0005, 0.01, (2, N_BARS))
ENSEMBLE = Returns(MARKET, MARKET[:, None] + SKILL)


def width(interval: Interval | None) -> float:
    assert interval is not None
    return interval.high - interval.low


def widths(returns: Returns) -> tuple[float, float]:
    """Of the intervals of Sharpe ratio per bar and drawdown."""
    figures = resample([returns], 1)
    return width(figures.sharpe_interval()), width(figures.drawdown_interval())


def test_the_interval_of_independent_returns_is_close_to_the_normal_one() -> None:
    """Lo (2002): the standard error of an annualised ratio is about one over the root of the years."""
    returns = np.random.default_rng(0).normal(0.0005, 0.01, 2500)
    figures = resample([Returns(returns)], 250)
    interval = figures.sharpe_interval()
    assert width(interval) == pytest.approx(2 * 1.96 / math.sqrt(10), rel=0.15)
    assert interval is not None
    assert (interval.low + interval.high) / 2 == pytest.approx(figures.sharpe[0])
    assert figures.sharpe[0] == pytest.approx(returns.mean() / returns.std(ddof=1) * math.sqrt(250))


@pytest.mark.parametrize("correlation", [0.0, 0.3])
def test_interval_and_test_keep_their_level_on_short_autocorrelated_returns(correlation: float) -> None:
    """500 pairs without skill: 25 rejections of each are expected, and 15 to 37 contain 99 % of such counts."""
    random, wrong = np.random.default_rng(1), np.zeros(2)
    for _ in range(500):
        one, other = lfilter([1], [1, -correlation], random.normal(0, 0.01, (2, 250)))
        figures = resample([Returns(one), Returns(one + other)], 250)
        interval, difference = figures.sharpe_interval(), figures.sharpe_difference(0, 1)
        assert interval is not None
        assert difference is not None
        wrong += [not interval.low <= 0 <= interval.high, difference.p_value < 0.05]
    assert (wrong >= 14).all()
    assert (wrong <= 38).all()


@pytest.mark.parametrize("n_bars", [100, 500, 2500])
@pytest.mark.parametrize("correlation", [-0.5, 0.0, 0.9])
def test_the_block_length_is_that_of_the_package_arch(n_bars: int, correlation: float) -> None:
    returns = lfilter([1], [1, -correlation], np.random.default_rng(3).normal(0, 0.01, n_bars))
    assert optimal_block_length(returns) == pytest.approx(arch_block_length(returns)["stationary"].iloc[0])


def test_members_that_are_alike_do_not_widen_an_interval() -> None:
    alike = Returns(MARKET, np.repeat(MARKET[:, None], 5, axis=1))
    assert widths(alike) == pytest.approx(widths(Returns(MARKET)))


def test_members_that_differ_by_chance_over_the_bars_hardly_widen_an_interval() -> None:
    noise = np.random.default_rng(2).normal(0, 0.01, (N_BARS, 5))
    members = MARKET[:, None] + noise - noise.mean(axis=1, keepdims=True)
    assert widths(Returns(MARKET, members)) == pytest.approx(widths(Returns(MARKET)), rel=0.1)


@pytest.mark.parametrize("drawn", [1, 5])
def test_the_skill_of_members_adds_its_variance_over_their_number(drawn: int) -> None:
    """Degrees of freedom as by Satterthwaite (1946): four of the five members, 40 of the bars."""
    sharpe = MARKET.mean() / MARKET.std()
    standardised = (MARKET - MARKET.mean()) / MARKET.std()
    of_bars = float(standard_error(standardised - sharpe / 2 * (standardised**2 - 1))) ** 2
    of_seeds = SKILL.var(ddof=1) / drawn / MARKET.var()
    degrees = (of_bars + of_seeds) ** 2 / (of_bars**2 / degrees_of_freedom(N_BARS) + of_seeds**2 / 4)
    expected = 2 * student.ppf(0.975, degrees) * math.sqrt(of_bars + of_seeds)
    sharpe_width, drawdown_width = widths(replace(ENSEMBLE, drawn=drawn))
    assert sharpe_width == pytest.approx(expected, rel=1e-3)
    assert drawdown_width > 1.1 * widths(Returns(MARKET))[1]


def test_a_single_network_needs_a_borrowed_spread() -> None:
    alone = Returns(MARKET, MARKET[:, None])
    assert not alone.seed_luck_known
    assert widths(alone) == widths(Returns(MARKET))
    assert ENSEMBLE.seed_luck_known


def test_the_luck_of_the_seed_cancels_between_strategies_of_the_same_networks() -> None:
    other = Returns(OTHER, OTHER[:, None] + SKILL * OTHER.std() / MARKET.std())  # the same effect on the Sharpe ratio
    without = resample([Returns(MARKET), Returns(OTHER)], 250).sharpe_difference(0, 1)
    same = resample([replace(one, networks="one training") for one in (ENSEMBLE, other)], 250).sharpe_difference(0, 1)
    apart = resample([ENSEMBLE, other], 250).sharpe_difference(0, 1)
    assert without is not None
    assert same is not None
    assert apart is not None
    assert same.low == pytest.approx(without.low, rel=1e-3)
    assert apart.high - apart.low > 1.2 * (same.high - same.low)


def test_strategies_of_the_same_networks_share_the_draws() -> None:
    twice = resample([replace(ENSEMBLE, networks="one training")] * 2, 250)
    assert twice.sharpe_difference(0, 1) is None
    assert twice.drawdown_difference(0, 1) is None
    assert resample([ENSEMBLE, ENSEMBLE], 250).drawdown_difference(0, 1) is not None


def test_an_interval_contains_0_unless_the_p_value_is_significant() -> None:
    random = np.random.default_rng(8)
    answers = set()
    for _ in range(60):
        market, noise = random.normal(0, 0.01, 250), random.standard_t(3, 250)
        figures = resample([Returns(market + 0.005 * (noise + 0.25)), Returns(market), Returns(market / 3)], 250)
        for name, result in (
            ("Sharpe", figures.sharpe_difference(0, 1)),
            ("drawdown", figures.drawdown_difference(2, 0)),
        ):
            assert result is not None
            assert (result.low > 0 or result.high < 0) == (result.p_value < 1 - LEVEL)
            answers.add((name, result.low > 0))
    assert answers == {("Sharpe", True), ("Sharpe", False), ("drawdown", True), ("drawdown", False)}


def test_half_the_exposure_has_the_same_sharpe_ratio_and_a_smaller_drawdown() -> None:
    figures = resample([Returns(MARKET / 2), Returns(MARKET)], 250)
    assert figures.sharpe_difference(0, 1) is None
    drawdowns = figures.drawdown_difference(0, 1)
    assert drawdowns is not None
    assert drawdowns.difference == pytest.approx(figures.max_drawdown[0] - figures.max_drawdown[1])
    assert drawdowns.low > 0


def test_an_account_that_never_moves_has_neither_interval_nor_difference() -> None:
    figures = resample([Returns(np.zeros(100)), Returns(MARKET[:100])], 250)
    assert figures.sharpe_interval() is figures.drawdown_interval() is None
    assert figures.sharpe_difference(0, 1) is figures.drawdown_difference(0, 1) is None
    assert figures.sharpe_interval(1) is not None


def test_fewer_than_twenty_bars_have_neither_interval_nor_difference() -> None:
    figures = resample([Returns(MARKET[:19]), Returns(OTHER[:19])], 250)
    assert figures.sharpe_interval() is figures.drawdown_interval() is None
    assert figures.sharpe_difference(0, 1) is figures.drawdown_difference(0, 1) is None
    assert resample([Returns(MARKET[:20])], 250).sharpe_interval() is not None


def test_a_rarely_trading_strategy_has_an_interval_without_a_warning() -> None:
    returns = np.zeros(400)
    returns[200] = 0.01
    assert width(resample([Returns(returns)], 250).sharpe_interval()) > 0


@pytest.mark.parametrize(
    ("returns", "drawdown"),
    [([0.1, -0.5, 0.2, -0.1], -0.5), ([-0.2, 0.5], -0.2), ([0.1, 0.1], 0.0), ([0.5, -1.0, 0.0], -1.0)],
    ids=["a fall and a smaller one", "from the first bar", "never", "bankruptcy"],
)
def test_the_drawdown_of_a_path_is_its_largest_fall_from_a_peak(returns: list[float], drawdown: float) -> None:
    assert max_drawdowns(np.array([returns]).T) == pytest.approx([drawdown])


def test_resamples_of_equal_returns_have_the_drawdown_of_the_path() -> None:
    figures = resample([Returns(np.full(50, -0.01)), Returns(np.full(50, 0.01))], 250)
    assert figures.max_drawdowns == pytest.approx(np.broadcast_to([0.99**50 - 1, 0], (1000, 2)))
    assert figures.max_drawdown == pytest.approx([0.99**50 - 1, 0])


def test_equal_returns_give_equal_intervals() -> None:
    assert widths(ENSEMBLE) == widths(Returns(MARKET.copy(), MARKET[:, None] + SKILL))


def test_hansens_test_of_one_strategy_is_the_one_sided_t_test() -> None:
    difference = np.random.default_rng(3).normal(0.0005, 0.01, N_BARS)
    expected = student.sf(difference.mean() / standard_error(difference), degrees_of_freedom(N_BARS))
    assert superior_predictive_ability([MARKET + difference], MARKET) == pytest.approx(expected, abs=0.03)


def test_the_best_of_many_random_strategies_is_not_significant() -> None:
    """200 times ten: ten rejections are expected, and 3 to 19 contain 99 % of such counts."""
    random, rejected = np.random.default_rng(4), 0
    for _ in range(200):
        holding, *others = random.normal(0, 0.01, (11, 250))
        p_value = superior_predictive_ability(others, holding)
        assert p_value is not None
        rejected += p_value < 0.05
    assert 3 <= rejected <= 19


def test_a_calm_skilled_strategy_among_volatile_ones_is_significant() -> None:
    random = np.random.default_rng(7)
    strategies = [*MARKET + random.normal(0, 0.02, (20, N_BARS)), MARKET + random.normal(0.0003, 0.002, N_BARS)]
    result = superior_predictive_ability(strategies, MARKET)
    assert result is not None
    assert result < 0.02


def test_no_strategy_that_earns_less_is_superior() -> None:
    assert superior_predictive_ability([MARKET - 0.001 + OTHER / 100, np.full(N_BARS, -0.01)], MARKET) == 1
    assert superior_predictive_ability([MARKET], MARKET) is None
    assert superior_predictive_ability([OTHER[:19]], MARKET[:19]) is None
