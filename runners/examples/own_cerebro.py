"""A Cerebro of one's own, four-hour candles: python runners/examples/own_cerebro.py CANDLES.csv MODELS_FOLDER."""

import sys

import backtrader as bt

from models import ModelSet
from strategies import LSTMRegimeStrategy

csv, folder = sys.argv[1:]
models = ModelSet.load(folder)
unseen = (models.validation_end + models.interval).tz_convert(None)
cerebro = bt.Cerebro()
minutes_240 = {"timeframe": bt.TimeFrame.Minutes, "compression": 240}
cerebro.adddata(bt.feeds.GenericCSVData(dataname=csv, dtformat="%Y-%m-%dT%H:%M:%SZ", openinterest=-1, **minutes_240))
cerebro.addstrategy(LSTMRegimeStrategy, models=models, trade_from=unseen)
cerebro.broker.setcommission(commission=0.001)
cerebro.run()
print(f"final value {cerebro.broker.getvalue():,.2f} of {cerebro.broker.startingcash:,.2f}, on unseen bars")
