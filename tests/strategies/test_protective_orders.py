"""Stops and targets in a user's own Cerebro: other feeds, brokers, commission schemes and streamed feeds."""

from __future__ import annotations

from typing import Any

import backtrader as bt
import numpy as np
import pandas as pd
import pytest

from data.errors import SettingsError
from models import ModelSet
from strategies import LSTMRegimeStrategy
from strategies.feed import candle_feed
from tests.strategies.test_costs import traded
from tests.strategies.test_lstm_regime import EAGER, run

STOPS = {"stop_loss": 0.02, "take_profit": 0.03, "trailing_stop": 0.025, "max_holding": 15}
ON_DENSITIES = {
    "sizing": "volatility",
    "rebalance_band": 0.05,
    "min_probability": 0.35,
    "trailing_stop": 2.0,
    "stop_unit": "scale",
}


class Reasons(LSTMRegimeStrategy):
    """Why each fill that closed a part of a position was made, with its time and price."""

    def __init__(self) -> None:
        super().__init__()
        self.closed: list[tuple[float, float, str]] = []

    def notify_order(self, order: bt.Order) -> None:
        for fill in order.executed.iterpending():
            if fill.closed:
                self.closed.append((fill.dt, fill.price, order.info.closed_by))


def closed(engine: bt.Cerebro, candles: pd.DataFrame, models: ModelSet, **given: Any) -> list[tuple[float, float, str]]:
    engine.adddata(candle_feed(candles), name="traded")
    engine.addstrategy(Reasons, models=models, feed="traded", **EAGER, **given)
    return engine.run()[0].closed


def test_another_feed_with_bars_in_between_changes_no_stop(candles: pd.DataFrame, model_set: ModelSet) -> None:
    bars = candles.iloc[:500]
    alone = closed(bt.Cerebro(), bars, model_set, **STOPS)
    hours = pd.date_range(bars.index[0], bars.index[-1], freq="1h", name="timestamp")
    beside = bt.Cerebro()
    beside.adddata(candle_feed(pd.DataFrame(dict.fromkeys(["open", "high", "low", "close", "volume"], 9.0), hours)))
    assert closed(beside, bars, model_set, **STOPS) == alone
    assert {"stop_loss", "take_profit", "trailing_stop", "max_holding", "forecast"} == {each[2] for each in alone}


def test_a_broker_that_is_not_backtrader_s_own_is_refused(candles: pd.DataFrame, model_set: ModelSet) -> None:
    class Other(bt.broker.BrokerBase):
        def getvalue(self, datas: Any = None) -> float:
            return 1000.0

        def getcash(self) -> float:
            return 1000.0

    engine = bt.Cerebro()
    engine.setbroker(Other())
    with pytest.raises(SettingsError, match="need Backtrader's own broker, but this one is Other"):
        closed(engine, candles.iloc[:500], model_set, stop_loss=0.1)


def test_rules_on_densities_trade_a_streamed_feed_as_a_preloaded_one(
    candles: pd.DataFrame, model_set: ModelSet
) -> None:
    whole = run(candles.iloc[:500], model_set, settings=ON_DENSITIES)
    streamed = run(candles.iloc[:500], model_set, settings=ON_DENSITIES, preload=False)
    np.testing.assert_allclose(streamed[:, [2, 3, 4]], whole[:, [2, 3, 4]], rtol=1e-6)  # size, equity, vote
    assert len(np.unique(whole[:, 2])) > 10


def test_stops_and_sizes_of_a_future_trade_what_those_of_a_stock_would(
    candles: pd.DataFrame, model_set: ModelSet
) -> None:
    rules = {**STOPS, "sizing": "volatility", "rebalance_band": 0.1, "max_position": 60_000, "max_daily_loss": 0.03}
    stock = traded(candles, model_set, {"commission": 0.0}, **rules)
    future = traded(candles, model_set, {"commission": 0.0, "mult": 5, "margin": 100.0}, **rules)
    assert future.equity == pytest.approx(stock.equity, rel=1e-9)
    assert future.states == stock.states


def test_a_size_of_one_s_own_is_protected_too(candles: pd.DataFrame, model_set: ModelSet) -> None:
    class Tenth(Reasons):
        def wanted_size(self, forecast: Any, held: float) -> float:
            return held or 10.0

    engine = bt.Cerebro()
    engine.adddata(candle_feed(candles.iloc[:500]))
    engine.addstrategy(Tenth, models=model_set, stop_loss=0.01)
    assert {each[2] for each in engine.run()[0].closed} == {"stop_loss"}


def test_min_probability_without_densities_is_refused(candles: pd.DataFrame) -> None:
    from tests.conftest import SMALL
    from training import TrainSettings, train

    plain = train(candles.iloc[:600], "PLAIN", TrainSettings(**SMALL, density=False))
    with pytest.raises(SettingsError, match=r"min_probability is 0\.4, but these forecasts have no densities\. Train"):
        closed(bt.Cerebro(), candles, plain, min_probability=0.4)
