"""Computes the model server's forecasts."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from data.candles import check_candles
from data.errors import DataError
from data.features import columns_of
from models.expert import Expert
from models.forecaster import Forecaster, require_compatible
from models.model_set import ModelSet
from models.network import pass_length
from models.regimes import regime_name
from runners.live.server.schemas import (
    EXTRA_CANDLES,
    BatchForecast,
    CandlesForecast,
    CandlesRequest,
    ExpertResponse,
    ForecastRequest,
    ForecastResponse,
    ModelsResponse,
    WindowForecast,
    WindowRequest,
)
from runners.live.services.model_reloader import LoadedModels

_UNKNOWN = "A feature or a regime probability at the last candle is not a finite number."


def compute_forecast(loaded: LoadedModels, request: ForecastRequest) -> ForecastResponse:
    """The requested forecast; raises DataError if the values do not fit the models."""
    if isinstance(request, WindowRequest):
        return forecast_windows(loaded, [request])[0]
    if isinstance(request, CandlesRequest):
        return forecast_candles(loaded, request)
    return BatchForecast(forecasts=forecast_windows(loaded, request.batch))


def forecast_windows(loaded: LoadedModels, requests: Sequence[WindowRequest]) -> list[WindowForecast]:
    """One forecast per window; windows with the same expert and length are computed together."""
    n_requests = len(requests)
    places = [f"batch, entry {number}: features" if n_requests > 1 else "features" for number in range(n_requests)]
    experts = [loaded.forecaster.model_set.expert_for(request.regime) for request in requests]
    groups: dict[tuple[str, int], list[int]] = {}
    for number, (request, expert) in enumerate(zip(requests, experts, strict=True)):
        _require_columns(expert, request, places[number])
        groups.setdefault((expert.name, len(request.features)), []).append(number)
    members = np.empty((len(requests), loaded.forecaster.model_set.n_members))
    for numbers in groups.values():
        windows = np.array([requests[number].features for number in numbers])
        try:
            members[numbers] = window_log_returns(experts[numbers[0]], windows)
        except DataError as error:
            raise DataError(f"{places[numbers[0]]}: {error}") from None
    unknown = np.flatnonzero(np.isnan(members).any(axis=1))
    if len(unknown):
        raise DataError(f"{places[unknown[0]]}: values are far outside the training data's range.")
    return [
        WindowForecast(
            regime=request.regime,
            regime_name=regime_name(request.regime),
            expert=expert.name,
            log_return=float(each.mean()),
            members=each.tolist(),
            models=loaded.run,
        )
        for request, expert, each in zip(requests, experts, members, strict=True)
    ]


def window_log_returns(expert: Expert, windows: np.ndarray) -> np.ndarray:
    """The members' forecasts for windows of features: log returns from each window's last close to the next.

    Each window is one pass (see `models.network.Passes`), whose block begins ``expert.window - 1`` bars after its
    first bar.

    Parameters
    ----------
    windows
        ``(n_windows, n_bars, n_columns)``: contiguous bars, oldest first, unscaled, in the order of the expert's
        columns; ``n_bars`` is from ``window`` to ``window + stride - 1``.

    Returns
    -------
    numpy.ndarray
        ``(n_windows, n_members)``, NaN if a scaled value is not finite.

    Raises
    ------
    DataError
        If the number of bars does not fit the expert.
    """
    least, most, n_bars = expert.window, pass_length(expert.window, expert.stride), windows.shape[1]
    if not least <= n_bars <= most:
        raise DataError(f"expert {expert.name} reads {least} to {most} bars, not {n_bars}.")
    with np.errstate(over="ignore", invalid="ignore"):
        inputs = (windows - expert.mean) / expert.scale
        state = expert.reader.start(len(inputs))
        for bars in inputs.transpose(1, 2, 0):
            outputs = expert.reader.read(bars, state)
    finite = np.isfinite(inputs).all(axis=(1, 2))
    return np.where(finite[:, None], outputs[:, 0].T * expert.target_scale, np.nan)


def _require_columns(expert: Expert, request: WindowRequest, place: str) -> None:
    columns = columns_of(expert.features)
    for number, row in enumerate(request.features):
        if len(row) != len(columns):
            raise DataError(
                f"{place}, row {number}: {len(row)} values, but expert {expert.name} reads {len(columns)}: "
                f"{', '.join(columns)}."
            )


def forecast_candles(loaded: LoadedModels, request: CandlesRequest) -> CandlesForecast:
    candles = _checked_candles(loaded.forecaster, request)
    last = {"timestamp": candles.index[-1], **candles.iloc[-1]}
    with np.errstate(all="ignore"):  # extreme prices give non-finite features, and so no forecast
        forecast = loaded.forecaster.stream(candles.iloc[:-1]).push(last)
    return CandlesForecast(
        timestamp=candles.index[-1],
        regime=forecast and forecast.regime,
        regime_name=forecast and regime_name(forecast.regime),
        log_return=forecast and forecast.log_return,
        members=forecast and list(forecast.members),
        probabilities=forecast and {str(regime): share for regime, share in forecast.probabilities.items()},
        scale=forecast and forecast.scale,
        quantiles=forecast and forecast.quantiles(),
        intervals=forecast and forecast.intervals(),
        reason=None if forecast else _UNKNOWN,
        models=loaded.run,
    )


def _checked_candles(forecaster: Forecaster, request: CandlesRequest) -> pd.DataFrame:
    """Candles as from `data.candles.read_candles`, with the columns that the models need."""
    needed = forecaster.lookback + 1
    if len(request.candles) > needed + EXTRA_CANDLES:
        raise DataError(f"candles: {len(request.candles)} are too many. Send at most {needed + EXTRA_CANDLES}.")
    columns = forecaster.columns()
    rows = []
    for number, candle in enumerate(request.candles):
        values = {**candle.__dict__, **(candle.__pydantic_extra__ or {})}
        missing = [name for name in columns if name not in values]
        if missing:
            raise DataError(f"candles, row {number}: {', '.join(missing)} is missing, but the models read it.")
        rows.append([values[name] for name in columns])
    index = pd.DatetimeIndex([candle.timestamp for candle in request.candles], name="timestamp").as_unit("us")
    candles = pd.DataFrame(rows, columns=columns, index=index.tz_convert("UTC"))
    check_candles(candles)
    require_compatible(candles, forecaster, source="candles", least_bars=needed)
    return candles


def describe_models(loaded: LoadedModels, refused: str | None) -> ModelsResponse:
    """Answer of ``GET /models``."""
    forecaster, model_set = loaded.forecaster, loaded.forecaster.model_set
    experts: list[tuple[int | None, Expert]] = [*model_set.experts.items(), (None, model_set.all_regimes)]
    return ModelsResponse(
        dataset=model_set.dataset,
        run=loaded.run,
        interval_seconds=model_set.interval.total_seconds(),
        lookback=forecaster.lookback,
        columns=forecaster.columns(),
        experts=[_describe_expert(regime, expert, model_set) for regime, expert in experts],
        notes=model_set.notes(),
        refused=refused,
    )


def _describe_expert(regime: int | None, expert: Expert, model_set: ModelSet) -> ExpertResponse:
    return ExpertResponse(
        name=expert.name,
        label=model_set.regime_returns.label(expert.name),
        regime=regime,
        features=list(expert.features),
        columns=columns_of(expert.features),
        window=expert.window,
        stride=expert.stride,
        hidden_dim=expert.networks[0].hidden_dim,
        num_layers=expert.networks[0].num_layers,
        members=len(expert.networks),
        validation_loss=expert.training.get("relative_loss", {}).get("validation"),
    )


def window_example(forecaster: Forecaster) -> WindowRequest:
    """A valid request: bars with the training part's mean values."""
    regime = next(iter(forecaster.model_set.experts), 0)
    expert = forecaster.model_set.expert_for(regime)
    row = [float(f"{value:.4g}") for value in expert.mean]
    return WindowRequest(regime=regime, features=[row] * expert.window)
