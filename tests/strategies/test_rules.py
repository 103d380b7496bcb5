"""Sizes, stops, targets and limits: cases computed by hand, and the array simulator against Backtrader."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from models.expert import member_names
from models.forecaster import member_forecasts
from models.recorded import RecordedForecasts
from runners.backtesting.engine import Recorder, run_strategy
from runners.backtesting.settings import BacktestSettings
from strategies import LSTMRegimeStrategy
from strategies.array_simulation import SettingsGrid, Simulated, simulate
from strategies.rule_settings import RuleSettings
from strategies.settings import round_trip_cost
from strategies.signals import Market, past_volatility
from tests.strategies.test_array_simulation import BETWEEN, CASH, DOWN, FREE, UP, any_settings, bars

EARLIER = 18  # fewer bars than the past volatility reads, so that it is unknown at first


class Counting(LSTMRegimeStrategy):
    """The strategy, and the number of its fills."""

    fills = 0

    def notify_order(self, order: Any) -> None:
        type(self).fills += len(order.executed.getpending())


class Case(NamedTuple):
    """Candles, and recorded forecasts of the last of their bars, which are traded."""

    candles: pd.DataFrame
    forecasts: pd.DataFrame

    @property
    def market(self) -> Market:
        return Market.of(self.candles, self.forecasts)

    def simulate(self, *each: BacktestSettings) -> Simulated:
        traded = self.candles.loc[self.forecasts.index]
        prices = traded["open"].to_numpy(), traded["close"].to_numpy()
        return simulate(*prices, member_forecasts(self.forecasts), SettingsGrid.of(*each), CASH, self.market)

    def run(self, one: BacktestSettings) -> Recorder:
        recorded = RecordedForecasts("RECORDED", pd.Timedelta(hours=4), self.forecasts)
        rule = one.model_dump(include=set(RuleSettings.model_fields))
        Counting.fills = 0
        trade_from = self.forecasts.index[0].tz_convert(None).to_pydatetime()
        options = {"models": recorded, "bars_per_year": self.market.bars_per_year, "trade_from": trade_from, **rule}
        return run_strategy(self.candles, one, Counting, options)

    def require_same(self, *each: BacktestSettings) -> None:
        simulated = self.simulate(*each)
        for number, one in enumerate(each):
            run = self.run(one)
            equity = run.equity()
            np.testing.assert_array_equal(simulated.equity[:, number], equity["equity"])
            np.testing.assert_array_equal(simulated.position[:, number], equity["position"])
            assert simulated.round_trips[number] == len(run.trades())
            assert simulated.fills[number] == Counting.fills or equity["equity"].iloc[-1] <= 0


def case(prices: np.ndarray, members: np.ndarray, densities: np.ndarray | None = None) -> Case:
    """Candles of ``(n_bars, 4)`` open, high, low and close, after earlier bars that only give a past volatility.

    Densities are ``(n_bars, 3)``: location, scale and degrees of freedom.
    """
    closes = prices[0, 0] * (1 + 0.01 * (np.arange(EARLIER) % 3))
    whole = np.concatenate([np.repeat(closes[:, None], 4, axis=1), prices])
    index = pd.date_range("2022-01-01", periods=len(whole), freq="4h", tz="UTC", name="timestamp")
    candles = pd.DataFrame(whole, columns=["open", "high", "low", "close"], index=index).assign(volume=1.0)
    table = pd.DataFrame(members, columns=member_names(members.shape[1]), index=index[EARLIER:]).assign(regime=0.0)
    if densities is not None:
        for at, name in enumerate(("location", "scale", "df")):
            for number in range(1, members.shape[1] + 1):
                table[f"{name}_{number}"] = densities[:, at] * (1 + 0.01 * number)
    return Case(candles, table)


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """Bars with wicks, forecasts, and mostly densities."""
    open_, close, members = draw(bars(most_members=5))
    wick = st.one_of(st.just(0.0), st.floats(0, 0.03), st.floats(0, 1))
    up, down = (np.array(draw(st.lists(wick, min_size=len(open_), max_size=len(open_)))) for _ in range(2))
    high, low = np.maximum(open_, close) * (1 + up), np.minimum(open_, close) * (1 - 0.9 * np.minimum(down, 1))
    prices = np.column_stack([open_, high, low, close])
    if draw(st.booleans()):
        return case(prices, members)
    number = st.tuples(
        st.sampled_from([-0.02, 0.0, 0.002, 0.03]), st.sampled_from([0.001, 0.01, 0.05, np.nan]), st.just(4.0)
    )
    densities = np.array(draw(st.lists(number, min_size=len(open_), max_size=len(open_))))
    return case(prices, members, densities)


@st.composite
def any_rules(draw: st.DrawFn, *, has_density: bool) -> BacktestSettings:
    """Settings with any combination of rules."""
    plain = draw(any_settings()).model_dump()
    unit = draw(st.sampled_from(["fraction", "fraction", "scale"]))
    far = st.one_of(st.just(0.0), st.sampled_from([0.01, 0.03, 0.1, 0.5] if unit == "fraction" else [0.5, 1.0, 3.0]))
    funding = draw(st.sampled_from([0.0, 0.0, 0.001, -0.002])) if not plain["borrow_rate"] else 0.0
    off = st.just(0.0)
    return BacktestSettings(
        **{
            **plain,
            "funding": funding,
            "sizing": draw(st.sampled_from(["fixed", "fixed", "volatility", "kelly"])),
            "target_volatility": draw(st.sampled_from([0.05, 0.3, 2.0])),
            "kelly_fraction": draw(st.sampled_from([0.01, 0.5])),
            "rebalance_band": draw(st.one_of(off, st.sampled_from([0.01, 0.2]))),
            "min_probability": draw(st.one_of(off, st.sampled_from([0.3, 0.45]))) if has_density else 0.0,
            "stop_loss": draw(far),
            "take_profit": draw(far),
            "trailing_stop": draw(far),
            "stop_unit": unit,
            "max_holding": draw(st.sampled_from([0, 0, 1, 3])),
            "max_position": draw(st.one_of(off, st.sampled_from([100.0, 700.0]))),
            "max_daily_loss": draw(st.one_of(off, st.sampled_from([0.01, 0.1]))),
        }
    )


@given(st.data())
@settings(deadline=None)
def test_the_simulation_with_all_rules_equals_backtrader_to_the_last_bit(data: st.DataObject) -> None:
    one = data.draw(cases())
    each = data.draw(st.lists(any_rules(has_density=one.market.density is not None), min_size=1, max_size=2))
    one.require_same(*each)


def ruled(
    prices: list[tuple[float, float, float, float]], forecasts: list[Any], **given: Any
) -> tuple[list[float], str]:
    """Position at each close of one setting at half of equity without costs, and why its first trade was closed.

    The array simulator and Backtrader must agree. ``prices`` are open, high, low and close.
    """
    one = BacktestSettings(**{**FREE, **given})
    members = np.array(forecasts, dtype=float).reshape(len(forecasts), -1)
    made = case(np.array(prices, dtype=float), members)
    made.require_same(one)
    trades = made.run(one).trades()
    return made.simulate(one).position[:, 0].tolist(), trades["closed_by"].iloc[0] if len(trades) else ""


def traded(prices: list[tuple[float, float, float, float]], forecasts: list[Any], **given: Any) -> pd.DataFrame:
    """The trades of one setting in Backtrader."""
    members = np.array(forecasts, dtype=float).reshape(len(forecasts), -1)
    return case(np.array(prices, dtype=float), members).run(BacktestSettings(**{**FREE, **given})).trades()


QUIET = (10.0, 10.0, 10.0, 10.0)


def test_a_stop_loss_fills_at_its_price_within_the_bar() -> None:
    bars = [QUIET, QUIET, (10, 10.5, 8.9, 9.5), QUIET]
    one = {"stop_loss": 0.1, "slippage": 0.01, "commission": 0.02}
    positions, closed_by = ruled(bars, [UP, BETWEEN, BETWEEN, BETWEEN], **one)
    assert positions == [0, 50, 0, 0]
    assert closed_by == "stop_loss"
    entry = 10 * 1.01
    (trade,) = traded(bars, [UP, BETWEEN, BETWEEN, BETWEEN], **one).to_dict("records")
    assert trade["entry_price"] == entry
    assert trade["exit_price"] == pytest.approx(entry * 0.9 * 0.99)  # of the entry price, and then slippage
    assert trade["commission"] == pytest.approx(50 * 0.02 * (entry + entry * 0.9 * 0.99))


def test_a_stop_protects_the_bar_of_the_entry() -> None:
    positions, closed_by = ruled([QUIET, (10, 10, 8, 9), QUIET], [UP, BETWEEN, BETWEEN], stop_loss=0.1)
    assert (positions, closed_by) == ([0, 0, 0], "stop_loss")


def test_a_gap_through_a_stop_fills_at_the_open() -> None:
    bars = [QUIET, QUIET, (7, 8, 6, 8), QUIET]
    assert ruled(bars, [UP, *[BETWEEN] * 3], stop_loss=0.1) == ([0, 50, 0, 0], "stop_loss")
    assert traded(bars, [UP, *[BETWEEN] * 3], stop_loss=0.1)["exit_price"].tolist() == [7]


def test_a_gap_beyond_the_target_fills_at_the_open_even_if_the_bar_falls_to_the_stop() -> None:
    bars = [QUIET, QUIET, (12, 12, 8, 8), QUIET]
    one = {"stop_loss": 0.1, "take_profit": 0.1}
    assert ruled(bars, [UP, *[BETWEEN] * 3], **one) == ([0, 50, 0, 0], "take_profit")
    assert traded(bars, [UP, *[BETWEEN] * 3], **one)["exit_price"].tolist() == [12]


def test_in_a_bar_with_stop_and_target_the_stop_counts() -> None:
    bars = [QUIET, QUIET, (10, 12, 8, 10), QUIET]
    one = {"stop_loss": 0.1, "take_profit": 0.1}
    assert ruled(bars, [UP, *[BETWEEN] * 3], **one) == ([0, 50, 0, 0], "stop_loss")
    assert ruled(bars, [DOWN, *[BETWEEN] * 3], **one) == ([0, -50, 0, 0], "stop_loss")


def test_a_target_within_a_bar_fills_at_its_price_without_slippage() -> None:
    bars = [QUIET, QUIET, (10, 10, 8, 10), QUIET]
    one = {"take_profit": 0.1, "slippage": 0.01}
    assert ruled(bars, [DOWN, *[BETWEEN] * 3], **one) == ([0, -50, 0, 0], "take_profit")
    assert traded(bars, [DOWN, *[BETWEEN] * 3], **one)["exit_price"].tolist() == [pytest.approx(9.9 * 0.9)]


def test_a_trailing_stop_follows_the_highs_up_to_the_previous_bar() -> None:
    bars = [QUIET, (10, 15, 10, 14), (14, 20, 13.6, 19), (19, 19, 17, 17), QUIET]
    votes = [UP, *[BETWEEN] * 4]
    # 15 less a tenth is 13.5, which the third bar does not reach; 20 less a tenth is 18, which the fourth does
    assert ruled(bars, votes, trailing_stop=0.1) == ([0, 50, 50, 0, 0], "trailing_stop")
    assert traded(bars, votes, trailing_stop=0.1)["exit_price"].tolist() == [18]


def test_a_short_s_trailing_stop_follows_the_lows() -> None:
    bars = [QUIET, (10, 10, 5, 6), (5.4, 5.6, 5, 5.2), QUIET]
    assert ruled(bars, [DOWN, *[BETWEEN] * 3], trailing_stop=0.1) == ([0, -50, 0, 0], "trailing_stop")
    assert traded(bars, [DOWN, *[BETWEEN] * 3], trailing_stop=0.1)["exit_price"].tolist() == [5.5]


def test_the_tighter_of_both_stops_counts() -> None:
    bars = [QUIET, (10, 10, 9.6, 9.6), (9.6, 9.6, 9, 9), QUIET]
    assert ruled(bars, [UP, *[BETWEEN] * 3], trailing_stop=0.05, stop_loss=0.1)[1] == "trailing_stop"
    assert ruled(bars, [UP, *[BETWEEN] * 3], trailing_stop=0.1, stop_loss=0.05)[1] == "stop_loss"


def test_a_reversal_is_protected_from_its_own_entry() -> None:
    bars = [QUIET, QUIET, (11, 12.2, 11, 12), QUIET]
    positions, _ = ruled(bars, [UP, DOWN, BETWEEN, BETWEEN], stop_loss=0.1)
    assert positions == [0, 50, 0, 0]  # sold short at 11 at the open of the third bar, and bought back at 12.1


def test_stops_in_scale_are_multiples_of_the_scale_at_the_entry_s_decision() -> None:
    scales = [0.01, 0.05, 0.05, 0.05]
    bars = [QUIET, QUIET, (10, 10, 9.71, 9.8), (9.8, 9.8, 9.69, 9.8)]
    one = BacktestSettings(**FREE, stop_loss=3.0, stop_unit="scale")
    density = np.array([[0.0, scale / np.sqrt(2), 4.0] for scale in scales])  # of 4 degrees: variance 2
    made = case(np.array(bars), np.array([[UP], [BETWEEN], [BETWEEN], [BETWEEN]]), density / [1.01, 1.01, 1.01])
    made = made._replace(forecasts=made.forecasts.assign(df_1=4.0))
    made.require_same(one)
    assert made.simulate(one).position[:, 0].tolist() == [0, 50, 50, 0]
    assert made.run(one).trades()["exit_price"].tolist() == [pytest.approx(10 * (1 - 3 * 0.01))]


def test_after_a_stop_every_member_is_flat_and_votes_anew() -> None:
    bars = [QUIET, QUIET, (10, 10, 8, 10), QUIET, QUIET]
    votes = [[UP, UP], [BETWEEN] * 2, [BETWEEN] * 2, [UP, BETWEEN], [BETWEEN] * 2]
    positions, _ = ruled(bars, votes, stop_loss=0.1)
    assert positions[:4] == [0, 50, 0, 0]
    assert positions[4] == pytest.approx(0.25 * (CASH - 50) / 10)  # only the member that says so


def test_a_position_is_closed_after_its_longest_holding() -> None:
    positions, closed_by = ruled([QUIET] * 6, [UP, *[BETWEEN] * 2, UP, UP, BETWEEN], max_holding=2)
    assert (positions, closed_by) == ([0, 50, 50, 0, 50, 50], "max_holding")


def test_a_daily_loss_closes_the_position_until_the_next_day() -> None:
    """The bars of 4 h begin at midnight of a day."""
    bars = [QUIET, QUIET, (10, 10, 8, 8), *[(8.0, 8.0, 8.0, 8.0)] * 5]
    positions, closed_by = ruled(bars, [UP] * 8, max_daily_loss=0.1)
    assert closed_by == "max_daily_loss"
    assert positions[:7] == [0, 50, 50, 0, 0, 0, 0]
    assert positions[7] == 0.5 * 900 / 8  # decided at the close of the day's first bar


def test_max_position_limits_an_order_s_position() -> None:
    positions, _ = ruled([QUIET, QUIET, (20, 20, 20, 20), QUIET], [UP, BETWEEN, BETWEEN, BETWEEN], max_position=300.0)
    assert positions == [0, 30, 30, 30]  # and a position may grow through its price


def test_a_size_by_volatility_is_the_target_over_the_scale_of_a_year() -> None:
    scale, bars = 0.02, [QUIET] * 3
    density = np.array([[0.0, scale / np.sqrt(2) / 1.01, 4.0]] * 3)
    made = case(np.array(bars), np.array([[UP], [BETWEEN], [BETWEEN]]), density)
    made = made._replace(forecasts=made.forecasts.assign(df_1=4.0))
    one = BacktestSettings(**FREE, sizing="volatility", target_volatility=0.3)
    made.require_same(one)
    expected = 0.3 / (scale * np.sqrt(6 * 365.25)) * CASH / 10
    assert made.simulate(one).position[1, 0] == pytest.approx(expected)
    capped = one.model_copy(update={"target_volatility": 9.0})
    assert made.simulate(capped).position[1, 0] == 50


def test_a_size_by_kelly_is_a_fraction_of_forecast_over_variance() -> None:
    scale, forecasts = 0.2, [0.01, 0.0, 0.0]
    density = np.array([[0.0, scale / np.sqrt(2) / 1.01, 4.0]] * 3)
    made = case(np.array([QUIET] * 3), np.array(forecasts)[:, None], density)
    made = made._replace(forecasts=made.forecasts.assign(df_1=4.0))
    one = BacktestSettings(**FREE, sizing="kelly", kelly_fraction=0.4)
    made.require_same(one)
    assert made.simulate(one).position[1, 0] == pytest.approx(0.4 * 0.01 / scale**2 * CASH / 10)


def test_without_densities_the_scale_is_the_past_volatility() -> None:
    close = np.exp(np.cumsum(np.random.default_rng(0).normal(0, 0.01, 30)))
    expected = pd.Series(np.log(close)).diff().rolling(20).std().to_numpy()
    np.testing.assert_allclose(past_volatility(close), expected)
    assert past_volatility(close[-21:])[-1] == past_volatility(close)[-1]  # one bar as in a series


def test_a_position_outside_the_band_is_resized() -> None:
    bars = [QUIET, QUIET, (10, 20, 10, 20), (20, 20, 20, 20)]
    kept, _ = ruled(bars, [UP, *[BETWEEN] * 3], rebalance_band=0.2)  # 1000 of 1500 differs by 0.17 from a half
    assert kept == [0, 50, 50, 50]
    resized, _ = ruled(bars, [UP, *[BETWEEN] * 3], rebalance_band=0.1)
    assert resized == [0, 50, 50, 0.5 * 1500 / 20]


def test_an_entry_needs_the_least_probability_of_a_return_beyond_the_cost() -> None:
    location, cost = 0.02, round_trip_cost(0.01, 0.0)
    density = np.array([[location / 1.01, 0.01 / 1.01, 4.0 / 1.01]] * 4)
    made = case(np.array([QUIET] * 4), np.array([[DOWN], [UP], [DOWN], [BETWEEN]]), density)
    above = 1 - stats.t(4, location, 0.01).cdf(cost)
    for least, positions in ((above - 1e-6, [0, 0, 1, 0]), (above + 1e-6, [0, 0, 0, 0])):
        one = BacktestSettings(**{**FREE, "commission": 0.01}, min_probability=least)
        made.require_same(one)
        # never short, and a long position closes where its turn is not allowed
        assert np.sign(made.simulate(one).position[:, 0]).tolist() == positions


def test_funding_is_paid_by_longs_and_received_by_shorts() -> None:
    for forecast, units in ((UP, 50), (DOWN, -50)):
        made = case(np.array([QUIET, QUIET, QUIET, QUIET]), np.array([[forecast], [BETWEEN], [BETWEEN], [BETWEEN]]))
        one = BacktestSettings(**FREE, funding=0.01)
        made.require_same(one)
        fees = 0.01 * units * 10 * np.array([0, 0, 1, 2])  # from the bar after the entry's on
        np.testing.assert_allclose(made.simulate(one).equity[:, 0], CASH - fees)


def test_settings_that_switch_nothing_on_trade_as_the_plain_rule() -> None:
    made = case(np.array([QUIET, QUIET, (10, 12, 9, 11), QUIET]), np.array([[UP], [DOWN], [UP], [BETWEEN]]))
    plain = BacktestSettings(**FREE)
    beside = made.simulate(plain, BacktestSettings(**FREE, stop_loss=0.5))  # the other one is simulated with exits
    np.testing.assert_array_equal(made.simulate(plain).equity[:, 0], beside.equity[:, 0])
