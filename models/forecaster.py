"""The one path from candles to a forecast, for training, backtest and live: in batch, and bar by bar."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np
import pandas as pd
import torch

from data.candles import OHLCV, REGIME, check_candles, plausible
from data.errors import DataError
from data.features import FEATURES, columns_of, feature_columns, lookback_of
from models.detectors.labels import ColumnDetector
from models.lstm import State, one_thread
from models.model_set import Expert, ModelSet
from models.passes import Passes, pass_length, time_slots
from models.regimes import RegimeDetector, hold_lookback, likeliest_regime, regime_name

RegimeSource = Literal["detector", "column"]


class Forecast(NamedTuple):
    """What is known at a bar's close: its regime and the log return expected to the next bar's close."""

    timestamp: pd.Timestamp
    regime: int
    log_return: float
    probabilities: dict[int, float]


class Reader(Protocol):
    """What a network reads: named features, in passes of a window and a stride (see `Passes`)."""

    @property
    def features(self) -> tuple[str, ...]: ...
    @property
    def window(self) -> int: ...
    @property
    def stride(self) -> int: ...


def forecast_lookback(detector: RegimeDetector | ColumnDetector, held: int, networks: Iterable[Reader]) -> int:
    """Bars before a bar that its regime, held for up to ``held`` bars, and the networks' forecasts depend on."""
    return max(
        lookback_of(detector.features) + detector.memory - 1 + held,
        *(lookback_of(network.features) + pass_length(network.window, network.stride) - 1 for network in networks),
    )


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
        held = hold_lookback(model_set.min_confidence, model_set.min_dwell)
        self.lookback = forecast_lookback(self._detector, held, self._experts)

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
        seen = self._see(candles)
        known = np.arange(len(candles)) >= self.lookback
        regimes = self._detector.regimes
        answering = np.isfinite(seen.probabilities) if self.blend else seen.regimes[:, None] == np.array(regimes)
        asked = [np.flatnonzero(known & answering[:, column]) for column in range(len(regimes))]
        with one_thread(), ThreadPoolExecutor() as pool:  # torch computes without Python's lock
            log_returns = list(pool.map(partial(_forecast_at, seen), map(self.expert_of, regimes), asked))
        if self.blend:
            forecast = (seen.probabilities * np.column_stack(log_returns)).sum(axis=1)
        else:
            forecast = np.full(len(candles), np.nan)
            for bars, log_return in zip(asked, log_returns, strict=True):
                forecast[bars] = log_return[bars]
        table = {"regime": np.where(known, seen.regimes, np.nan), "forecast": forecast}
        for column, regime in enumerate(regimes):
            table[f"p_{regime_name(regime)}"] = np.where(known, seen.probabilities[:, column], np.nan)
        return pd.DataFrame(table, index=candles.index)

    def stream(self, history: pd.DataFrame | None = None) -> ForecastStream:
        """Forecasts one bar at a time, beginning after ``history`` (candles, may be shorter than the lookback)."""
        return ForecastStream(self, history)

    def forecast_windows(self, regime: int, windows: np.ndarray) -> np.ndarray:
        """Log returns to the close after the last bar of each window, by the regime's expert, which reads all of them.

        That is one pass a window (see `Passes`), whose block begins ``expert.window - 1`` bars after its first.

        Parameters
        ----------
        windows
            ``(n_windows, n_bars, n_columns)`` of contiguous bars, oldest first, not scaled: the expert's columns, and
            from its ``window`` to ``window + stride - 1`` bars.

        Returns
        -------
        numpy.ndarray
            ``(n_windows,)``, NaN where values are not finite, or beyond all that the expert was made for.

        Raises
        ------
        DataError
            If the expert reads another number of bars or columns.
        """
        expert = self.expert_of(regime)
        least, most, columns = expert.window, pass_length(expert.window, expert.stride), columns_of(expert.features)
        _, n_bars, n_columns = windows.shape
        if n_columns != len(columns):
            raise DataError(f"expert {expert.name} reads {len(columns)} values of each bar: {', '.join(columns)}.")
        if not least <= n_bars <= most:
            raise DataError(f"expert {expert.name} reads {least} to {most} bars, but {n_bars} were given.")
        with np.errstate(over="ignore", invalid="ignore"), one_thread(), torch.inference_mode():
            inputs = (windows - expert.mean) / expert.scale
            output, _ = expert.network(torch.from_numpy(inputs))
        log_returns = output[:, -1].numpy() * expert.target_scale
        return np.where(np.isfinite(inputs).all(axis=(1, 2)), log_returns, np.nan)

    def expert_of(self, regime: int) -> Expert:
        """Who forecasts in a regime: the network of all regimes where it has no expert of its own."""
        return self.model_set.experts.get(regime, self.model_set.all_regimes)

    def _see(self, candles: pd.DataFrame) -> _Seen:
        """What all experts' forecasts of these bars begin with."""
        columns = feature_columns(candles, self._features)
        probabilities = self._detector.filter(_stacked(columns, self._detector.features))
        regimes = likeliest_regime(
            probabilities, self._detector.regimes, self.model_set.min_confidence, self.model_set.min_dwell
        )
        return _Seen(columns, time_slots(pd.DatetimeIndex(candles.index), self.interval), probabilities, regimes)


