from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.errors import SettingsError
from models import Forecaster, ModelSet
from models.expert import member_names
from models.forecaster import Forecast, member_forecasts
from models.recorded import RecordedForecasts
from runners.backtesting.engine import Recorder, backtest, run_strategy
from runners.backtesting.metrics import metrics_of
from runners.backtesting.settings import BacktestSettings
from strategies import LSTMRegimeStrategy
from strategies.array_simulation import SettingsGrid, Simulated, simulate
from strategies.rule_settings import RuleSettings
from strategies.settings import AXES, TradingSettings, target_size

CASH = 1000.0
UP, DOWN, BETWEEN, UNKNOWN = 0.01, -0.01, 0.0, np.nan
FREE = {"exposure": 0.5, "commission": 0.0, "slippage": 0.0, "cash": CASH}


def series_of(opens: list[float], closes: list[float], forecasts: list[Any]) -> tuple[np.ndarray, ...]:
    """Arrays of prices and of each bar's forecasts, which may be one number for one member."""
    members = np.array(forecasts, dtype=float).reshape(len(forecasts), -1)
    return np.array(opens, dtype=float), np.array(closes, dtype=float), members


def simulate_one(opens: list[float], closes: list[float], forecasts: list[Any], **given: Any) -> Simulated:
    """One setting, without costs and at half of equity by default; Backtrader gives the same."""
    one = BacktestSettings(**{**FREE, **given})
    series = series_of(opens, closes, forecasts)
    simulated = simulate(*series, SettingsGrid.of(one), CASH)
    require_same(simulated, 0, run_backtrader(*series, one))
    return simulated


def require_same(simulated: Simulated, number: int, run: Recorder) -> None:
    equity = run.equity()
    np.testing.assert_array_equal(simulated.equity[:, number], equity["equity"])
    np.testing.assert_array_equal(simulated.position[:, number], equity["position"])
    assert simulated.fills[number] == np.count_nonzero(equity["traded"])
    assert simulated.round_trips[number] == len(run.trades())


def run_backtrader(
    open_: np.ndarray,
    close: np.ndarray,
    members: np.ndarray,
    one: BacktestSettings,
    volume: float = 1.0,
    strategy: type[LSTMRegimeStrategy] = LSTMRegimeStrategy,
) -> Recorder:
    """The strategy on given forecasts."""
    high, low = np.maximum(open_, close), np.minimum(open_, close)
    candles = pd.DataFrame(
        {"open": open_, "high": high, "low": low, "close": close, "volume": volume},
        index=pd.date_range("2022-01-01", periods=len(close), freq="4h", tz="UTC", name="timestamp"),
    )
    recorded = pd.DataFrame(members, columns=member_names(members.shape[1]), index=candles.index).assign(regime=0.0)
    models = RecordedForecasts("RECORDED", pd.Timedelta(hours=4), recorded)
    rule = one.model_dump(include=set(RuleSettings.model_fields))
    return run_strategy(candles, one, strategy, {"models": models, **rule})


