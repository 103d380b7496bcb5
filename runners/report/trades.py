"""The table of trades, with the trade that is open at the end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

    from runners.backtesting.result import Backtest, Source

_COLUMNS = [
    "opened", "closed", "direction", "size", "orders", "entry_price", "exit_price", "net_pnl", "bars", "regime",
    "forecast", "closed_by",
]  # fmt: skip
_SHOWN_AS = {"entry_price": "entry", "exit_price": "exit", "net_pnl": "net pnl", "closed_by": "closed by"}
TRADE_COLUMNS = [_SHOWN_AS.get(name, name) for name in _COLUMNS]
_TIME, _MONEY = "{:%Y-%m-%d %H:%M}", "{:,.2f}"
_FORMATS = {
    "opened": _TIME, "closed": _TIME, "size": "{:,.6g}", "entry_price": _MONEY, "exit_price": _MONEY,
    "net_pnl": _MONEY, "forecast": "{:.5f}",
}  # fmt: skip


def trade_rows(result: Backtest) -> list[list[tuple[str, str]]]:
    """Cells of `TRADE_COLUMNS` per trade, the open one last: the text, and the value to sort by."""
    source = result.source
    rows = [_cells(row, source) for row in result.trades[_COLUMNS].itertuples(index=False)]
    for row in result.open_trade[_COLUMNS].itertuples(index=False):
        cells = _cells(row, source)
        for name, text in (("closed", "open"), ("exit_price", "-")):
            at = _COLUMNS.index(name)
            cells[at] = text, cells[at][1]
        rows.append(cells)
    return rows


def _cells(values: Iterable[Any], source: Source) -> list[tuple[str, str]]:
    by_name = dict(zip(_COLUMNS, values, strict=True))
    by_name["closed_by"] = by_name["closed_by"].replace("_", " ")
    by_name["regime"] = source.regime_label(int(by_name["regime"]))
    return [(_FORMATS.get(name, "{}").format(value), str(value)) for name, value in by_name.items()]
