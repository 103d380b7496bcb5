"""Yardsticks that trade without a forecast."""

from __future__ import annotations

import backtrader as bt

from strategies.sizing import target_size


class BuyAndHold(bt.Strategy):
    """Buys ``exposure`` of equity at the first bar that may trade, and holds it.

    Parameters
    ----------
    exposure
        Fraction of equity, as in `LSTMRegimeStrategy`, so that the two bear the same market risk when invested.
    trade_from
        Open time (UTC, naive) of the first bar that decides; None for the first bar of the feed.
    """

    params = (("exposure", 0.95), ("trade_from", None))

    def next(self) -> None:
        if self.position or (self.p.trade_from and self.data.datetime.datetime(0) < self.p.trade_from):
            return
        self.order_target_size(target=target_size(self, 1, self.p.exposure))
