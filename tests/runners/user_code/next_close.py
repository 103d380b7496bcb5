"""Broken: looks at the next close before it comes."""

import backtrader as bt


class NextClose(bt.Strategy):
    def next(self):
        self.order_target_size(target=100 if self.data.close[1] > self.data.close[0] else -100)
