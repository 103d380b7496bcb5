"""The table of trades, with the trade that is open at the end."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from models.regimes import regime_name

if TYPE_CHECKING:
    from collections.abc import Iterable

    from runners.backtesting.result import Backtest

_COLUMNS = ["opened", "closed", "direction", "entry_price", "exit_price", "net_pnl", "bars", "regime", "forecast"]
TRADE_COLUMNS = [name.replace("_", " ") for name in _COLUMNS]
_TIME, _MONEY = "{:%Y-%m-%d %H:%M}", "{:,.2f}"
_FORMATS = {
    "opened": _TIME, "closed": _TIME, "entry_price": _MONEY, "exit_price": _MONEY, "net_pnl": _MONEY,
    "forecast": "{:.5f}",
}  # fmt: skip


@dataclass(frozen=True)
class OpenTrade:
    """The position held at the last bar; fields as in `runners.backtesting.engine.Recorder.trades`.

    ``net_pnl`` is its profit at the last close, after the costs of opening and holding it.
    """

    opened: pd.Timestamp
    direction: str
    entry_price: float
    net_pnl: float
    bars: int
    regime: float
    forecast: float


def open_trade(result: Backtest) -> OpenTrade | None:
    """The position held at the last bar, or None."""
    table = result.equity
    position = table["position"].to_numpy()
    if position[-1] == 0:
        return None
    at = int(np.flatnonzero(np.diff(np.sign(position), prepend=0))[-1])
    units = abs(position[at] - position[at - 1])  # of the opening order, which may also have closed a trade
    index = pd.DatetimeIndex(table.index).tz_convert(None)
    closed = float(result.trades["net_pnl"].sum())
    return OpenTrade(
        opened=index[at],
        direction="long" if position[-1] > 0 else "short",
        entry_price=float(table["traded"].iloc[at]) / units,
        net_pnl=float(table["equity"].iloc[-1]) - result.settings.cash - closed,
        bars=len(table) - 1 - at,
        regime=float(table["regime"].iloc[at - 1]),
        forecast=float(table["forecast"].iloc[at - 1]),
    )


def trade_rows(result: Backtest) -> list[list[tuple[str, str]]]:
    """Cells of `TRADE_COLUMNS` per trade, the open one last: the text, and the value to sort by."""
    rows = [_cells(row) for row in result.trades[_COLUMNS].itertuples(index=False)]
    if still := open_trade(result):
        last, price = result.equity.index[-1].tz_convert(None), float(result.candles["close"].iloc[-1])
        cells = _cells({**vars(still), "closed": last, "exit_price": price}[name] for name in _COLUMNS)
        for name, text in (("closed", "open"), ("exit_price", "-")):
            at = _COLUMNS.index(name)
            cells[at] = text, cells[at][1]
        rows.append(cells)
    return rows


def _cells(values: Iterable[Any]) -> list[tuple[str, str]]:
    by_name = dict(zip(_COLUMNS, values, strict=True))
    by_name["regime"] = regime_name(int(by_name["regime"]))
    return [(_FORMATS.get(name, "{}").format(value), str(value)) for name, value in by_name.items()]
