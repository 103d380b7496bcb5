"""The values per bar that the checks recompute: features, regime probabilities and forecasts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol, Self

import numpy as np
import pandas as pd

from data.errors import DataError, RegimesError
from data.features import columns_of, compute_features, lookback_of
from models.forecaster import LEVELS, Forecaster
from models.model_set import ModelSet
from models.regimes import RegimeDetector, find_detector, regime_name


class Series(Protocol):
    """Values per bar: how to compute them from candles, and the number of earlier bars that they may depend on."""

    @property
    def name(self) -> str: ...
    @property
    def lookback(self) -> int: ...
    def compute(self, candles: pd.DataFrame) -> pd.DataFrame: ...
    def at_end(self, candles: pd.DataFrame) -> np.ndarray: ...


@dataclass(frozen=True)
class FeatureSeries:
    """A registered feature."""

    feature: str
    lookback: int

    @classmethod
    def of(cls, feature: str, interval: pd.Timedelta) -> Self:
        return cls(feature, lookback_of([feature], interval))

    @property
    def name(self) -> str:
        return f"feature {self.feature}"

    def compute(self, candles: pd.DataFrame) -> pd.DataFrame:
        return compute_features(candles, [self.feature])

    def at_end(self, candles: pd.DataFrame) -> np.ndarray:
        return _last(self.compute(candles))


@dataclass(frozen=True)
class DetectorSeries:
    """The regime probabilities of a detector with these fitted parameters, as a model set stores them."""

    detector: str
    parameters: Mapping[str, Any]
    lookback: int

    @classmethod
    def of(cls, detector: RegimeDetector, interval: pd.Timedelta) -> Self:
        lookback = lookback_of(detector.features, interval) + detector.memory - 1
        return cls(detector.name, detector.parameters(), lookback)

    @property
    def name(self) -> str:
        return f"detector {self.detector}"

    @cached_property
    def _restored(self) -> RegimeDetector:
        return find_detector(self.detector).from_parameters(self.parameters)

    def compute(self, candles: pd.DataFrame) -> pd.DataFrame:
        return regime_probabilities(self._restored, candles)

    def at_end(self, candles: pd.DataFrame) -> np.ndarray:
        return _last(self.compute(candles))


@dataclass(frozen=True)
class ForecastSeries:
    """The forecasts of a model set; not the levels of their intervals, which follow from these and a longer history."""

    model_set: ModelSet
    lookback: int
    name: str = "forecast"

    @classmethod
    def of(cls, model_set: ModelSet) -> Self:
        return cls(model_set, Forecaster(model_set).lookback)

    @cached_property
    def _forecaster(self) -> Forecaster:
        return Forecaster(self.model_set)

    def compute(self, candles: pd.DataFrame) -> pd.DataFrame:
        return self._forecaster.forecast(candles).drop(columns=LEVELS, errors="ignore")

    def at_end(self, candles: pd.DataFrame) -> np.ndarray:
        """By a stream, which takes a tenth of the time on a few bars, and which live trading uses."""
        candle = {"timestamp": candles.index[-1], **candles.iloc[-1]}
        forecast = self._forecaster.stream(candles.iloc[:-1]).push(candle)
        if forecast is None:
            return _last(self.compute(candles))
        values = [forecast.regime, forecast.log_return, *forecast.probabilities.values(), *forecast.members]
        density = forecast.density
        return np.concatenate([values, *([density.location, density.scale, density.df] if density else [])])


def _last(values: pd.DataFrame) -> np.ndarray:
    return values.to_numpy(dtype=float)[-1]


def regime_probabilities(detector: RegimeDetector, candles: pd.DataFrame) -> pd.DataFrame:
    """``(n_bars, n_regimes)``, by the names of the regimes."""
    names = [regime_name(regime) for regime in detector.regimes]
    features = compute_features(candles, detector.features)[columns_of(detector.features)].to_numpy()
    return pd.DataFrame(detector.filter(features), columns=names, index=candles.index)


@contextmanager
def name_failure(name: str, candles: pd.DataFrame) -> Iterator[None]:
    """Raise an error of user code as a `DataError` that names the code and the candles."""
    try:
        yield
    except RegimesError:
        raise
    except Exception as error:
        raise DataError(
            f"{name} fails on {len(candles)} bars ending {candles.index[-1]}: {type(error).__name__}: {error}"
        ) from error
