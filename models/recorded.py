"""Recorded forecasts with the interface of a forecaster."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from data.candles import OHLCV
from models.forecaster import Forecast


@dataclass(frozen=True)
class RecordedForecasts:
    """Recorded forecasts, such as those of a walk-forward.

    Parameters
    ----------
    dataset
        Name of the candles' dataset.
    interval
        Time between two bars.
    table
        ``(n_bars, >= 2)`` over open times in UTC: ``regime``, ``forecast`` (log return to the next close).
    """

    dataset: str
    interval: pd.Timedelta
    table: pd.DataFrame
    lookback: int = 0

    def columns(self) -> list[str]:
        return list(OHLCV)

    def forecast(self, candles: pd.DataFrame) -> pd.DataFrame:
        """The recorded forecasts at these bars, ``(n_bars, >= 2)``; NaN where there is none."""
        table = self.table.reindex(candles.index)
        return table.assign(forecast=table["forecast"].where(table["regime"].notna()))  # as `push`

    def stream(self) -> RecordedForecasts:
        return self

    def push(self, candle: Mapping[str, Any]) -> Forecast | None:
        """The forecast recorded at this candle's close, or None."""
        timestamp = candle["timestamp"]
        if timestamp not in self.table.index:
            return None
        regime, log_return = self.table.loc[timestamp, ["regime", "forecast"]]
        if not np.isfinite(regime) or not np.isfinite(log_return):
            return None
        return Forecast(timestamp, int(regime), float(log_return), {})