@st.composite
def bars(draw: st.DrawFn, most_members: int = 7) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Opens, closes and forecasts: mostly quiet prices, with jumps between bars and within them."""
    n_bars = draw(st.integers(2, 30))
    step = st.one_of(st.floats(-0.05, 0.05), st.floats(-0.05, 0.05), st.floats(-2, 2))
    steps = draw(st.lists(step, min_size=2 * n_bars, max_size=2 * n_bars))
    prices = draw(st.sampled_from([0.001, 1.0, 30_000.0])) * np.exp(np.cumsum(steps))
    forecast = st.sampled_from([UP, DOWN, UP, DOWN, BETWEEN, 0.001, UNKNOWN])
    n_members = draw(st.integers(1, most_members))
    common = draw(st.lists(forecast, min_size=n_bars, max_size=n_bars))
    own = st.one_of(st.none(), st.none(), st.sampled_from([UP, DOWN, BETWEEN]))
    drawn = draw(st.lists(own, min_size=n_bars * (n_members - 1), max_size=n_bars * (n_members - 1)))
    members = np.repeat(np.array(common)[:, None], n_members, axis=1)
    for number, one in enumerate(drawn):  # the first member has the common forecast, the others sometimes their own
        if one is not None:
            members[number // (n_members - 1), 1 + number % (n_members - 1)] = one
    return prices[::2], prices[1::2], members


@st.composite
def any_settings(draw: st.DrawFn) -> BacktestSettings:
    short_threshold, long_threshold = sorted(draw(st.tuples(*[st.sampled_from([-0.001, 0.0, 0.001, 0.002])] * 2)))
    return BacktestSettings(
        long_threshold=long_threshold,
        short_threshold=short_threshold,
        neutral=draw(st.sampled_from(["hold", "flat"])),
        exposure=draw(st.one_of(st.floats(0.1, 3), st.sampled_from([0.95, 1.0, 1.0]))),
        commission=draw(st.one_of(st.floats(0, 0.02), st.just(0.0))),
        slippage=draw(st.one_of(st.floats(0, 0.01), st.just(0.0))),
        borrow_rate=draw(st.sampled_from([0.0, 0.0, 0.0001, 0.02])),
        min_order=draw(st.sampled_from([0.0, 0.0, 50.0, 300.0])),
        cash=CASH,
    )


@given(bars(), st.lists(any_settings(), min_size=2, max_size=3))
@settings(derandomize=True, deadline=None, max_examples=150)
def test_the_simulation_equals_backtrader_to_the_last_bit(
    series: tuple[np.ndarray, np.ndarray, np.ndarray], each: list[BacktestSettings]
) -> None:
    simulated = simulate(*series, SettingsGrid.of(*each), CASH)
    for number, one in enumerate(each):
        require_same(simulated, number, run_backtrader(*series, one))


@pytest.mark.parametrize("neutral", ["hold", "flat"])
@pytest.mark.parametrize("exposure", [0.95, 1.5])
def test_the_simulation_equals_a_backtest_of_the_lstm_strategy(
    candles: pd.DataFrame, model_set: ModelSet, neutral: str, exposure: float
) -> None:
    rule = {"long_threshold": 0.0004, "short_threshold": -0.0002, "neutral": neutral, "exposure": exposure}
    one = BacktestSettings(**rule, borrow_rate=0.0002)
    result = backtest(candles, model_set, one)
    traded = (result.candles[name].to_numpy() for name in ("open", "close"))
    members = member_forecasts(Forecaster(model_set, one).forecast(candles).loc[result.candles.index])
    simulated = simulate(*traded, members, SettingsGrid.of(one), one.cash)
    np.testing.assert_array_equal(simulated.equity[:, 0], result.equity["equity"])
    np.testing.assert_array_equal(simulated.position[:, 0], result.equity["position"])
    assert simulated.round_trips[0] == len(result.trades)
    assert simulated.fills[0] > 0


def test_buying_and_holding_pays_slippage_and_commission_once() -> None:
    simulated = simulate_one(
        [10, 11, 12, 9], [10, 11.5, 13, 9.5], [UP, UP, UNKNOWN, UP], commission=0.01, slippage=0.002
    )
    units = 0.5 * CASH / 10  # sized at the close that decided
    cash = CASH - units * 11 * 1.002 * 1.01  # filled at the next open
    np.testing.assert_allclose(simulated.position[:, 0], [0, units, units, units])
    np.testing.assert_allclose(simulated.equity[:, 0], [CASH, *(cash + units * np.array([11.5, 13, 9.5]))])
    assert (simulated.fills[0], simulated.round_trips[0]) == (1, 0)


def test_a_reversal_is_one_order_with_costs_on_both_parts() -> None:
    simulated = simulate_one([9, 10, 12, 8], [10, 12, 8, 8], [UP, DOWN, DOWN, UP], commission=0.01, slippage=0.5)
    long = 500 / 10
    cash = CASH - long * 15 * 1.01  # bought at 10 and half more
    equity = cash + long * 12
    short = 0.5 * equity / 12
    cash += (long + short) * 6 * 0.99  # sold at 12 less a half
    np.testing.assert_allclose(simulated.position[:, 0], [0, long, -short, -short])
    np.testing.assert_allclose(simulated.equity[:, 0], [CASH, equity, cash - short * 8, cash - short * 8])
    assert (simulated.fills[0], simulated.round_trips[0]) == (2, 1)


@pytest.mark.parametrize(("neutral", "last"), [("hold", -50.0), ("flat", 0.0)])
def test_between_the_thresholds_a_position_is_held_or_closed(neutral: str, last: float) -> None:
    simulated = simulate_one([10] * 3, [10] * 3, [DOWN, BETWEEN, BETWEEN], neutral=neutral)
    np.testing.assert_array_equal(simulated.position[:, 0], [0, -50, last])


def test_forecasts_at_a_threshold_and_unknown_ones_change_nothing() -> None:
    simulated = simulate_one([10] * 4, [10] * 4, [0.001, -0.001, UP, UNKNOWN], neutral="flat")
    np.testing.assert_array_equal(simulated.position[:, 0], [0, 0, 0, 50])


def test_an_order_of_the_last_bar_is_not_filled() -> None:
    simulated = simulate_one([10, 10], [10, 20], [UNKNOWN, UP])
    assert not simulated.position.any()
    assert (simulated.equity == CASH).all()


def test_an_order_beyond_the_cash_is_dropped_and_decided_again() -> None:
    assert not simulate_one([10] * 5, [10] * 5, [UP] * 5, exposure=1.01).fills.any()
    gapped = simulate_one([10, 11, 10, 10], [10] * 4, [UP] * 4, exposure=1.0)
    np.testing.assert_array_equal(gapped.position[:, 0], [0, 0, 100, 100])  # the open at 11 was too dear


def test_a_short_reversed_at_too_high_an_open_ends_flat() -> None:
    simulated = simulate_one([10, 10, 11, 10], [10, 10, 10, 10], [DOWN, UP, UP, UP], exposure=1.0)
    np.testing.assert_allclose(simulated.position[:, 0], [0, -100, 0, 90])
    np.testing.assert_allclose(simulated.equity[:, 0], [1000, 1000, 900, 900])
    assert (simulated.fills[0], simulated.round_trips[0]) == (3, 1)


def test_full_exposure_leaves_no_cash_for_the_commission_nor_for_reversing_a_short() -> None:
    assert not simulate_one([10] * 4, [10] * 4, [UP] * 4, exposure=1.0, commission=0.01).fills.any()
    bought = simulate_one([10] * 4, [10] * 4, [UP, UP, DOWN, UP], exposure=0.99, commission=0.01)
    equity = CASH - 990 * 0.01  # 99 units at 10
    np.testing.assert_allclose(bought.position[:, 0], [0, 99, 99, -0.099 * equity])
    sold = simulate_one([10] * 4, [10] * 4, [DOWN, UP, UP, UP], exposure=0.99, commission=0.01)
    np.testing.assert_allclose(sold.position[:, 0], [0, -99, -99, -99])  # both commissions and the position: too much
    np.testing.assert_allclose(sold.equity[1:, 0], CASH - 9.9)


def test_an_order_sized_before_a_gap_fills_at_the_price_after_it() -> None:
    simulated = simulate_one([10, 18, 18], [10, 18, 9], [UP, UP, UP], slippage=0.001)
    np.testing.assert_allclose(simulated.position[:, 0], [0, 50, 50])
    np.testing.assert_allclose(simulated.equity[:, 0], [CASH, CASH - 50 * 0.018, CASH - 50 * 9.018])


def test_a_short_pays_the_borrow_rate_at_each_bars_open() -> None:
    opens, closes, forecasts = [10, 10, 12, 8, 8, 20], [10, 11, 9, 8, 10, 20], [DOWN, DOWN, UP, UP, UP, UP]
    simulated = simulate_one(opens, closes, forecasts, borrow_rate=0.01)
    cash, fees = CASH + 50 * 10, [0.01 * 50 * 12, 0.01 * 50 * 8]  # the second before the short is turned at 8
    equity = [CASH, cash - 50 * 11, cash - fees[0] - 50 * 9]
    cash, bought = cash - sum(fees) - 50 * 8, 0.5 * equity[2] / 9
    np.testing.assert_allclose(simulated.position[:, 0], [0, -50, -50, *[bought] * 3])
    np.testing.assert_allclose(simulated.equity[:, 0], [*equity, *(cash + bought * np.array([0, 2, 12]))])
    run = run_backtrader(*series_of(opens, closes, forecasts), BacktestSettings(**FREE, borrow_rate=0.01))
    np.testing.assert_allclose(run.equity()["borrowing"], [0, 0, *fees, 0, 0])
    assert not run.equity()["commission"].any()
    (trade,) = run.trades().to_dict("records")
    assert (trade["pnl"], trade["borrowing"], trade["net_pnl"]) == pytest.approx((100, 10, 90))


def test_a_bankrupt_account_is_closed_and_trades_no_more() -> None:
    opens, closes, forecasts = [10, 10, 30, 5], [10, 40, 5, 5], [DOWN, BETWEEN, UP, DOWN]
    simulated = simulate_one(opens, closes, forecasts, commission=0.01)
    left = CASH + 50 * 10 * 0.99 - 50 * 40
    np.testing.assert_allclose(simulated.equity[:, 0], [CASH, left, left, left])
    np.testing.assert_array_equal(simulated.position[:, 0], [0, 0, 0, 0])
    run = run_backtrader(*series_of(opens, closes, forecasts), BacktestSettings(**FREE | {"commission": 0.01}))
    (trade,) = run.trades().to_dict("records")
    assert (trade["exit_price"], trade["bars"], trade["commission"]) == pytest.approx((40, 0, 5))
    assert trade["net_pnl"] == pytest.approx(left - CASH)
    assert run.equity()["forecast"].tolist() == forecasts  # they can be traded again with other settings


def test_a_fee_may_make_an_account_bankrupt_to_the_last_cent() -> None:
    simulated = simulate_one([10] * 4, [10] * 4, [DOWN] * 4, exposure=2.0, borrow_rate=0.5)
    np.testing.assert_array_equal(simulated.equity[:, 0], [CASH, CASH, 0, 0])  # 200 units at 10, half of it a bar
    assert (simulated.fills[0], simulated.round_trips[0]) == (1, 1)


def test_bars_without_volume_are_traded_like_any_other() -> None:
    series = series_of([10, 11, 12], [10, 12, 9], [UP, DOWN, UP])
    run = run_backtrader(*series, BacktestSettings(**FREE), volume=0.0)
    long, equity = 50, CASH + 50 * 1
    short = 0.5 * equity / 12
    np.testing.assert_allclose(run.equity()["position"], [0, long, -short])
    np.testing.assert_allclose(run.equity()["equity"], [CASH, equity, equity + short * 3])


def test_an_open_position_is_valued_at_the_last_close_and_is_not_a_round_trip() -> None:
    opens, closes, forecasts = [10, 10, 8], [10, 10, 8], [UP, DOWN, UP]
    simulated = simulate_one(opens, closes, forecasts, commission=0.01)
    run = run_backtrader(*series_of(opens, closes, forecasts), BacktestSettings(**FREE | {"commission": 0.01}))
    short = 0.5 * (CASH - 5) / 10
    np.testing.assert_allclose(simulated.equity[-1, 0], CASH - 50 * 2 - 5 - 4 - short * 8 * 0.01)
    figures = metrics_of(run.equity(), run.trades(), CASH)
    assert (figures.trades, figures.open_trades) == (1, 1)


def test_settings_do_not_affect_each_other() -> None:
    random = np.random.default_rng(0)
    n_settings, prices = 20, 100 * np.exp(np.cumsum(0.1 * random.standard_normal(400)))
    table = {name: [getattr(TradingSettings(), name)] * n_settings for name in AXES} | {
        "long_threshold": random.uniform(0, 0.01, n_settings),
        "short_threshold": -random.uniform(0, 0.01, n_settings),
        "exposure": random.uniform(0.1, 3, n_settings),
        "min_order": random.uniform(0, 100, n_settings),
        "commission": random.uniform(0, 0.02, n_settings),
        "slippage": random.uniform(0, 0.01, n_settings),
        "borrow_rate": random.uniform(0, 0.01, n_settings),
        "neutral": np.where(random.random(n_settings) < 0.5, "flat", "hold"),
    }
    grid = SettingsGrid(pd.DataFrame(table))
    series = prices[::2], prices[1::2], 0.01 * random.standard_normal((200, 3))
    together = simulate(*series, grid, CASH)
    alone = simulate(*series, grid.part(slice(7, 8)), CASH)
    assert together.equity.shape == together.position.shape == (200, len(grid))
    np.testing.assert_array_equal(together.equity[:, [7]], alone.equity)
    assert len(grid.part(slice(0, 0))) == 0
    assert simulate(*series, grid.part(slice(0, 0)), CASH).equity.shape == (200, 0)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"short_threshold": [0.0, 0.002]}, r"setting 1: short_threshold 0\.002 lies above long_threshold"),
        ({"long_threshold": [np.nan, 0.0]}, r"setting 0: long_threshold nan must be a finite number"),
        ({"exposure": [1.0, 0.0]}, "setting 1: exposure 0 must be above 0"),
        ({"min_order": [0.0, -1.0]}, "setting 1: min_order -1 must be at least 0"),
        ({"commission": [-0.001, 0.0]}, r"setting 0: commission -0\.001 must be at least 0 and below 1"),
        ({"slippage": [0.0, 1.0]}, "setting 1: slippage 1 must be at least 0 and below 1"),
        ({"borrow_rate": [0.0, np.nan]}, "setting 1: borrow_rate nan must be at least 0 and below 1"),
        ({"neutral": ["hold", "keep"]}, "setting 1: neutral keep must be one of"),
        ({"funding": [0.0, 0.1], "borrow_rate": [0.0, 0.1]}, "setting 1: funding 0.1 is not 0, and borrow_rate is not"),
        ({"stop_loss": [1.0, 0.0]}, "setting 0: stop_loss 1 must be below 1 with stop_unit fraction"),
    ],
)
def test_invalid_settings_are_refused(wrong: dict[str, list[float]], message: str) -> None:
    sound = SettingsGrid.of(BacktestSettings(), BacktestSettings())
    with pytest.raises(SettingsError, match=message):
        SettingsGrid(sound.table.assign(**wrong))


def test_arrays_of_different_shapes_are_refused() -> None:
    grid, three = SettingsGrid.of(BacktestSettings()), np.ones(3)
    with pytest.raises(
        SettingsError, match=r"members one row per bar, but their shapes are \(\(3,\), \(3,\), \(2, 1\)\)"
    ):
        simulate(three, three, np.zeros((2, 1)), grid, CASH)
    for wrong in (np.zeros(3), np.zeros((3, 1, 1))):
        with pytest.raises(SettingsError, match="one row per bar"):
            simulate(three, three, wrong, grid, CASH)
    with pytest.raises(SettingsError, match="one row per bar"):
        simulate(three[:2], three, np.zeros((3, 1)), grid, CASH)
    with pytest.raises(SettingsError, match="cash is 0; the initial equity must be above 0"):
        simulate(three, three, np.zeros((3, 1)), grid, 0.0)


def test_a_vote_that_splits_holds_the_mean_of_its_members() -> None:
    votes = [[UP] * 5, [UP, UP, UP, UP, DOWN], [BETWEEN] * 5, [DOWN] * 5]
    simulated = simulate_one([10] * 5, [10] * 5, [*votes, [BETWEEN] * 5])
    np.testing.assert_allclose(simulated.position[:, 0], [0, 50, 30, 30, -50])
    assert (simulated.fills[0], simulated.round_trips[0]) == (3, 1)


def test_members_that_disagree_evenly_hold_nothing() -> None:
    simulated = simulate_one([10] * 4, [10] * 4, [[UP, UP], [UP, DOWN], [DOWN, DOWN], [UP, UP]])
    np.testing.assert_allclose(simulated.position[:, 0], [0, 50, 0, -50])


def test_a_member_without_a_forecast_silences_the_bar() -> None:
    simulated = simulate_one([10] * 3, [10] * 3, [[UP, UNKNOWN], [UP, BETWEEN], [UP, UP]])
    np.testing.assert_allclose(simulated.position[:, 0], [0, 0, 25])


def test_an_enlarged_position_has_the_average_entry_of_its_fills_and_keeps_it_when_reduced() -> None:
    opens, closes = [10, 10, 20, 30, 5, 5], [10, 10, 20, 30, 10, 5]
    votes = [[UP, BETWEEN], [UP, UP], [BETWEEN, BETWEEN], [DOWN, UP], [DOWN, BETWEEN], [BETWEEN, BETWEEN]]
    simulated = simulate_one(opens, closes, votes)
    half = 250 / 10
    full = 500 / 10  # sized at the close of 10, when equity was still the initial one, and filled at 20
    cash = CASH - half * 10 - (full - half) * 20
    np.testing.assert_allclose(simulated.position[:4, 0], [0, half, full, full])
    np.testing.assert_allclose(simulated.equity[2:4, 0], [cash + full * 20, cash + full * 30])
    (trade,) = run_backtrader(*series_of(opens, closes, votes), BacktestSettings(**FREE)).trades().to_dict("records")
    assert (trade["direction"], trade["size"], trade["orders"], trade["entry_price"]) == ("long", full, 3, 15)
    assert trade["exit_price"] == 5
    assert trade["pnl"] == pytest.approx(full * (5 - 15))


def test_a_reduced_position_is_one_trade_with_its_largest_size_and_average_exit() -> None:
    votes = [[DOWN, DOWN], [DOWN, BETWEEN], [BETWEEN, UP], [UP, UP], [BETWEEN] * 2]
    opens, closes = [10, 10, 10, 8, 6], [10, 10, 10, 8, 6]
    settings = BacktestSettings(**FREE | {"neutral": "flat", "commission": 0.01})
    run = run_backtrader(*series_of(opens, closes, votes), settings)
    first = 50
    half = 0.25 * (CASH - 5) / 10
    np.testing.assert_allclose(run.equity()["position"].iloc[:3], [0, -first, -half])
    (trade,) = run.trades().to_dict("records")
    assert (trade["direction"], trade["size"], trade["orders"], trade["bars"]) == ("short", first, 3, 2)
    assert trade["entry_price"] == 10
    assert trade["exit_price"] == pytest.approx(((first - half) * 10 + half * 8) / first)
    assert trade["pnl"] == pytest.approx(half * 2)
    assert trade["commission"] == pytest.approx(0.01 * (first * 10 + (first - half) * 10 + half * 8))
    assert trade["net_pnl"] == pytest.approx(trade["pnl"] - trade["commission"])


def test_an_enlargement_without_the_cash_for_it_leaves_the_position() -> None:
    votes = [[UP, BETWEEN], [UP, UP], [BETWEEN, BETWEEN], [BETWEEN, BETWEEN]]
    simulated = simulate_one([10, 10, 16, 10], [10, 10, 10, 10], votes, exposure=1.0)
    np.testing.assert_allclose(simulated.position[:, 0], [0, 50, 50, 100])  # refused at 16, decided again, filled at 10
    assert (simulated.fills[0], simulated.round_trips[0]) == (2, 0)


def test_an_order_below_the_least_waits_until_it_is_worth_enough() -> None:
    votes = [[UP, UP, BETWEEN, BETWEEN], [UP, UP, UP, BETWEEN], [BETWEEN] * 4, [BETWEEN] * 4]
    simulated = simulate_one([10, 10, 10, 20], [10, 10, 20, 20], votes, min_order=130.0)
    held = 250 / 10
    enlarged = 0.375 * (CASH + held * 10) / 20  # sized anew at 20, where the difference is worth 31.25 less
    np.testing.assert_allclose(simulated.position[:3, 0], [0, held, held])
    assert abs(enlarged - held) * 20 < 130
    assert simulated.position[3, 0] == held
    np.testing.assert_allclose(
        simulate_one([10, 10, 10, 20], [10, 10, 20, 20], votes, min_order=125.0).position[:, 0], [0, held, 37.5, 37.5]
    )


def test_closing_a_position_never_waits() -> None:
    simulated = simulate_one([10, 10, 1, 1], [10, 1, 1, 1], [UP, BETWEEN, UP, UP], neutral="flat", min_order=500.0)
    np.testing.assert_allclose(simulated.position[:, 0], [0, 50, 0, 0])  # a new one would be worth less than 500


class OneForecast(LSTMRegimeStrategy):
    """The rule of one forecast: an order where the direction it wants is not the position's."""

    def wanted_size(self, forecast: Forecast, held: float) -> float:
        direction = int(np.sign(held))
        wanted = self.settings.direction(forecast.log_return, direction)
        return held if wanted == direction else target_size(self, wanted, self.settings.exposure, self.traded)


