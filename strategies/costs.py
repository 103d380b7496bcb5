"""Trading costs as a Backtrader commission scheme."""

from __future__ import annotations

import datetime as dt

import backtrader as bt


class TradingCosts(bt.CommissionInfo):
    """Commission on each trade, and a fee for short positions at each bar's open.

    ``cerebro.broker.addcommissioninfo(TradingCosts(commission=0.001, borrow_rate=0.0001))``

    Parameters
    ----------
    commission
        Fraction of the traded value.
    borrow_rate
        Fraction of the short position's value at the bar's open: borrowing, or the funding of a perpetual future.
    """

    params = (("borrow_rate", 0.0),)

    def get_credit_interest(self, data: bt.feed.DataBase, pos: bt.Position, now: dt.datetime) -> float:
        if pos.size > 0 or now <= pos.datetime:  # the broker also calls this at other feeds' bars
            return 0.0
        return self.p.borrow_rate * -pos.size * data.open[0]
