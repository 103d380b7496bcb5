"""Your own trading rule: a position in proportion to the forecast.

``python runners/examples/sized_by_forecast.py CANDLES.csv MODELS_FOLDER`` trades it on unseen bars;
``regimes check runners/examples/sized_by_forecast.py --models MODELS_FOLDER`` checks it for look-ahead bias.
"""

import sys

import backtrader as bt

from data.candles import read_candles
from models import ModelSet
from models.forecaster import Forecast
from strategies import BuyAndHold, LSTMRegimeStrategy, target_size
from strategies.feed import candle_feed


class SizedByForecast(LSTMRegimeStrategy):
    """Full ``exposure`` at the forecast ``full``, less below; ignores changes that are too small for a commission."""

    params = (("full", 0.003), ("smallest_change", 0.1))

    def wanted_size(self, forecast: Forecast, held: float) -> float:
        strength = max(-1.0, min(1.0, forecast.log_return / self.p.full))
        wanted = target_size(self, strength, self.p.exposure, self.traded)
        too_little = target_size(self, self.p.smallest_change, self.p.exposure, self.traded)
        return held if abs(wanted - held) < too_little else wanted


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: python runners/examples/sized_by_forecast.py CANDLES.csv MODELS_FOLDER")
    csv, folder = sys.argv[1:]
    models = ModelSet.load(folder)
    unseen = (models.validation_end + models.interval).tz_convert(None)
    for strategy, settings in ((SizedByForecast, {"models": models}), (BuyAndHold, {})):
        cerebro = bt.Cerebro()
        cerebro.adddata(candle_feed(read_candles(csv)))
        cerebro.addstrategy(strategy, trade_from=unseen, **settings)
        cerebro.broker.setcommission(commission=0.001)
        cerebro.run()
        orders, value = len(cerebro.broker.orders), cerebro.broker.getvalue()
        print(f"{strategy.__name__}: final value {value:,.2f}, {orders} order{'s' if orders > 1 else ''}")
