"""Broken: knows which bar is the last one, and sells there."""

import backtrader as bt


class SellsAtTheEnd(bt.Strategy):
    def next(self):
        if len(self.data) == 20:
            self.buy(size=100)
        if len(self.data) == self.data.buflen():
            self.close()
