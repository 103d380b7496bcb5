"""Trained models in a Cerebro of your own: python runners/examples/own_cerebro.py CANDLES.csv MODELS_FOLDER."""

import sys

import backtrader as bt

from strategies import LSTMRegimeStrategy

csv, models = sys.argv[1:]
cerebro = bt.Cerebro()
minutes_240 = {"timeframe": bt.TimeFrame.Minutes, "compression": 240}
cerebro.adddata(bt.feeds.GenericCSVData(dataname=csv, dtformat="%Y-%m-%dT%H:%M:%SZ", openinterest=-1, **minutes_240))
cerebro.addstrategy(LSTMRegimeStrategy, models=models)
cerebro.broker.setcommission(commission=0.001)
cerebro.run()
print(f"final value {cerebro.broker.getvalue():,.2f}")
