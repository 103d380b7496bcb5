from __future__ import annotations

import backtrader as bt
import pandas as pd
import pytest

from strategies import TradingCosts
from strategies.feed import candle_feed


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
