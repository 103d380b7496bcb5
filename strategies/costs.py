"""Trading costs as a Backtrader commission scheme."""

from __future__ import annotations

import datetime as dt

import backtrader as bt

from strategies.account import holding_fee


class TradingCosts(bt.CommissionInfo):
    """Commission on each trade, and a fee for the position held at each bar's open.

    ``cerebro.broker.addcommissioninfo(TradingCosts(commission=0.001, borrow_rate=0.0001))``

    Parameters
    ----------
    commission
        Fraction of the traded value.
    borrow_rate
        Fraction of a short position's value at the bar's open, paid for borrowing.
    funding
        Fraction of the position's value at the bar's open: longs pay it and shorts receive it, as of a perpetual
        future; the reverse if it is negative.
    """

    params = (("borrow_rate", 0.0), ("funding", 0.0))

    def get_credit_interest(self, data: bt.feed.DataBase, pos: bt.Position, now: dt.datetime) -> float:
        if now <= pos.datetime:  # the broker also calls this at other feeds' bars
            return 0.0
        return holding_fee(pos.size, data.open[0] * self.p.mult, self.p)
