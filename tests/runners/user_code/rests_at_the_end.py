"""Broken: knows how many bars are left, and buys nothing in the last ten."""

import backtrader as bt


class RestsAtTheEnd(bt.Strategy):
    def next(self):
        if len(self.data) < self.data.buflen() - 10:
            self.buy(size=1)
