"""Recorded forecasts with the interface of a forecaster."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from data.candles import OHLCV
from data.intervals import bars_per_year
from models.expert import member_names
from models.forecaster import Forecast, densities, forecasts_by_bar, member_forecasts


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
        ``(n_bars, >= 2)`` over open times in UTC: ``regime``, and each member's forecast log return to the next close,
        ``member_1`` to ``member_n``.
    """

    dataset: str
    interval: pd.Timedelta
    table: pd.DataFrame
    lookback: int = 0

    @cached_property
    def has_density(self) -> bool:
        return densities(self.table) is not None

    @property
    def bars_per_year(self) -> float:
        return bars_per_year(pd.DatetimeIndex(self.table.index))

    def columns(self) -> list[str]:
        return list(OHLCV)

    def forecast(self, candles: pd.DataFrame) -> pd.DataFrame:
        """The recorded forecasts at these bars, as from `Forecaster.forecast`; NaN where there is none."""
        table = self.table.reindex(candles.index)
        members = np.where(table["regime"].notna().to_numpy()[:, None], member_forecasts(table), np.nan)  # as `push`
        return table.assign(
            forecast=members.mean(axis=1), **dict(zip(member_names(members.shape[1]), members.T, strict=True))
        )

    def stream(self) -> RecordedForecasts:
        return self

    def push(self, candle: Mapping[str, Any]) -> Forecast | None:
        """The forecast recorded at this candle's close, or None."""
        bar = int(self.table.index.get_indexer(pd.DatetimeIndex([candle["timestamp"]]))[0])  # -1 without one
        return self._at_bar(bar)[1] if bar >= 0 else None

    @cached_property
    def _at_bar(self) -> Callable[[int], tuple[float, Forecast | None]]:
        return forecasts_by_bar(self.table)
