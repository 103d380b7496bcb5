"""The one path from candles to a forecast, for training, backtest and live: in batch, and bar by bar."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
import pandas as pd
import torch

from data.candles import OHLCV, REGIME, check_candles
from data.errors import DataError
from data.features import FEATURES, columns_of, compute_features, lookback_of
from data.windows import complete_windows
from models.detectors.labels import ColumnDetector
from models.lstm import gather_windows, one_thread
from models.model_set import Expert, ModelSet
from models.regimes import hold_lookback, likeliest_regime, regime_name

RegimeSource = Literal["detector", "column"]

# Windows that one pass of the network takes: few enough to stay in the processor's cache.
_WINDOWS_AT_ONCE = 256


class Forecast(NamedTuple):
    """What is known at a bar's close: its regime and the log return expected to the next bar's close."""

    timestamp: pd.Timestamp
    regime: int
    log_return: float
    probabilities: dict[int, float]


class Forecaster:
    """Asks a model set what comes next.

    Parameters
    ----------
    model_set
        The trained experts and their detector.
    blend
        Forecast the regime-probability-weighted mean of all experts instead of the likeliest regime's.
    regime_source
        ``detector``, or ``column`` to take the candles' own ``regime`` column for the regime. That is honest only for
        a column made from the past alone.

    Attributes
    ----------
    lookback
        Bars before a bar that its forecast depends on; it depends on nothing earlier.
    """

    def __init__(self, model_set: ModelSet, *, blend: bool = False, regime_source: RegimeSource = "detector") -> None:
        self.model_set = model_set
        self.blend = blend
        self._detector = ColumnDetector(tuple(model_set.experts)) if regime_source == "column" else model_set.detector
        self._experts = [*model_set.experts.values(), model_set.all_regimes]
        named = [name for expert in self._experts for name in expert.features]
        self._features = sorted({*self._detector.features, *named})
        regime_lookback = lookback_of(self._detector.features) + self._detector.memory - 1
        regime_lookback += hold_lookback(model_set.min_confidence, model_set.min_dwell)
        self.lookback = max(
            regime_lookback, *(lookback_of(expert.features) + expert.window - 1 for expert in self._experts)
        )

    @property
    def dataset(self) -> str:
        return self.model_set.dataset

    @property
    def interval(self) -> pd.Timedelta:
        return self.model_set.interval

    def columns(self) -> list[str]:
        """Columns that candles must have: OHLCV and what features, or the regime source, take as it stands."""
        return [*OHLCV, *(name for name in self._features if name not in FEATURES and name not in OHLCV)]

    def forecast(self, candles: pd.DataFrame) -> pd.DataFrame:
        """Forecasts of every bar, each from the bars up to it.

        Parameters
        ----------
        candles
            ``(n_bars, >= 5)`` as `data.candles.read_candles` gives it.

        Returns
        -------
        pandas.DataFrame
            A row a bar: ``regime``, ``forecast`` (log return to the next close), ``p_<regime>`` per regime; NaN for
            the first `lookback` bars, and where a feature is not known.

        Raises
        ------
        DataError
            If a column that the model set needs is missing.
        """
        features = compute_features(candles, self._features)
        probabilities = self._detector.filter(features[columns_of(self._detector.features)].to_numpy())
        regimes = likeliest_regime(
            probabilities, self._detector.regimes, self.model_set.min_confidence, self.model_set.min_dwell
        )
        known = np.arange(len(candles)) >= self.lookback
        forecast = np.full(len(candles), np.nan)
        if self.blend:
            shares = np.where(known[:, None], probabilities, np.nan)
            total = np.zeros(len(candles))
            for column, regime in enumerate(self._detector.regimes):
                bars = np.flatnonzero(np.isfinite(shares[:, column]))
                log_return = _expert_forecast(self._expert_of(regime), features, bars)
                total += shares[:, column] * log_return
            forecast = total
        else:
            for regime in np.unique(regimes[known & np.isfinite(regimes)]):
                bars = np.flatnonzero(known & (regimes == regime))
                forecast[bars] = _expert_forecast(self._expert_of(int(regime)), features, bars)[bars]
        table = {"regime": np.where(known, regimes, np.nan), "forecast": forecast}
        for column, regime in enumerate(self._detector.regimes):
            table[f"p_{regime_name(regime)}"] = np.where(known, probabilities[:, column], np.nan)
        return pd.DataFrame(table, index=candles.index)

    def stream(self, history: pd.DataFrame | None = None) -> ForecastStream:
        """Forecasts one bar at a time, beginning after ``history`` (candles, may be shorter than the lookback)."""
        return ForecastStream(self, history)

    def _expert_of(self, regime: int) -> Expert:
        return self.model_set.experts.get(regime, self.model_set.all_regimes)


class ForecastStream:
    """A forecaster's state between bars: the last ``lookback + 1`` candles, which is all that a forecast depends on."""

    def __init__(self, forecaster: Forecaster, history: pd.DataFrame | None = None) -> None:
        self._forecaster = forecaster
        self._columns = forecaster.columns()
        self._timestamps: list[pd.Timestamp] = []
        self._rows: list[list[float]] = []
        if history is not None:
            _require_columns(history.columns, self._columns)
            tail = history[self._columns].iloc[-(forecaster.lookback + 1) :]
            self._timestamps, self._rows = list(tail.index), tail.to_numpy(dtype=float).tolist()

    def push(self, candle: Mapping[str, Any]) -> Forecast | None:
        """One more closed candle, ``timestamp`` (UTC) and the columns of the candles; None while too few are known.

        Raises
        ------
        DataError
            If the candle is malformed or does not come after the one before; the state stays as it was.
        """
        _require_columns(list(candle), ["timestamp", *self._columns])
        timestamp = pd.Timestamp(candle["timestamp"])
        timestamp = timestamp.tz_localize("UTC") if timestamp.tz is None else timestamp.tz_convert("UTC")
        row = [float(candle[name]) for name in self._columns]
        if self._timestamps and timestamp <= self._timestamps[-1]:
            raise DataError(
                f"candle {timestamp}: comes after {self._timestamps[-1]}; push candles in order, each once."
            )
        one = pd.DataFrame([row], columns=self._columns, index=pd.DatetimeIndex([timestamp], name="timestamp"))
        check_candles(one.drop(columns=REGIME, errors="ignore"), source="candle")
        keep = self._forecaster.lookback + 1
        self._timestamps = [*self._timestamps[-keep + 1 :], timestamp]
        self._rows = [*self._rows[-keep + 1 :], row]
        if len(self._rows) < keep:
            return None
        index = pd.DatetimeIndex(self._timestamps, name="timestamp")
        tail = pd.DataFrame(np.array(self._rows), columns=self._columns, index=index)
        last = self._forecaster.forecast(tail).iloc[-1]
        if not np.isfinite(last["regime"]) or not np.isfinite(last["forecast"]):
            return None
        probabilities = {
            regime: float(last[f"p_{regime_name(regime)}"]) for regime in self._forecaster._detector.regimes
        }
        return Forecast(timestamp, int(last["regime"]), float(last["forecast"]), probabilities)


def _require_columns(found: Sequence[str] | pd.Index, needed: Sequence[str]) -> None:
    missing = [name for name in needed if name not in found]
    if missing:
        raise DataError(f"the model set needs column {', '.join(missing)}, which the candles do not have.")


def _expert_forecast(expert: Expert, features: pd.DataFrame, bars: np.ndarray) -> np.ndarray:
    """The expert's log return at ``bars``; NaN elsewhere and where its window is not complete: ``(n_bars,)``."""
    inputs = features[columns_of(expert.features)].to_numpy()
    bars = bars[complete_windows(inputs, expert.window)[bars]]
    log_return = np.full(len(inputs), np.nan)
    scaled = torch.from_numpy((inputs - expert.mean) / expert.scale)
    with one_thread(), torch.inference_mode():
        for chunk in np.split(bars, range(_WINDOWS_AT_ONCE, len(bars), _WINDOWS_AT_ONCE)):
            if len(chunk):
                batch = gather_windows(scaled, torch.from_numpy(chunk), expert.window)
                log_return[chunk] = expert.network(batch).numpy() * expert.target_scale
    return log_return
