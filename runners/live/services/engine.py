"""Forecasts each closed candle with the same `Forecaster` as a backtest."""

from __future__ import annotations

import threading
from collections import deque
from typing import Any

import numpy as np
import pandas as pd

from models.forecaster import ForecastStream
from runners.live.bus.bus import Bus, Connect
from runners.live.bus.stream import Entry, milliseconds
from runners.live.services.ingest import timeframe_of
from runners.live.services.model_reloader import ModelReloader
from runners.live.services.service import WAIT, Service
from strategies.signals import VOLATILITY_BARS, past_volatility

REFUSED = "newer models refused"  # end of the state while that is so
_BATCH = 200
_HISTORIES_KEPT = 4  # in the stream of candles, because newer models may have a longer lookback


class Engine(Service):
    """Reads candles and writes a forecast for each live one; loads newer models between two candles."""

    name = "engine"

    def __init__(self, connect: Connect, models: ModelReloader) -> None:
        super().__init__(connect)
        self._models = models
        self._closes: deque[float] = deque(maxlen=VOLATILITY_BARS + 1)
        self.facts = {"timeframe": timeframe_of(models.forecaster.interval)}

    def work(self, bus: Bus, stop: threading.Event) -> None:
        bus.store_facts(self.facts)
        forecast = bus.forecasts.last()
        last = forecast.time if forecast else None
        stream = self._stream_after(bus, last)
        while not stop.is_set():
            if self._models.refresh(self.counted, self.log):
                stream = self._stream_after(bus, last)
            entries = bus.candles.after(last, _BATCH, wait=WAIT)
            for entry in entries:
                if last is not None and entry.values["previous"] != milliseconds(last):
                    stream = self._restart_stream(last, entry)
                self._forecast(bus, stream, entry)
                last = entry.time
            if not entries:
                bus.candles.trim(_HISTORIES_KEPT * (self._models.history + 1))
            state = "forecasting" if entries else "waiting for a candle"
            self.heartbeat(bus, f"{state}; {REFUSED}" if self._models.rejection else state)

    def _stream_after(self, bus: Bus, last: pd.Timestamp | None) -> ForecastStream:
        """The forecaster's state after the candle at ``last``, the last one with a forecast."""
        stream = self._models.forecaster.stream()
        self._closes.clear()
        for entry in bus.candles.newest(self._models.history + 1, until=last) if last is not None else []:
            stream.push({"timestamp": entry.time, **entry.values})
            self._closes.append(entry.values["close"])
        return stream

    def _restart_stream(self, last: pd.Timestamp, entry: Entry) -> ForecastStream:
        """A new stream, because candles before this entry were removed unread."""
        self.counted["candles_lost"] += 1
        self.log.error(
            "candles were removed from the stream before they were read; forecasts continue when the lookback is full",
            read_up_to=str(last),
            next=str(entry.time),
        )
        self._closes.clear()
        return self._models.forecaster.stream()

    def _volatility(self) -> float | None:
        """`strategies.signals.past_volatility` at the last candle; None if unknown."""
        known = len(self._closes) > VOLATILITY_BARS
        return float(past_volatility(np.array(self._closes))[-1]) if known else None

    def _forecast(self, bus: Bus, stream: ForecastStream, entry: Entry) -> None:
        candle = entry.values
        forecast = stream.push({"timestamp": entry.time, **candle})
        self._closes.append(candle["close"])
        if not candle["live"]:
            return
        values: dict[str, Any] = dict.fromkeys(
            ("regime", "log_return", "members", "probabilities", "scale", "quantiles", "intervals", "density")
        )
        if forecast:
            values = {
                "regime": forecast.regime,
                "log_return": forecast.log_return,
                "members": list(forecast.members),
                "probabilities": {str(regime): share for regime, share in forecast.probabilities.items()},
                "scale": forecast.scale,
                "quantiles": forecast.quantiles(),
                "intervals": forecast.intervals(),
                "density": forecast.density.to_dict() if forecast.density else None,
            }
        bar = {name: candle[name] for name in ("open", "high", "low", "close")} | {"volatility": self._volatility()}
        if not bus.forecasts.append(entry.time, {**bar, **values, "models": self._models.run}):
            self._note_other_models(bus, entry.time)
        self.counted["forecasts"] += 1
        self.log.info("forecast", candle=str(entry.time), regime=values["regime"], log_return=values["log_return"])

    def _note_other_models(self, bus: Bus, time: pd.Timestamp) -> None:
        """Log if another engine has forecast this bar with other models, because trades then mix both."""
        others = [entry.values["models"] for entry in bus.forecasts.newest(1, until=time) if entry.time == time]
        if others not in ([], [self._models.run]):
            self.counted["other_models"] += 1
            self.log.error(
                "another engine forecasts with other models", candle=str(time), its=others[0], own=self._models.run
            )
