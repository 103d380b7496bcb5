"""Replays historical candles through the services, and compares the decisions with a backtest's."""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence

import pandas as pd

from data.candles import time_text
from runners.live.bus.bus import Bus, Connect
from runners.live.bus.stream import Entry, milliseconds
from runners.live.services.ingest import timeframe_of
from runners.live.services.service import Service

TOLERANCE = 1e-6  # relative, of forecasts, and of positions and equity that depend on the size of forecasts
_HEARTBEAT_EVERY = 100  # candles


class Replay(Service):
    """Writes historical candles to the bus, in place of `runners.live.services.ingest.Ingest`.

    Parameters
    ----------
    candles
        ``(n_bars, >= 5)`` as from `data.candles.read_candles`; those before ``first_live`` fill the lookback.
    speed
        Multiple of real time; None for as fast as possible.
    """

    name = "ingest"

    def __init__(
        self,
        connect: Connect,
        candles: pd.DataFrame,
        first_live: pd.Timestamp,
        interval: pd.Timedelta,
        speed: float | None,
    ) -> None:
        super().__init__(connect)
        self.facts = {"exchange": "replay", "timeframe": timeframe_of(interval)}
        self._candles, self._first_live = candles, first_live
        self._pause = interval.total_seconds() / speed if speed else 0.0

    def is_finished(self, decided_up_to: pd.Timestamp | None) -> bool:
        """Whether all candles are written and the last one has its decision."""
        return self.state == "replayed" and decided_up_to == self._candles.index[-1]

    def work(self, bus: Bus, stop: threading.Event) -> None:
        bus.store_facts(self.facts)
        first_live = bus.set_first_live(self._first_live)
        last = bus.candles.last()
        previous = last.time if last else None
        left = self._candles if previous is None else self._candles.loc[self._candles.index > previous]
        columns = list(left.columns)
        for number, (time, *values) in enumerate(left.itertuples()):
            if stop.is_set():
                return
            live = bool(time >= first_live)
            if live and self._pause:
                stop.wait(self._pause)
            before = {"previous": milliseconds(previous) if previous is not None else None, "live": live}
            bus.candles.append(time, {**dict(zip(columns, values, strict=True)), **before})
            self.counted["candles"] += 1
            if number % _HEARTBEAT_EVERY == 0 or self._pause:
                self.heartbeat(bus, "replaying")
            previous = time
        self.heartbeat(bus, "replayed")


def first_difference(decisions: Sequence[Entry], equity: pd.DataFrame, *, exact: bool = True) -> str | None:
    """The first difference between live decisions and a backtest's ``equity``, ``(n_bars, >= 5)``, or None.

    Regimes and votes must be equal to the last bit, and so must positions and equity if ``exact``: if they depend on
    forecasts only by their votes.
    """
    decided = {entry.time: entry.values for entry in decisions}
    if list(decided) != list(equity.index):
        unmatched = equity.index.symmetric_difference(pd.DatetimeIndex(decided))
        first = unmatched[0] if len(unmatched) else "a repeated bar"
        return f"{len(decisions)} decisions for {len(equity)} bars of the backtest; the first difference is at {first}"
    compared = {"regime": "regime", "forecast": "log_return"} | {name: name for name in ("vote", "position", "equity")}
    close = {"forecast"} if exact else {"forecast", "position", "equity"}
    columns = {name: equity[name].tolist() for name in compared}
    for bar, (time, values) in enumerate(decided.items()):
        for name, live_name in compared.items():
            live, backtest = values[live_name], columns[name][bar]
            if not _is_equal(live, backtest, TOLERANCE if name in close else None):
                return f"{time_text(time)}: {name} {live} live, {backtest} in the backtest"
    return None


def _is_equal(live: float | None, backtest: float, tolerance: float | None) -> bool:
    if live is None or math.isnan(backtest):
        return live is None and math.isnan(backtest)
    if tolerance is not None:
        return abs(live - backtest) <= tolerance * max(abs(live), abs(backtest))
    return live == backtest
