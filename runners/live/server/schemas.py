"""Schemas of the model server's requests and responses."""

from __future__ import annotations

import datetime as dt
from typing import Annotated, Any

from pydantic import AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Discriminator, FailFast, Field, Tag
from pydantic_core import PydanticCustomError

BATCH, EXTRA_CANDLES = 64, 2000
_MOST_BARS, _MOST_COLUMNS = 2000, 500

Number = Annotated[float, Field(allow_inf_nan=False)]
Price = Annotated[float, Field(gt=0, allow_inf_nan=False)]


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    raise PydanticCustomError("datetime_type", "Input should be a valid datetime")


Time = Annotated[  # not strict, because FastAPI's JSON parser leaves it a text
    AwareDatetime,
    Field(strict=False, ge=dt.datetime(1900, 1, 1, tzinfo=dt.UTC), lt=dt.datetime(2200, 1, 1, tzinfo=dt.UTC)),
    BeforeValidator(_text),
]


class _Request(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class WindowRequest(_Request):
    """The values that a regime's expert reads, one row per bar."""

    regime: int = Field(
        ge=0,
        le=99,
        description="0 bearish, 1 sideways, 2 bullish, or a number of your own. Where it has no expert, the network of "
        "all regimes answers.",
    )
    features: Annotated[
        list[Annotated[list[Number], FailFast(), Field(min_length=1, max_length=_MOST_COLUMNS)]], FailFast()
    ] = Field(
        min_length=1,
        max_length=_MOST_BARS,
        description="One row per bar, oldest first, contiguous bars: the values of the expert's `columns` in the order "
        "of /models, as computed from the candles, not scaled. From `window` to `window + stride - 1` rows; "
        "the network reads them all and forecasts the log return after the last. A backtest and the live engine cut "
        "time into blocks of `stride` bars at fixed dates and begin to read `window - 1` bars before the block of the "
        "bar that they forecast: rows from there on give the same number as they do.",
    )


class Candle(BaseModel):
    """A closed bar. It may have further numbers, and must have those that the models read."""

    model_config = ConfigDict(strict=True, extra="allow", frozen=True)
    __pydantic_extra__: dict[str, Number]

    timestamp: Time = Field(
        description="Open time in ISO 8601 with its offset from UTC.", examples=["2024-01-31T04:00:00Z"]
    )
    open: Price
    high: Price
    low: Price
    close: Price
    volume: Annotated[float, Field(ge=0, allow_inf_nan=False)]


class CandlesRequest(_Request):
    """Candles, from which regime and features are computed as in a backtest."""

    candles: Annotated[list[Candle], FailFast()] = Field(
        min_length=1,
        description="Closed bars of the models' interval, oldest first: `lookback + 1` of them or more (at most "
        f"{EXTRA_CANDLES} more), see /models. The forecast is that after the last.",
    )


class BatchRequest(_Request):
    """Many windows at once."""

    batch: Annotated[list[WindowRequest], FailFast()] = Field(min_length=1, max_length=BATCH)


def _kind(content: Any) -> str | None:
    """Tag of the only kind of request that the content has fields of; None if there is not exactly one."""
    names = content.keys() if isinstance(content, dict) else set()
    kinds = [tag for tag, fields in _FIELDS.items() if fields & names]
    return kinds[0] if len(kinds) == 1 else None


_FIELDS = {"window": {"regime", "features"}, "candles": {"candles"}, "batch": {"batch"}}
ForecastRequest = Annotated[
    Annotated[WindowRequest, Tag("window")]
    | Annotated[CandlesRequest, Tag("candles")]
    | Annotated[BatchRequest, Tag("batch")],
    Discriminator(
        _kind,
        custom_error_type="request",
        custom_error_message="give an object with regime and features, with candles, or with a batch; see "
        "/openapi.json",
    ),
]


class _Response(BaseModel):
    models: str = Field(description="The training run of the models that answered.")


class WindowForecast(_Response):
    """What the expert expects after the last bar."""

    regime: int
    regime_name: str
    expert: str = Field(description="The network that answered: the regime's name, or `all`.")
    log_return: float = Field(description="Log return from the last bar's close to the next one's.")


class CandlesForecast(_Response):
    """Regime and forecast after the last candle; both null where they are not known."""

    timestamp: dt.datetime = Field(description="Open time of the last candle.")
    regime: int | None
    regime_name: str | None
    log_return: float | None = Field(description="Log return from the last candle's close to the next one's.")
    probabilities: dict[str, float] | None = Field(description="Of each regime, by its number.")
    reason: str | None = Field(None, description="Why there is no forecast, where there is none.")


class BatchForecast(BaseModel):
    """A forecast for each window, in their order."""

    forecasts: list[WindowForecast]


ForecastResponse = WindowForecast | CandlesForecast | BatchForecast


class ExpertResponse(BaseModel):
    """One network and what it reads."""

    name: str
    regime: int | None = Field(description="Null for the network of all regimes.")
    features: list[str]
    columns: list[str] = Field(description="The values of each bar that it reads, in their order.")
    window: int = Field(description="Bars that it reads at least.")
    stride: int = Field(description="It reads `window + stride - 1` bars at most.")
    hidden_dim: int
    num_layers: int
    validation_loss: float | None = Field(
        description="Squared error on the validation part relative to the forecast 0: below 1 is better."
    )


class ModelsResponse(BaseModel):
    """The models that answer at present."""

    dataset: str
    run: str
    interval_seconds: float
    lookback: int = Field(description="Candles before the last that its forecast depends on.")
    columns: list[str] = Field(description="Columns that candles must have, besides `timestamp`.")
    experts: list[ExpertResponse]
    refused: str | None = Field(description="Why a newer set of models was not taken, if there is one.")


class HealthResponse(BaseModel):
    status: str = Field("ok", pattern="^ok$")


class ReadyResponse(BaseModel):
    status: str = Field("ready", pattern="^ready$")
    models: str
    newer_models_refused: bool
