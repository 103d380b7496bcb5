"""What a forecaster answers to what the server is asked."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from data.candles import check_candles, interval_of, interval_text
from data.errors import DataError
from data.features import columns_of
from models.forecaster import Forecaster
from models.model_set import Expert
from models.regimes import regime_name
from runners.live.server.schemas import (
    EXTRA_CANDLES,
    Ask,
    BatchForecast,
    CandlesAsk,
    CandlesForecast,
    ExpertAnswer,
    ModelsAnswer,
    WindowAsk,
    WindowForecast,
)
from runners.live.services.model_reloader import Loaded

_UNKNOWN = "A feature or a regime probability at the last candle is not a finite number."


def answer(loaded: Loaded, ask: Ask) -> WindowForecast | CandlesForecast | BatchForecast:
    """The forecast asked for.

    Raises
    ------
    DataError
        If the models cannot read what was given; it says what they need.
    """
    if isinstance(ask, WindowAsk):
        return answer_windows(loaded, [ask])[0]
    if isinstance(ask, CandlesAsk):
        return answer_candles(loaded, ask)
    return BatchForecast(forecasts=answer_windows(loaded, ask.batch))


def answer_windows(loaded: Loaded, asked: Sequence[WindowAsk]) -> list[WindowForecast]:
    """One forecast for each window, in their order; those of one expert and length are computed at once."""
    forecaster = loaded.forecaster
    place = [f"batch, entry {number}: features" if len(asked) > 1 else "features" for number in range(len(asked))]
    experts = [forecaster.expert_of(ask.regime) for ask in asked]
    alike: dict[tuple[str, int], list[int]] = {}
    for number, (ask, expert) in enumerate(zip(asked, experts, strict=True)):
        _require_columns(expert, ask, place[number])
        alike.setdefault((expert.name, len(ask.features)), []).append(number)
    log_returns = np.empty(len(asked))
    for numbers in alike.values():
        windows = np.array([asked[number].features for number in numbers])
        try:
            log_returns[numbers] = forecaster.forecast_windows(asked[numbers[0]].regime, windows)
        except DataError as error:
            raise DataError(f"{place[numbers[0]]}: {error}") from None
    unknown = np.flatnonzero(np.isnan(log_returns))
    if len(unknown):
        raise DataError(f"{place[unknown[0]]}: values are beyond all that the expert was made for.")
    return [
        WindowForecast(
            regime=ask.regime,
            regime_name=regime_name(ask.regime),
            expert=expert.name,
            log_return=log_return,
            models=loaded.run,
        )
        for ask, expert, log_return in zip(asked, experts, log_returns.tolist(), strict=True)
    ]


def _require_columns(expert: Expert, ask: WindowAsk, place: str) -> None:
    columns = columns_of(expert.features)
    for number, row in enumerate(ask.features):
        if len(row) != len(columns):
            raise DataError(
                f"{place}, row {number}: has {len(row)} values; expert {expert.name} reads {len(columns)}: "
                f"{', '.join(columns)}."
            )


def answer_candles(loaded: Loaded, ask: CandlesAsk) -> CandlesForecast:
    candles = _checked(loaded.forecaster, ask)
    last = {"timestamp": candles.index[-1], **candles.iloc[-1]}
    with np.errstate(all="ignore"):  # prices beyond all measure make features that are not finite: no forecast
        forecast = loaded.forecaster.stream(candles.iloc[:-1]).push(last)
    return CandlesForecast(
        timestamp=candles.index[-1],
        regime=forecast and forecast.regime,
        regime_name=forecast and regime_name(forecast.regime),
        log_return=forecast and forecast.log_return,
        probabilities=forecast and {str(regime): share for regime, share in forecast.probabilities.items()},
        reason=None if forecast else _UNKNOWN,
        models=loaded.run,
    )


def _checked(forecaster: Forecaster, ask: CandlesAsk) -> pd.DataFrame:
    """The candles as `data.candles.read_candles` gives them, with the columns that the models need."""
    least = forecaster.lookback + 1
    if not least <= len(ask.candles) <= least + EXTRA_CANDLES:
        raise DataError(f"candles: {len(ask.candles)} were given; {least} to {least + EXTRA_CANDLES} are needed.")
    columns = forecaster.columns()
    rows = []
    for number, candle in enumerate(ask.candles):
        values = {**candle.__dict__, **(candle.__pydantic_extra__ or {})}
        missing = [name for name in columns if name not in values]
        if missing:
            raise DataError(f"candles, row {number}: {', '.join(missing)} is missing; the models read it.")
        rows.append([values[name] for name in columns])
    index = pd.DatetimeIndex([candle.timestamp for candle in ask.candles], name="timestamp").as_unit("us")
    candles = pd.DataFrame(rows, columns=columns, index=index.tz_convert("UTC"))
    check_candles(candles)
    interval = interval_of(index) if len(index) > 1 else forecaster.interval
    if abs(interval - forecaster.interval) > 0.01 * forecaster.interval:
        raise DataError(
            f"candles: are {interval_text(interval)} apart, but the models of {forecaster.dataset} were trained on "
            f"bars {interval_text(forecaster.interval)} apart."
        )
    return candles


def models_answer(loaded: Loaded, refused: str | None) -> ModelsAnswer:
    """What the models are and what they read."""
    forecaster, model_set = loaded.forecaster, loaded.forecaster.model_set
    experts: list[tuple[int | None, Expert]] = [*model_set.experts.items(), (None, model_set.all_regimes)]
    return ModelsAnswer(
        dataset=model_set.dataset,
        run=loaded.run,
        interval_seconds=model_set.interval.total_seconds(),
        lookback=forecaster.lookback,
        columns=forecaster.columns(),
        experts=[_expert_answer(regime, expert) for regime, expert in experts],
        refused=refused,
    )


def _expert_answer(regime: int | None, expert: Expert) -> ExpertAnswer:
    return ExpertAnswer(
        name=expert.name,
        regime=regime,
        features=list(expert.features),
        columns=columns_of(expert.features),
        window=expert.window,
        stride=expert.stride,
        hidden_dim=expert.hyperparameters["hidden_dim"],
        num_layers=expert.hyperparameters["num_layers"],
        validation_loss=expert.training.get("relative_loss", {}).get("validation"),
    )


def window_example(forecaster: Forecaster) -> WindowAsk:
    """Something to ask that these models can answer: bars of the mean values in training."""
    regime = next(iter(forecaster.model_set.experts), 0)
    expert = forecaster.expert_of(regime)
    row = [float(f"{value:.4g}") for value in expert.mean]
    return WindowAsk(regime=regime, features=[row] * expert.window)
