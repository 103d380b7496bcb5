"""What happened in a Backtrader run: equity bar by bar, and every round trip."""

from __future__ import annotations

import backtrader as bt
import numpy as np
import pandas as pd

from strategies.feed import bar_times

EQUITY_COLUMNS = ["equity", "position", "regime", "forecast", "traded", "commission"]
TRADE_COLUMNS = [
    "opened",
    "closed",
    "direction",
    "size",
    "entry_price",
    "exit_price",
    "pnl",
    "commission",
    "net_pnl",
    "bars",
    "regime",
    "forecast",
]


class Recorder(bt.Analyzer):
    """Records, from ``trade_from`` on, each bar's equity, position, regime, forecast and trading, and the trades.

    A trade's regime and forecast are those of the bar that decided it, the one before it filled.
    """

    params = (("trade_from", None),)

    def start(self) -> None:
        self._bars: list[tuple[float, ...]] = []
        self._trades: list[dict[str, object]] = []
        self._open: dict[int, dict[str, object]] = {}
        self._decided = (float("nan"), float("nan"))
        self._booked: dict[int, tuple[float, float]] = {}
        self._traded = self._commission = 0.0
        self._from = bt.date2num(self.p.trade_from) if self.p.trade_from else 0.0

    def notify_order(self, order: bt.Order) -> None:
        if order.status in (order.Completed, order.Partial):  # an order's figures are sums over its parts
            traded, commission = self._booked.get(order.ref, (0.0, 0.0))
            self._booked[order.ref] = abs(order.executed.size * order.executed.price), order.executed.comm
            self._traded += self._booked[order.ref][0] - traded
            self._commission += self._booked[order.ref][1] - commission

    def notify_trade(self, trade: bt.Trade) -> None:
        if trade.justopened:
            self._open[trade.ref] = {
                "opened": trade.open_datetime(),
                "direction": "long" if trade.size > 0 else "short",
                "size": abs(trade.size),
                "entry_price": trade.price,
                "regime": self._decided[0],
                "forecast": self._decided[1],
            }
        if trade.isclosed and trade.ref in self._open:
            opened = self._open.pop(trade.ref)
            signed_size = opened["size"] if opened["direction"] == "long" else -opened["size"]  # type: ignore[operator]
            self._trades.append(
                {
                    **opened,
                    "closed": trade.close_datetime(),
                    "exit_price": trade.price + trade.pnl / signed_size,
                    "pnl": trade.pnl,
                    "commission": trade.commission,
                    "net_pnl": trade.pnlcomm,
                    "bars": trade.barlen,
                }
            )

    def next(self) -> None:
        strategy = self.strategy
        self._decided = (getattr(strategy, "regime", float("nan")), getattr(strategy, "forecast", float("nan")))
        now = strategy.data.datetime[0]
        if now >= self._from:
            held = strategy.broker.getvalue(), strategy.position.size
            self._bars.append((now, *held, *self._decided, self._traded, self._commission))
            self._traded = self._commission = 0.0

    def equity(self) -> pd.DataFrame:
        """``(n_bars, 6)`` over the bars' times in UTC.

        At each close equity, position in units, regime and forecast; of the bar the value traded and the commission.
        """
        times, *values = zip(*self._bars, strict=True) if self._bars else [()] * (1 + len(EQUITY_COLUMNS))
        index = bar_times(self.strategy.data, np.array(times))
        return pd.DataFrame(dict(zip(EQUITY_COLUMNS, values, strict=True)), index=index)

    def trades(self) -> pd.DataFrame:
        """A row per closed round trip, columns `TRADE_COLUMNS`; prices include slippage, money is in the currency."""
        return pd.DataFrame(self._trades, columns=TRADE_COLUMNS)
