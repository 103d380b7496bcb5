"""How large a position is."""

from __future__ import annotations

import backtrader as bt


def target_size(
    strategy: bt.Strategy, direction: float, exposure: float, data: bt.feed.DataBase | None = None
) -> float:
    """Units, fractions allowed and negative for short, worth ``exposure`` of equity at the bar's close.

    Parameters
    ----------
    direction
        1 long, -1 short; between them, that part of the exposure.
    exposure
        Fraction of the account's equity.
    data
        What the units are of; None for the strategy's first feed.
    """
    feed = strategy.data if data is None else data
    return direction * exposure * float(strategy.broker.getvalue()) / float(feed.close[0])
