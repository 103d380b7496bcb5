"""The table of trades, with the trade that is open at the end."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from runners.backtesting.result import Backtest

# Shown first, in this order, with the kind of value that ``trades.js`` formats; further columns follow.
_KINDS = {
    "opened": "time", "closed": "time", "direction": "text", "size": "units", "orders": "count",
    "entry_price": "price", "exit_price": "price", "return": "percent", "net_pnl": "money", "cumulative": "money",
    "mae": "percent", "mfe": "percent", "bars": "count", "regime": "text", "forecast": "points",
    "closed_by": "text",
}  # fmt: skip
_LABELS = {
    "entry_price": "entry", "exit_price": "exit", "return": "%", "net_pnl": "net pnl", "mae": "MAE", "mfe": "MFE",
    "forecast": "forecast, bp", "closed_by": "closed by",
}  # fmt: skip
_HIDDEN = {"pnl", "commission", "borrowing"}  # they are in trades.csv


def trade_table(result: Backtest) -> pd.DataFrame:
    """One row per trade, the open one last, marked in ``open``.

    Beside the columns of `Backtest.trades`: ``return`` is the net profit as a fraction of the value at entry;
    ``cumulative`` the net profit of all trades so far; ``mae`` and ``mfe`` the largest unrealised loss and profit
    (maximum adverse and favourable excursion) as fractions of the entry price, from the bars' highs and lows.
    """
    closed, still_open = result.trades, result.open_trade
    trades = pd.concat([closed, still_open], ignore_index=True) if len(still_open) else closed.reset_index(drop=True)
    adverse, favourable = _excursions(trades, result.candles)
    return trades.assign(
        **{"return": trades["net_pnl"] / (trades["entry_price"] * trades["size"])},
        cumulative=trades["net_pnl"].cumsum(),
        mae=adverse,
        mfe=favourable,
        regime=[result.source.regime_label(int(regime)) for regime in trades["regime"]],
        closed_by=trades["closed_by"].str.replace("_", " "),
        open=np.arange(len(trades)) >= len(closed),
    )


def _excursions(trades: pd.DataFrame, candles: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Largest loss and profit while each trade was open; the bar of the exit counts with the price of the exit only."""
    times = pd.DatetimeIndex(candles.index).tz_convert(None)
    high, low = candles["high"].to_numpy(), candles["low"].to_numpy()
    adverse, favourable = np.zeros(len(trades)), np.zeros(len(trades))
    columns = trades[["opened", "closed", "direction", "entry_price", "exit_price"]]
    for row, (opened, closed, direction, entry, exit_price) in enumerate(columns.itertuples(index=False)):
        bars = slice(int(times.searchsorted(opened)), int(times.searchsorted(closed)))
        best = max([entry, exit_price, *high[bars].max(initial=entry, keepdims=True)])
        worst = min([entry, exit_price, *low[bars].min(initial=entry, keepdims=True)])
        gain, loss = best / entry - 1, worst / entry - 1
        adverse[row], favourable[row] = (loss, gain) if direction == "long" else (-gain, -loss)
    return adverse, favourable


def trades_json(trades: pd.DataFrame) -> str:
    """A `trade_table` for ``trades.js``: columns with label and kind, and the rows' values."""
    further = [str(name) for name in trades if name not in {*_KINDS, *_HIDDEN, "open"}]
    kinds = _KINDS | dict.fromkeys(further, "text")
    columns = [{"label": _LABELS.get(name, name.replace("_", " ")), "kind": kind} for name, kind in kinds.items()]
    rows = [list(map(_plain, row)) for row in trades[list(kinds)].itertuples(index=False)]
    content = {"columns": columns, "rows": rows, "open": np.flatnonzero(trades["open"]).tolist()}
    return json.dumps(content, separators=(",", ":")).replace("<", "\\u003c")


def _plain(value: Any) -> Any:
    """A value for JSON: times in ISO 8601, numbers with seven digits."""
    if isinstance(value, pd.Timestamp):
        return f"{value:%Y-%m-%d %H:%M}"
    if isinstance(value, float):
        return float(f"{value:.7g}") if np.isfinite(value) else None
    return value
