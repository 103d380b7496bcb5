from __future__ import annotations

from typing import Any

import backtrader as bt
import pandas as pd
import pytest

from data.errors import SettingsError
from models import ModelSet
from strategies import BuyAndHold, LSTMRegimeStrategy, TradingCosts
from strategies.feed import candle_feed
from tests.strategies.test_lstm_regime import EAGER


class Holding(bt.Strategy):
    """Holds so many units from the second bar's open on."""

    params = (("units", 0.0),)

    def start(self) -> None:
        self.order: bt.Order | None = None

    def next(self) -> None:
        self.order = self.order or self.order_target_size(target=self.p.units)


def feed(closes: list[float], freq: str) -> bt.feeds.PandasData:
    index = pd.date_range("2022-01-01", periods=len(closes), freq=freq, tz="UTC", name="timestamp")
    opens = [closes[0], *closes[:-1]]
    prices = {"open": opens, "high": max(closes), "low": min(closes), "close": closes, "volume": 1.0}
    return candle_feed(pd.DataFrame(prices, index=index))


@pytest.mark.parametrize("preload", [True, False])
@pytest.mark.parametrize(
    ("units", "borrow_rate", "bars_paid"), [(-10, 0.01, [110, 120, 130]), (10, 0.01, []), (-10, 0, [])]
)
def test_a_short_position_pays_once_per_bar_of_its_own_feed(
    units: float, borrow_rate: float, bars_paid: list[float], preload: bool
) -> None:
    engine = bt.Cerebro(preload=preload)
    engine.adddata(feed([100, 110, 120, 130, 140], "4h"))
    engine.adddata(feed([50.0] * 20, "1h"))
    engine.addstrategy(Holding, units=units)
    engine.broker.addcommissioninfo(TradingCosts(commission=0.001, borrow_rate=borrow_rate))
    engine.run()
    fees = borrow_rate * 10 * sum(bars_paid)  # the opens of the bars after the one at whose open it was sold at 100
    assert engine.broker.getvalue() == pytest.approx(10_000 - 0.001 * 1000 + units * 40 - fees)


class Watched(LSTMRegimeStrategy):
    """The strategy, its equity at each bar and the states of its orders."""

    def __init__(self) -> None:
        super().__init__()
        self.equity: list[float] = []
        self.states: list[str] = []

    def notify_order(self, order: bt.Order) -> None:
        self.states.append(order.getstatusname())

    def next(self) -> None:
        super().next()
        self.equity.append(self.broker.getvalue())


def traded(candles: pd.DataFrame, models: ModelSet, scheme: dict[str, Any], **settings: Any) -> Watched:
    engine = bt.Cerebro(stdstats=False)
    engine.adddata(candle_feed(candles))
    engine.addstrategy(Watched, models=models, **EAGER, **settings)
    engine.broker.setcash(100_000)
    engine.broker.setcommission(**scheme)
    return engine.run()[0]


@pytest.mark.parametrize("mult", [1, 5, 50])
def test_a_future_earns_what_as_much_of_a_stock_would(candles: pd.DataFrame, model_set: ModelSet, mult: int) -> None:
    """Without commission; a contract is worth ``mult`` times the price, and the margin only blocks cash."""
    stock = traded(candles, model_set, {"commission": 0.0}, min_order=2000)
    future = traded(candles, model_set, {"commission": 0.0, "mult": mult, "margin": 20.0 * mult}, min_order=2000)
    assert future.equity == pytest.approx(stock.equity, rel=1e-9)
    assert future.states == stock.states
    assert future.states.count("Completed") > 10


def test_a_margin_above_a_contracts_value_limits_the_position(candles: pd.DataFrame, model_set: ModelSet) -> None:
    """Otherwise the broker would refuse its orders."""
    strategy = traded(candles, model_set, {"commission": 1.0, "mult": 5, "margin": 20_000})
    assert set(strategy.states) == {"Submitted", "Accepted", "Completed"}


def test_buy_and_hold_buys_contracts_worth_its_exposure() -> None:
    engine = bt.Cerebro(stdstats=False)
    engine.adddata(feed([100.0, 100.0, 110.0], "4h"))
    engine.addstrategy(BuyAndHold, exposure=0.5)
    engine.broker.setcommission(commission=0.0, mult=20, margin=100)
    engine.run()
    assert engine.broker.getvalue() == pytest.approx(10_000 + 0.1 * 5_000)  # the price rose by a tenth


@pytest.mark.parametrize(
    ("scheme", "message"),
    [
        ({"mult": 50.0}, r"mult=50 and is stock-like, so Backtrader multiplies profits but not values\. Set a margin"),
        (
            {"mult": 50.0, "margin": 1.0, "automargin": -1},
            r"margin moves with the price .* Set margin",
        ),
    ],
)
def test_a_scheme_with_which_equity_would_be_wrong_is_refused(
    candles: pd.DataFrame, model_set: ModelSet, scheme: dict[str, Any], message: str
) -> None:
    with pytest.raises(SettingsError, match=message):
        traded(candles, model_set, {"commission": 0.0, **scheme})
