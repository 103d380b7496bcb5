"""A backtest made longer than any that a test could trade, to measure and count what its page draws."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd

from runners.backtesting.result import Backtest


def stretched(result: Backtest, n_bars: int, n_trades: int) -> Backtest:
    """The backtest with its bars repeated up to ``n_bars``, and its first trade ``n_trades`` times over these bars."""
    index = pd.date_range("2010-01-01", periods=n_bars, freq=result.source.interval, tz="UTC", name="timestamp")
    rows = np.arange(n_bars) % len(result.equity)

    def repeated(table: pd.DataFrame) -> pd.DataFrame:
        return table.iloc[rows].set_index(index)

    opened = index[np.linspace(0, n_bars - 3, n_trades, dtype=int)].tz_localize(None)
    trades = pd.concat([result.trades.head(1)] * n_trades, ignore_index=True)
    profit = np.random.default_rng(0).standard_normal(n_trades)
    return replace(
        result,
        candles=repeated(result.candles),
        equity=repeated(result.equity),
        forecasts=repeated(result.forecasts),
        curves=repeated(result.curves),
        trades=trades.assign(opened=opened, closed=opened + 2 * result.source.interval, net_pnl=profit),
        open_trade=result.open_trade.iloc[:0],
    )
