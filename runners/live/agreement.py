"""Whether a replay decided what the backtest did, bar for bar."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pandas as pd

from data.candles import time_text
from runners.live.bus.bus import Entry

FORECAST_TOLERANCE = 1e-6  # of the larger magnitude; regimes, positions and equity are the same to the last bit


def first_difference(decisions: Sequence[Entry], equity: pd.DataFrame) -> str | None:
    """Where decisions and a backtest differ first, or None.

    Parameters
    ----------
    decisions
        Of every bar, from the stream of decisions.
    equity
        ``(n_bars, >= 4)`` of `runners.backtesting.engine.Backtest`.
    """
    decided = {entry.time: entry.values for entry in decisions}
    if list(decided) != list(equity.index):
        odd = equity.index.symmetric_difference(pd.DatetimeIndex(decided))
        first = odd[0] if len(odd) else "a repeated bar"
        return f"{len(decisions)} decisions for {len(equity)} bars of the backtest; the first odd one is {first}"
    compared = {"regime": "regime", "forecast": "log_return", "position": "position", "equity": "equity"}
    columns = {name: equity[name].tolist() for name in compared}
    for bar, (time, here) in enumerate(decided.items()):
        for name, live_name in compared.items():
            live, backtest = here[live_name], columns[name][bar]
            if not _agree(name, live, backtest):
                return f"{time_text(time)}: {name} {live} live, {backtest} in the backtest"
    return None


def _agree(name: str, live: float | None, backtest: float) -> bool:
    if live is None or math.isnan(backtest):
        return live is None and math.isnan(backtest)
    if name == "forecast":
        return abs(live - backtest) <= FORECAST_TOLERANCE * max(abs(live), abs(backtest))
    return live == backtest
