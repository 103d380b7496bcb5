"""How large a position is."""

from __future__ import annotations

import backtrader as bt


def target_size(strategy: bt.Strategy, direction: int, exposure: float) -> float:
    """Units, fractions allowed and negative for short, worth ``exposure`` of equity at the bar's close."""
    return direction * exposure * float(strategy.broker.getvalue()) / float(strategy.data.close[0])
