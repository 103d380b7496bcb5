"""What happened in a Backtrader run: equity bar by bar, and every round trip."""

from __future__ import annotations

import backtrader as bt
import numpy as np
import pandas as pd

from strategies.feed import bar_times

EQUITY_COLUMNS = ["timestamp", "equity", "position", "regime", "forecast"]
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
    """Records equity, position, regime and forecast at each close from ``trade_from`` on, and the trades.

    A trade's regime and forecast are those of the bar that decided it, the one before it filled.
    """

    params = (("trade_from", None),)

    def start(self) -> None:
        self._bars: list[tuple[float, float, float, float, float]] = []
        self._trades: list[dict[str, object]] = []
        self._open: dict[int, dict[str, object]] = {}
        self._decided = (float("nan"), float("nan"))
        self.costs = 0.0
        self.turnover = 0.0
        self._from = bt.date2num(self.p.trade_from) if self.p.trade_from else 0.0

    def notify_order(self, order: bt.Order) -> None:
        if order.status in (order.Completed, order.Partial):
            self.costs += order.executed.comm
            self.turnover += abs(order.executed.size * order.executed.price)

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
            self._bars.append((now, strategy.broker.getvalue(), strategy.position.size, *self._decided))

    def open_trades(self) -> int:
        """Positions that the last bar left open: their result is in the equity, not among the trades."""
        return len(self._open)

    def equity(self) -> pd.DataFrame:
        """``(n_bars, 4)``: equity, position in units, regime, forecast; over the bars' times in UTC."""
        times, *values = zip(*self._bars, strict=True) if self._bars else ([], [], [], [], [])
        index = bar_times(self.strategy.data, np.array(times))
        return pd.DataFrame(dict(zip(EQUITY_COLUMNS[1:], values, strict=True)), index=index)

    def trades(self) -> pd.DataFrame:
        """A row per closed round trip, columns `TRADE_COLUMNS`; prices include slippage, money is in the currency."""
        return pd.DataFrame(self._trades, columns=TRADE_COLUMNS)
