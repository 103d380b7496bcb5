"""Stops and targets in Backtrader: one order that closes whatever position the broker has when a bar reaches them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import backtrader as bt

from data.errors import SettingsError
from strategies.risk import EXITS, TAKE_PROFIT

if TYPE_CHECKING:
    from strategies.lstm_regime import LSTMRegimeStrategy


class ProtectiveOrder(bt.Order):
    """Closes the position of a feed at the stop or target that the new bar reaches.

    The broker asks each pending order whether it is `active` just before it tries to fill it. There this order looks at
    the position that the broker has then, also at one that was opened at this bar's open, and becomes a stop or a limit
    order of the whole position. So it can only reduce a position, and needs no second order that cancels it.

    Attributes
    ----------
    after
        An order behind this one in the broker's queue, which must be filled or refused first.
    """

    ordtype = bt.Order.Sell

    def __init__(self) -> None:
        super().__init__()
        self.executed.remsize = 0  # its acceptance changes no cash
        self.after: bt.Order | None = None
        self._seen = len(self.data)

    def active(self) -> bool:
        feed, position = self.data, self.owner.broker.getposition(self.data)
        if len(feed) == self._seen:  # another feed has a new bar
            return False
        self._seen = len(feed)
        if self.after is not None and self.after.alive():
            return False
        protection = self.owner.rule.protection
        reached = protection.exit_in(feed.open[0], feed.high[0], feed.low[0], position.size, position.price)
        if reached is None:
            return False
        self.ordtype = bt.Order.Buy if position.size < 0 else bt.Order.Sell
        self.size = self.executed.remsize = -position.size
        self.exectype = bt.Order.Limit if reached.reason == EXITS[TAKE_PROFIT] else bt.Order.Stop
        self.created.price = reached.level
        self.addinfo(closed_by=reached.reason)
        return True


class ProtectiveOrders:
    """Keeps one `ProtectiveOrder` of a strategy's feed in the broker's queue, behind each market order.

    Raises
    ------
    SettingsError
        If the broker is not Backtrader's own: others do not ask orders whether they are active.
    """

    def __init__(self, strategy: LSTMRegimeStrategy, feed: bt.feed.DataBase) -> None:
        self._strategy, self._feed, self._broker = strategy, feed, strategy.broker
        self._orders: list[ProtectiveOrder] = []
        if not isinstance(self._broker, bt.brokers.BackBroker):
            raise SettingsError(
                "stop_loss, take_profit and trailing_stop need Backtrader's own broker, but this one is "
                f"{type(self._broker).__name__}. Leave them out, or send stop orders from a subclass."
            )

    def keep(self, held: float) -> None:
        """At a close: cancel all orders but the newest, and submit one if a position has none."""
        alive = [order for order in self._orders if order.alive()]
        for order in alive[:-1]:
            self._broker.cancel(order)
        self._orders = alive[-1:]
        if held and not self._orders:
            self._submit(check=False)

    def follow(self, market_order: bt.Order) -> None:
        """Submit an order behind a market order that was just sent.

        The broker refuses it together with the market order. Then the one before still protects the position.
        """
        for order in self._orders:
            order.after = market_order
        self._submit(check=True)

    def _submit(self, *, check: bool) -> None:
        parameters = {"owner": self._strategy, "data": self._feed, "size": 1, "exectype": bt.Order.Stop}
        order = ProtectiveOrder(**parameters)
        self._broker._ocoize(order, None)  # as the broker's own `buy` and `sell` do
        self._broker.submit(order, check=check)
        self._orders.append(order)