class _Seen(NamedTuple):
    """Of some bars, in order: feature columns by name, places in time, regime probabilities, regimes to act on."""

    columns: dict[str, np.ndarray]
    slots: np.ndarray
    probabilities: np.ndarray
    regimes: np.ndarray

    def inputs(self, expert: Expert) -> np.ndarray:
        """What the expert reads: ``(n_bars, n_columns)``, scaled."""
        return (_stacked(self.columns, expert.features) - expert.mean) / expert.scale

    def passes(self, expert: Expert) -> Passes:
        return Passes.over(self.slots, expert.window, expert.stride)


def _stacked(columns: Mapping[str, np.ndarray], features: Sequence[str]) -> np.ndarray:
    return np.column_stack([columns[name] for name in columns_of(features)])


def _forecast_at(seen: _Seen, expert: Expert, bars: np.ndarray) -> np.ndarray:
    """The expert's log return at ``bars``; NaN elsewhere and where its passes are not complete: ``(n_bars,)``."""
    inputs, passes = seen.inputs(expert), seen.passes(expert)
    bars = bars[passes.complete(inputs)[bars]]
    log_return = np.full(len(inputs), np.nan)
    for some, output in passes.outputs(expert.network, passes.readable(inputs), bars):
        log_return[some] = output.numpy() * expert.target_scale
    return log_return


class ForecastStream:
    """A forecaster's state between bars.

    That is the last ``lookback + 1`` candles, which is all that a forecast depends on, and how far each expert has
    read the present block (see `Passes`), so that it reads a further bar and not the whole pass again.
    """

    def __init__(self, forecaster: Forecaster, history: pd.DataFrame | None = None) -> None:
        self._forecaster = forecaster
        self._columns = pd.Index(forecaster.columns())
        self._times = np.empty(0, dtype="M8[us]")
        self._rows = np.empty((0, len(self._columns)))
        self._read: dict[str, _Read] = {}
        if history is not None:
            _require_columns(history.columns, self._columns)
            tail = history[self._columns].iloc[-(forecaster.lookback + 1) :]
            self._times = pd.DatetimeIndex(tail.index).as_unit("us").tz_localize(None).to_numpy()
            self._rows = tail.to_numpy(dtype=float)

    def push(self, candle: Mapping[str, Any]) -> Forecast | None:
        """One more closed candle, ``timestamp`` (UTC) and the columns of the candles; None while too few are known.

        Raises
        ------
        DataError
            If the candle is malformed or does not come after the one before; the state stays as it was.
        """
        timestamp = self._append(candle)
        forecaster = self._forecaster
        if len(self._rows) <= forecaster.lookback:
            return None
        index = pd.DatetimeIndex(self._times, tz="UTC", name="timestamp")
        seen = forecaster._see(pd.DataFrame(self._rows, columns=self._columns, index=index))
        if not np.isfinite(seen.regimes[-1]):
            return None
        regime = int(seen.regimes[-1])
        probabilities = dict(zip(forecaster._detector.regimes, seen.probabilities[-1].tolist(), strict=True))
        shares = probabilities if forecaster.blend else {regime: 1.0}
        log_return = sum(share * self._ask(forecaster.expert_of(of), seen) for of, share in shares.items())
        return Forecast(timestamp, regime, log_return, probabilities) if np.isfinite(log_return) else None

    def _append(self, candle: Mapping[str, Any]) -> pd.Timestamp:
        """Check the candle, put it at the end of the tail, and give its time."""
        _require_columns(list(candle), ["timestamp", *self._columns])
        timestamp = pd.Timestamp(candle["timestamp"])
        timestamp = timestamp.tz_localize("UTC") if timestamp.tz is None else timestamp.tz_convert("UTC")
        time = timestamp.as_unit("us").tz_localize(None).to_datetime64()
        if len(self._times) and time <= self._times[-1]:
            before = pd.Timestamp(self._times[-1], tz="UTC")
            raise DataError(f"candle {timestamp}: comes after {before}; push candles in order, each once.")
        row = np.array([candle[name] for name in self._columns], dtype=float)
        if not plausible(*row[: len(OHLCV)]):
            one = pd.DataFrame([row], columns=self._columns, index=pd.DatetimeIndex([timestamp], name="timestamp"))
            check_candles(one.drop(columns=REGIME, errors="ignore"), source="candle")
        keep = self._forecaster.lookback + 1
        self._times = np.append(self._times[-keep + 1 :], time)
        self._rows = np.vstack([self._rows[-keep + 1 :], row])
        return timestamp

    def _ask(self, expert: Expert, seen: _Seen) -> float:
        """The expert's log return after the last bar; NaN where its pass is not complete."""
        inputs, passes = seen.inputs(expert), seen.passes(expert)
        if not np.isfinite(inputs[-passes.length :]).all():
            return np.nan
        start = int(passes.block_start[-1])
        block, begin, state = self._times[start], start - passes.window + 1, None
        read = self._read.get(expert.name)
        if read is not None and read.block == block:
            begin, state = int(np.searchsorted(self._times, read.last)) + 1, read.state
        with one_thread(), torch.inference_mode():
            output, state = expert.network(torch.from_numpy(inputs[None, begin:]), state)
        self._read[expert.name] = _Read(block, self._times[-1], state)
        return float(output[0, -1]) * expert.target_scale


class _Read(NamedTuple):
    """How far an expert has read: the block's first bar, the last bar read, and what it remembers."""

    block: np.datetime64
    last: np.datetime64
    state: State


def _require_columns(found: Sequence[str] | pd.Index, needed: Sequence[str] | pd.Index) -> None:
    missing = [name for name in needed if name not in found]
    if missing:
        raise DataError(f"the model set needs column {', '.join(missing)}, which the candles do not have.")
