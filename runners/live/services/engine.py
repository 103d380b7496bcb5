"""Forecasts each closed candle with the `Forecaster` that training and backtest use."""

from __future__ import annotations

import threading
from typing import Any

import pandas as pd

from models.forecaster import ForecastStream
from runners.live.bus.bus import Bus, Connect
from runners.live.bus.stream import Entry, milliseconds
from runners.live.services.ingest import timeframe_of
from runners.live.services.model_reloader import ModelReloader
from runners.live.services.service import WAIT, Service

_BATCH = 200
_LOOKBACKS_KEPT = 4  # of candles in the stream, because newer models may look further back


class Engine(Service):
    """Reads candles and writes a forecast for each live one.

    Its state is the last candles, which the stream keeps, and the last bar that was forecast. Newer models are loaded
    between two candles.
    """

    name = "engine"

    def __init__(self, connect: Connect, models: ModelReloader) -> None:
        super().__init__(connect)
        self._models = models
        self.facts = {"timeframe": timeframe_of(models.forecaster.interval)}

    def work(self, bus: Bus, stop: threading.Event) -> None:
        bus.store_facts(self.facts)
        forecast = bus.forecasts.last()
        last = forecast.time if forecast else None
        stream = self._stream_after(bus, last)
        while not stop.is_set():
            if self._reload_models():
                stream = self._stream_after(bus, last)
            entries = bus.candles.after(last, _BATCH, wait=WAIT)
            for entry in entries:
                if last is not None and entry.values["previous"] != milliseconds(last):
                    stream = self._restart_stream(last, entry)
                self._forecast(bus, stream, entry)
                last = entry.time
            if not entries:
                bus.candles.trim(_LOOKBACKS_KEPT * (self._models.forecaster.lookback + 1))
            self.heartbeat(bus, "forecasting" if entries else "waiting for a candle")

    def _stream_after(self, bus: Bus, last: pd.Timestamp | None) -> ForecastStream:
        """The forecaster's state after the candle at ``last``, which has its forecast already."""
        forecaster = self._models.forecaster
        stream = forecaster.stream()
        known = bus.candles.newest(forecaster.lookback + 1, until=last) if last is not None else []
        for entry in known:
            stream.push({"timestamp": entry.time, **entry.values})
        return stream

    def _reload_models(self) -> bool:
        before = self._models.rejection
        if self._models.refresh():
            self.counted["models_taken"] += 1
            self.log.info("took newer models", models=self._models.run)
            return True
        if self._models.rejection not in (None, before):
            self.counted["models_refused"] += 1
            self.log.error("newer models refused", why=self._models.rejection, goes_on_with=self._models.run)
        return False

    def _restart_stream(self, last: pd.Timestamp, entry: Entry) -> ForecastStream:
        """An empty stream, because candles before this one were removed unread."""
        self.counted["candles_lost"] += 1
        self.log.error(
            "candles were removed from the stream before they were read; forecasts begin again once the lookback is "
            "full",
            read_up_to=str(last),
            next=str(entry.time),
        )
        return self._models.forecaster.stream()

    def _forecast(self, bus: Bus, stream: ForecastStream, entry: Entry) -> None:
        candle = entry.values
        forecast = stream.push({"timestamp": entry.time, **candle})
        if not candle["live"]:
            return
        values: dict[str, Any] = {"regime": None, "log_return": None, "probabilities": None}
        if forecast:
            values = {
                "regime": forecast.regime,
                "log_return": forecast.log_return,
                "probabilities": {str(regime): share for regime, share in forecast.probabilities.items()},
            }
        bus.forecasts.append(
            entry.time, {"open": candle["open"], "close": candle["close"], **values, "models": self._models.run}
        )
        self.counted["forecasts"] += 1
        self.log.info("forecast", candle=str(entry.time), regime=values["regime"], log_return=values["log_return"])
