"""A run's recorded forecasts, traded again with other settings."""

from __future__ import annotations

import pandas as pd

from data.candles import interval_of
from models.recorded import RecordedForecasts
from runners.backtesting.engine import Backtest, Source, backtest_recorded
from runners.backtesting.runs import Run
from runners.backtesting.settings import BacktestSettings


def replay(run: Run, candles: pd.DataFrame, settings: BacktestSettings, *, chosen_from: int = 0) -> Backtest:
    """Trade the forecasts that a run has recorded, with other settings; ``chosen_from`` as in `Source`."""
    interval = interval_of(pd.DatetimeIndex(candles.index))
    recorded = RecordedForecasts(run.dataset, interval, run.equity()[["regime", "forecast"]])
    source = Source(run.dataset, interval, run.training, chosen_from=chosen_from)
    return backtest_recorded(candles, recorded, settings, source, in_sample=run.in_sample)
