"""Trading costs as a Backtrader commission scheme, and what a scheme makes of a unit."""

from __future__ import annotations

import datetime as dt

import backtrader as bt

from data.errors import SettingsError


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


def unit_value(strategy: bt.Strategy, data: bt.feed.DataBase) -> float:
    """Value of one unit at the bar's close, in currency: the price, times ``mult`` of a future.

    Raises a `SettingsError` for a scheme with which Backtrader's equity is wrong while a position is open: a multiplier
    without a margin, or a margin that moves with the price.
    """
    scheme, close = strategy.broker.getcommissioninfo(data), float(data.close[0])
    if scheme.stocklike:
        if scheme.p.mult != 1:
            raise SettingsError(
                f"the commission scheme has mult={scheme.p.mult:g} and is stock-like, so Backtrader multiplies profits "
                "but not values. Set a margin as well, as for a future, or leave out mult."
            )
        return close
    if scheme.get_margin(close) != scheme.get_margin(2 * close):
        raise SettingsError(
            "the commission scheme's margin moves with the price (automargin), so Backtrader counts a part of each "
            "profit twice while a position is open. Set margin to an amount per unit."
        )
    return close * float(scheme.p.mult)


def capital_per_unit(strategy: bt.Strategy, data: bt.feed.DataBase) -> float:
    """Equity that one unit takes up at the bar's close: its value, or the margin of a future if that is more."""
    scheme, value = strategy.broker.getcommissioninfo(data), unit_value(strategy, data)
    return value if scheme.stocklike else max(value, float(scheme.get_margin(data.close[0])))
