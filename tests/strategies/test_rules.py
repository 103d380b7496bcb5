"""Sizes, stops, targets and limits: cases computed by hand, and the array simulator against Backtrader."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from hypothesis import given, settings
from hypothesis import strategies as st

from models.expert import member_names
from models.forecaster import member_forecasts
from models.recorded import RecordedForecasts
from runners.backtesting.engine import Recorder, run_strategy
from runners.backtesting.settings import BacktestSettings
from strategies import LSTMRegimeStrategy
from strategies.array_simulation import SettingsGrid, Simulated, simulate
from strategies.rule_settings import RuleSettings
from strategies.signals import Market
from tests.strategies.test_array_simulation import CASH, FREE, any_settings, bars

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
