"""Returns of a strategy before costs."""

from __future__ import annotations

from typing import Any

import backtrader as bt
import numpy as np
import pandas as pd

from models.forecaster import Forecaster
from models.model_set import ModelSet
from models.recorded import RecordedForecasts
from models.settings import ForecastSettings
from runners.backtesting.engine import run_strategy
from runners.backtesting.metrics import equity_returns
from runners.backtesting.settings import BacktestSettings
from strategies import LSTMRegimeStrategy

_FREE = BacktestSettings(commission=0, slippage=0)


def unseen_returns(model_set: ModelSet, candles: pd.DataFrame, **own: Any) -> np.ndarray:
    """Simple returns ``(n_bars,)`` of `LSTMRegimeStrategy` with parameters ``own`` on the bars after validation."""
    first = candles.index[candles.index > model_set.validation_end][0]
    forecasting = {name: own[name] for name in ForecastSettings.model_fields if name in own}
    forecaster = Forecaster(model_set, ForecastSettings(**forecasting))
    table = forecaster.forecast(candles)
    recorded = RecordedForecasts(model_set.dataset, model_set.interval, table, forecaster.lookback)
    own |= {"models": recorded, "trade_from": first.tz_convert(None).to_pydatetime()}
    return strategy_returns(candles, LSTMRegimeStrategy, own)


def strategy_returns(candles: pd.DataFrame, strategy: type[bt.Strategy], settings: dict[str, Any]) -> np.ndarray:
    """Simple returns ``(n_bars,)`` of a strategy with these parameters."""
    recorder = run_strategy(candles, _FREE, strategy, settings)
    return equity_returns(recorder.equity()["equity"], _FREE.cash).to_numpy()
