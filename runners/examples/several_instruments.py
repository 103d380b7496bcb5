"""Several instruments in one account, each with its own models.

``python runners/examples/several_instruments.py BTC.csv BTC_MODELS ETH.csv ETH_MODELS``, or more such pairs. Backtrader
starts when every feed has started. Use candles of the same interval and about the same first bar.
"""

import sys
from pathlib import Path

import backtrader as bt

from data.candles import read_candles
from models import ModelSet
from strategies import LSTMRegimeStrategy
from strategies.feed import candle_feed

if len(sys.argv) < 3 or len(sys.argv) % 2 == 0:
    sys.exit("usage: python runners/examples/several_instruments.py CANDLES.csv MODELS_FOLDER ...")
instruments = list(zip(sys.argv[1::2], sys.argv[2::2], strict=True))
cerebro = bt.Cerebro()
for csv, folder in instruments:
    name, models = Path(csv).stem, ModelSet.load(folder)
    unseen = (models.validation_end + models.interval).tz_convert(None)
    cerebro.adddata(candle_feed(read_candles(csv)), name=name)
    cerebro.addstrategy(
        LSTMRegimeStrategy, models=models, feed=name, exposure=0.95 / len(instruments), trade_from=unseen
    )
cerebro.addanalyzer(bt.analyzers.TradeAnalyzer, _name="trades")
cerebro.broker.setcommission(commission=0.001)
for strategy in cerebro.run():
    trades = strategy.analyzers.trades.get_analysis()["total"].get("closed", 0)
    print(f"{strategy.traded._name}: {trades} closed trades, {strategy.getposition(strategy.traded).size:+.4f} held")
print(f"final value {cerebro.broker.getvalue():,.2f}")
