"""Known candles, passed on as an exchange would give them."""

from __future__ import annotations

import threading

import pandas as pd

from runners.live.bus.bus import Bus, milliseconds
from runners.live.services.ingest import timeframe_of
from runners.live.services.service import Connect, Service

_BEAT_AFTER = 100  # candles


class Replay(Service):
    """Takes `runners.live.services.ingest.Ingest`'s place: writes the candles of a frame into the stream.

    Parameters
    ----------
    candles
        ``(n_bars, >= 5)`` as `data.candles.read_candles` gives it; those before ``first_live`` fill the lookback.
    speed
        How many times faster than real time; None for as fast as it goes.
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

    def passed_on(self, time: pd.Timestamp | None) -> bool:
        """Whether the candle at ``time`` is the last one, and has been passed on."""
        return self.state == "replayed" and time == self._candles.index[-1]

    def work(self, bus: Bus, stop: threading.Event) -> None:
        bus.remember(self.facts)
        first_live = bus.begin(self._first_live)
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
            if number % _BEAT_AFTER == 0 or self._pause:
                self.beat(bus, "replaying")
            previous = time
        self.beat(bus, "replayed")
