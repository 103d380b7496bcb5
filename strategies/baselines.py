"""Yardsticks that trade without a forecast."""

from __future__ import annotations

import backtrader as bt

from strategies.feed import first_stamp
from strategies.rule_settings import RuleSettings
from strategies.settings import target_size


class BuyAndHold(bt.Strategy):
    """Buys at the first bar that may trade, and holds.

    Parameters
    ----------
    exposure
        Fraction of equity, as in `LSTMRegimeStrategy`, for equal market risk when invested.
    trade_from
        Open time (UTC, naive) of the first bar that may trade; None for the first bar of the feed.
    """

    params = (("exposure", RuleSettings.model_fields["exposure"].default), ("trade_from", None))

    def start(self) -> None:
        self._trades_from = first_stamp(self.data, self.p.trade_from)

    def next(self) -> None:
        if self.position or self.data.datetime[0] < self._trades_from:
            return
        self.order_target_size(target=target_size(self, 1, self.p.exposure))