@given(bars(most_members=1), any_settings())
@settings(derandomize=True, deadline=None, max_examples=300)
def test_one_member_trades_by_the_rule_of_one_forecast(
    series: tuple[np.ndarray, np.ndarray, np.ndarray], one: BacktestSettings
) -> None:
    columns = ["equity", "position", "traded", "commission", "borrowing"]
    voted, direct = (run_backtrader(*series, one, strategy=each) for each in (LSTMRegimeStrategy, OneForecast))
    pd.testing.assert_frame_equal(voted.equity()[columns], direct.equity()[columns], check_exact=True)


_SIMULATE = """
import numpy as np
from strategies.array_trading import trade_all
from strategies.array_simulation import SettingsGrid, simulate
from strategies.settings import TradingSettings
print(trade_all.__code__.co_filename)
grid = SettingsGrid.of(TradingSettings())
print(simulate(np.ones(2), np.ones(2), np.ones((2, 1)), grid, 100.0).position[1, 0])
"""


def test_the_simulation_needs_no_folder_for_compiled_code(tmp_path: Path) -> None:
    root = Path(__file__).parents[2]
    for package in ("data", "models", "strategies"):
        shutil.copytree(
            root / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__", "csv", "trained")
        )
    (tmp_path / "strategies" / "__pycache__").touch()  # files where numba would make folders
    (tmp_path / "cache").touch()
    environment = os.environ | {"PYTHONPATH": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", _SIMULATE], env=environment, cwd=tmp_path, capture_output=True, text=True
    )
    assert done.stderr == ""
    assert done.stdout.splitlines() == [str(tmp_path / "strategies" / "array_trading.py"), "95.0"]
