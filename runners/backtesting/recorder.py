"""What happened in a Backtrader run: equity bar by bar, and every round trip."""

from __future__ import annotations

import datetime as dt
from typing import NamedTuple

import backtrader as bt
import numpy as np
import pandas as pd

from strategies.feed import bar_times, first_stamp

EQUITY_COLUMNS = ["equity", "position", "regime", "forecast", "traded", "commission", "borrowing"]
TRADE_COLUMNS = [
    "opened",
    "closed",
    "direction",
    "size",
    "entry_price",
    "exit_price",
    "pnl",
    "commission",
    "borrowing",
    "net_pnl",
    "bars",
    "regime",
    "forecast",
]


class _Opened(NamedTuple):
    """A trade as it was opened, the regime and forecast that decided it, and what short positions had cost by then."""

    trade: bt.Trade
    decided: tuple[float, float]
    borrowed: float


class Recorder(bt.Analyzer):
    """Records, from ``trade_from`` on, each bar's equity, position, regime, forecast and trading, and the trades.

    A trade's regime and forecast are those of the bar that decided it, the one before it filled. An account whose
    equity is 0 or below at a close is bankrupt: its position counts as closed at that close, its equity stays as it is,
    and what happens in the broker after it is not recorded. The broker must not count the costs of borrowing as
    commission (``set_int2pnl(False)``).
    """

    params = (("trade_from", None),)

    def start(self) -> None:
        self._bars: list[tuple[float, ...]] = []
        self._trades: list[dict[str, object]] = []
        self._open: dict[int, _Opened] = {}
        self._decided = (float("nan"), float("nan"))
        self._booked: dict[int, tuple[float, float]] = {}
        self._traded = self._commission = self._borrowed_before = 0.0
        self._from = first_stamp(self.strategy.data, self.p.trade_from)
        self._left: float | None = None  # of a bankrupt account

    def notify_order(self, order: bt.Order) -> None:
        if order.status in (order.Completed, order.Partial):  # an order's figures are sums over its parts
            traded, commission = self._booked.get(order.ref, (0.0, 0.0))
            self._booked[order.ref] = abs(order.executed.size * order.executed.price), order.executed.comm
            self._traded += self._booked[order.ref][0] - traded
            self._commission += self._booked[order.ref][1] - commission

    def notify_trade(self, trade: bt.Trade) -> None:
        if trade.justopened and self._left is None:
            self._open[trade.ref] = _Opened(trade, self._decided, self._borrowed())
        if trade.isclosed and trade.ref in self._open:
            self._close(self._open.pop(trade.ref), trade.close_datetime(), trade.pnl, trade.commission, trade.barlen)

    def _close(self, opened: _Opened, closed: dt.datetime, pnl: float, commission: float, bars: int) -> None:
        trade, borrowing = opened.trade, self._borrowed() - opened.borrowed
        self._trades.append(
            {
                "opened": trade.open_datetime(),
                "closed": closed,
                "direction": "long" if trade.size > 0 else "short",
                "size": abs(trade.size),
                "entry_price": trade.price,
                "exit_price": trade.price + pnl / trade.size,
                "pnl": pnl,
                "commission": commission,
                "borrowing": borrowing,
                "net_pnl": pnl - commission - borrowing,
                "bars": bars,
                "regime": opened.decided[0],
                "forecast": opened.decided[1],
            }
        )

    def _borrowed(self) -> float:
        """What short positions have cost so far, since the run began."""
        return float(self.strategy.broker.d_credit[self.strategy.data])

    def next(self) -> None:
        strategy, feed = self.strategy, self.strategy.data
        self._decided = (getattr(strategy, "regime", float("nan")), getattr(strategy, "forecast", float("nan")))
        now = feed.datetime[0]
        if now < self._from:
            return
        if self._left is not None:
            self._bars.append((now, self._left, 0.0, *self._decided, 0.0, 0.0, 0.0))
            return
        equity, position, borrowed = strategy.broker.getvalue(), strategy.position.size, self._borrowed()
        if equity <= 0:
            self._left, position = equity, 0.0
            for opened in self._open.values():
                trade = opened.trade
                pnl, bars = trade.size * (feed.close[0] - trade.price), len(feed) - trade.baropen
                self._close(opened, feed.datetime.datetime(0), pnl, trade.commission, bars)
            self._open.clear()
        costs = self._traded, self._commission, borrowed - self._borrowed_before
        self._bars.append((now, equity, position, *self._decided, *costs))
        self._traded, self._commission, self._borrowed_before = 0.0, 0.0, borrowed

    def equity(self) -> pd.DataFrame:
        """``(n_bars, 7)`` over the bars' times in UTC.

        At each close equity, position in units, regime and forecast; of the bar the value traded, the commission, and
        what holding a short position cost.
        """
        times, *values = zip(*self._bars, strict=True) if self._bars else [()] * (1 + len(EQUITY_COLUMNS))
        index = bar_times(self.strategy.data, np.array(times))
        return pd.DataFrame(dict(zip(EQUITY_COLUMNS, values, strict=True)), index=index)

    def trades(self) -> pd.DataFrame:
        """A row per closed round trip, columns `TRADE_COLUMNS`; prices include slippage, money is in the currency."""
        return pd.DataFrame(self._trades, columns=TRADE_COLUMNS)
