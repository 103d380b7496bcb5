"""Your own Cerebro on four-hour candles: python runners/examples/own_cerebro.py CANDLES.csv MODELS_FOLDER.

With these costs, its final values are those of ``regimes backtest``.
"""

import sys
from datetime import timedelta

import backtrader as bt

from models import ModelSet
from strategies import BuyAndHold, LSTMRegimeStrategy

if len(sys.argv) != 3:
    sys.exit("usage: python runners/examples/own_cerebro.py CANDLES.csv MODELS_FOLDER")
csv, folder = sys.argv[1:]
models = ModelSet.load(folder)
unseen = models.validation_end.tz_convert(None) + timedelta(milliseconds=1)
minutes_240 = {"timeframe": bt.TimeFrame.Minutes, "compression": 240}
for strategy, settings in ((LSTMRegimeStrategy, {"models": models}), (BuyAndHold, {})):
    cerebro = bt.Cerebro()
    cerebro.adddata(
        bt.feeds.GenericCSVData(dataname=csv, dtformat="%Y-%m-%dT%H:%M:%SZ", openinterest=-1, **minutes_240)
    )
    cerebro.addstrategy(strategy, trade_from=unseen, **settings)
    cerebro.broker.setcash(100_000)
    cerebro.broker.setcommission(commission=0.001)
    cerebro.broker.set_slippage_perc(0.0005, slip_out=True)  # without slip_out, no worse than the bar's high and low
    cerebro.run()
    value, cash = cerebro.broker.getvalue(), cerebro.broker.startingcash
    print(f"{strategy.__name__}: final value {value:,.2f} of {cash:,.2f}, on unseen bars")
