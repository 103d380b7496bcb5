"""Broken: asks, at every bar, for the average over the whole feed."""

import backtrader as bt
import numpy as np


class HalfKnown(bt.Strategy):
    def start(self):
        self.middle = float(np.median(self.data.close.array))

    def next(self):
        self.order_target_size(target=100 if self.data.close[0] < self.middle else 0)
