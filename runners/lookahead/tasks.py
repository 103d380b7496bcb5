"""What the checks compute in new processes: whole series, single bars from their lookback, and fitted parameters."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from data.errors import DataError
from data.intervals import interval_of
from data.windows import targets
from models.expert import Expert
from models.forecaster import Forecaster
from models.model_set import ModelSet
from runners.lookahead.series import DetectorSeries, Series, name_failure, regime_probabilities
from training.prepare import NetworkData, Prepared, prepare
from training.scores import Score, score
from training.settings import TrainSettings

_DENSITY = -1  # in place of a regime


class Pace(NamedTuple):
    """How many bars to recompute: at least ``least``, then more until ``seconds`` have passed; None: all."""

    least: int | None
    seconds: float

    def ends(self, done: int, began: float) -> bool:
        return self.least is not None and done >= self.least and time.monotonic() - began > self.seconds


def pieces(
    series: Sequence[Series], candles: pd.DataFrame, plan: Sequence[np.ndarray], pace: Pace
) -> list[np.ndarray | DataError]:
    """Each series at the bars of its ``plan``, each from its lookback alone: ``(n_done, n_columns)``, or its error."""
    values: list[np.ndarray | DataError] = []
    for one, bars in zip(series, plan, strict=True):
        began, done_rows = time.monotonic(), []
        try:
            for done, bar in enumerate(bars):
                if pace.ends(done, began):
                    break
                piece = candles.iloc[bar - one.lookback : bar + 1]
                with name_failure(one.name, piece):
                    done_rows.append(one.at_end(piece.copy()))  # a copy, which shares no memory with later bars
            values.append(np.array(done_rows))
        except DataError as error:
            values.append(error)
    return values


def rows(series: Series, candles: pd.DataFrame, bars: Sequence[int]) -> np.ndarray:
    """The values ``(n_rows, n_columns)`` at some bars, computed with those of all bars."""
    return _compute(series, candles).to_numpy(dtype=float)[bars]


def _compute(series: Series, candles: pd.DataFrame) -> pd.DataFrame:
    """The series in a copy of the candles; an error of user code is a `DataError` that names it."""
    with name_failure(series.name, candles):
        return series.compute(candles.copy())


class Whole(NamedTuple):
    """A series over all bars.

    Attributes
    ----------
    values, again
        ``(n_bars, n_columns)`` of the first and of a second call.
    changed
        The column of the candles that it changes; None if it changes none.
    """

    values: pd.DataFrame
    again: np.ndarray
    changed: str | None


def whole(series: Sequence[Series], candles: pd.DataFrame, *, twice: bool) -> list[Whole | DataError]:
    """Each series over all candles, or its error; ``twice`` if it may be the user's."""
    results: list[Whole | DataError] = []
    for one in series:
        given = candles.copy()
        try:
            with name_failure(one.name, candles):
                values = one.compute(given)
            again = _compute(one, candles) if twice else values
            results.append(Whole(values, again.to_numpy(dtype=float), _changed(candles, given)))
        except DataError as error:
            results.append(error)
    return results


def _changed(before: pd.DataFrame, after: pd.DataFrame) -> str | None:
    if not before.index.equals(after.index):
        return "timestamp"
    names = before.columns.union(after.columns, sort=False)
    return next((str(name) for name in names if name not in after or not _same(before, after, name)), None)


def _same(before: pd.DataFrame, after: pd.DataFrame, name: Any) -> bool:
    return name in before and before[name].equals(after[name])


def columns_read(series: Sequence[Series], candles: pd.DataFrame, columns: Sequence[str]) -> list[list[str]]:
    """Of these columns of the candles, those that change each series if their values change places."""
    base = [_compute(one, candles).to_numpy() for one in series]
    read: list[list[str]] = [[] for _ in series]
    for column in columns:
        other = candles.assign(**{column: np.random.default_rng(0).permutation(candles[column].to_numpy())})
        for one, values, names in zip(series, base, read, strict=True):
            try:
                same = np.array_equal(values, one.compute(other.copy()).to_numpy(), equal_nan=True)
            except Exception:  # it read the column, and refused what it read
                same = False
            if not same:
                names.append(column)
    return read


def forecast_score(model_set: ModelSet, candles: pd.DataFrame) -> Score | None:
    """The score of a model set's forecasts on unseen bars; None without any."""
    forecast = Forecaster(model_set).forecast(candles)["forecast"].to_numpy()
    outcome = targets(candles["close"].to_numpy(dtype=float))
    known = np.isfinite(forecast) & np.isfinite(outcome) & (candles.index > model_set.validation_end)
    return score(forecast[known], outcome[known], 0.0) if known.any() else None


class Fitted(NamedTuple):
    """What a training fits before its networks.

    Attributes
    ----------
    parameters
        `fitted_parameters` of each network.
    detector
        The detector as a model set would store it.
    probabilities
        Of the detector as it was fitted.
    """

    parameters: dict[int | None, dict[str, Any]]
    detector: DetectorSeries
    probabilities: pd.DataFrame


def fit(name: str, candles: pd.DataFrame, settings: TrainSettings) -> Fitted:
    """Fit detector and scalers of a training; an error of user code names the detector."""
    with name_failure(f"training with detector {settings.detector}", candles):
        prepared = prepare(candles.copy(), name, settings)
        detector = DetectorSeries.of(prepared.detector, interval_of(pd.DatetimeIndex(candles.index)))
        return Fitted(fitted_parameters(prepared), detector, regime_probabilities(prepared.detector, candles.copy()))


def fitted_parameters(fitted: Prepared | ModelSet) -> dict[int | None, dict[str, Any]]:
    """Fitted parameters by network: its scaler, and the detector that all share; without experts that fell back."""
    networks: Mapping[int | None, NetworkData | Expert]
    if isinstance(fitted, Prepared):
        networks = fitted.networks
    else:
        experts = [(None, fitted.all_regimes), *fitted.experts.items()]
        networks = {regime: expert for regime, expert in experts if not expert.training["fallback"]}
    kind = "classifier" if fitted.detector.name == "labels" else f"detector {fitted.detector.name}"
    numbers = {key: value for key, value in fitted.detector.parameters().items() if key != "features"}
    shared = {f"{kind} {key}".replace("_", " "): value for key, value in numbers.items()}
    parameters = {
        regime: {"scaler": [network.mean, network.scale], "target scale": network.target_scale, **shared}
        for regime, network in networks.items()
    }
    if fitted.density is not None:
        parameters[_DENSITY] = {"scaler of the density": [fitted.density.mean, fitted.density.scale]}
    return parameters
