"""Defines the model server's requests and responses."""

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


Time = Annotated[  # not strict, because FastAPI parses JSON before pydantic sees it, and leaves it a text
    AwareDatetime,
    Field(strict=False, ge=dt.datetime(1900, 1, 1, tzinfo=dt.UTC), lt=dt.datetime(2200, 1, 1, tzinfo=dt.UTC)),
    BeforeValidator(_text),
]


class _Request(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class WindowRequest(_Request):
    """Features of one regime's expert, one row per bar."""

    regime: int = Field(
        ge=0,
        le=99,
        description="0 bearish, 1 sideways, 2 bullish, or your own number. The all-regimes network answers for a "
        "regime without an expert.",
    )
    features: Annotated[
        list[Annotated[list[Number], FailFast(), Field(min_length=1, max_length=_MOST_COLUMNS)]], FailFast()
    ] = Field(
        min_length=1,
        max_length=_MOST_BARS,
        description="One row per contiguous bar, oldest first: unscaled values in the order of the expert's `columns` "
        "(see /models), `window` to `window + stride - 1` rows. The forecast is for the bar after the last row. A "
        "backtest divides time into blocks of `stride` bars at fixed dates, and reads from `window - 1` bars before "
        "the block on. The same rows give the same forecast.",
    )


class Candle(BaseModel):
    """A closed bar, with the further numeric columns that the models read."""

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
    """Candles; regime and features are computed as in a backtest."""

    candles: Annotated[list[Candle], FailFast()] = Field(
        min_length=1,
        description="Closed bars of the models' interval, oldest first: at least `lookback + 1` (see /models), and at "
        f"most {EXTRA_CANDLES} more. The forecast is for the bar after the last.",
    )


class BatchRequest(_Request):
    """Several windows."""

    batch: Annotated[list[WindowRequest], FailFast()] = Field(min_length=1, max_length=BATCH)


def _kind(content: Any) -> str | None:
    """Tag of the request, by its fields; None if they fit no request or more than one."""
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
        custom_error_message="send an object with regime and features, candles, or batch; see /openapi.json",
    ),
]


class _Response(BaseModel):
    models: str = Field(description="Id of the models' training.")


class WindowForecast(_Response):
    """Forecast of an expert after the last bar."""

    regime: int
    regime_name: str
    expert: str = Field(description="Name of the network: the regime's, or `all`.")
    log_return: float = Field(
        description="Forecast log return from the last bar's close to the next one's: the members' mean."
    )
    members: list[float] = Field(description="Forecast of each of the expert's networks, without shrinkage.")


class CandlesForecast(_Response):
    """Regime and forecast after the last candle; both may be null, with a reason."""

    timestamp: dt.datetime = Field(description="Open time of the last candle.")
    regime: int | None
    regime_name: str | None
    log_return: float | None = Field(
        description="Forecast log return from the last close to the next one: the members' mean."
    )
    members: list[float] | None = Field(description="Forecast of each member.")
    probabilities: dict[str, float] | None = Field(description="Probability of each regime, by its number.")
    scale: float | None = Field(
        None, description="Standard deviation of the predictive density; null if the models have none."
    )
    quantiles: dict[str, float] | None = Field(
        None, description="Log returns that are not exceeded with a probability, by the probability."
    )
    intervals: dict[str, tuple[float, float]] | None = Field(
        None,
        description="Lowest and highest log return of the central intervals, by the share of returns that they are to "
        "hold. They adapt to the last 250 forecasts, as far as there are candles before the lookback.",
    )
    reason: str | None = Field(None, description="Why there is no forecast.")


class BatchForecast(BaseModel):
    """One forecast per window, in the same order."""

    forecasts: list[WindowForecast]


ForecastResponse = WindowForecast | CandlesForecast | BatchForecast


class ExpertResponse(BaseModel):
    """One network and its inputs."""

    name: str
    label: str = Field(description="The name for a display, with calm or volatile where the names do not hold.")
    regime: int | None = Field(description="Null for the all-regimes network.")
    features: list[str]
    columns: list[str] = Field(description="Values of each row of `features`, in order.")
    window: int = Field(description="Smallest number of rows.")
    stride: int = Field(description="The largest number of rows is `window + stride - 1`.")
    hidden_dim: int
    num_layers: int
    members: int = Field(description="Number of networks in the ensemble.")
    validation_loss: float | None = Field(
        description="Squared error on the validation part, relative to that of the forecast 0."
    )


class ModelsResponse(BaseModel):
    """The models in use."""

    dataset: str
    run: str
    interval_seconds: float
    lookback: int = Field(description="Number of candles before the last that the forecast depends on.")
    columns: list[str] = Field(description="Columns that candles must have, in addition to `timestamp`.")
    experts: list[ExpertResponse]
    notes: list[str] = Field(description="Whether the names of the regimes hold, and notes on single experts.")
    refused: str | None = Field(description="Why a newer model set was rejected, or null.")


class HealthResponse(BaseModel):
    status: str = Field("ok", pattern="^ok$")


class ReadyResponse(BaseModel):
    status: str = Field("ready", pattern="^ready$")
    models: str
    newer_models_refused: bool
