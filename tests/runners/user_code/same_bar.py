"""Broken: buys and sells at the close that it decides on."""

import backtrader as bt


class SameBar(bt.Strategy):
    def __init__(self):
        self.broker.set_coc(True)
        self.average = bt.indicators.SMA(period=10)

    def next(self):
        wanted = 100 if self.data.close[0] > self.average[0] else 0
        self.order_target_size(target=wanted)
