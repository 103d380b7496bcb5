"""What the server may be asked and how it answers: checked on the way in, described on the way out."""

from __future__ import annotations

import datetime as dt
from typing import Annotated, Any

from pydantic import AwareDatetime, BaseModel, ConfigDict, FailFast, Field, TypeAdapter, ValidationError

from runners.live.server.errors import InputError, ProblemError

BATCH, EXTRA_CANDLES = 64, 2000
_MOST_BARS, _MOST_COLUMNS = 2000, 500
_ERRORS, _LONGEST = 20, 200  # of a refusal: how many errors, and characters of each

Number = Annotated[float, Field(allow_inf_nan=False)]
Price = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Time = Annotated[
    AwareDatetime,
    Field(ge=dt.datetime(1900, 1, 1, tzinfo=dt.UTC), lt=dt.datetime(2200, 1, 1, tzinfo=dt.UTC)),
]


class _Ask(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class WindowAsk(_Ask):
    """The values that a regime's expert reads, bar by bar."""

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
        description="A row a bar, oldest first, contiguous bars: the values of the expert's `columns` in the order "
        "that /models gives, as computed from the candles, not scaled. From `window` to `window + stride - 1` rows; "
        "the network reads them all and forecasts the log return after the last. A backtest and the live engine cut "
        "time into blocks of `stride` bars at fixed dates and begin to read `window - 1` bars before the block of the "
        "bar that they forecast: rows from there on give the same number as they do.",
    )


class Candle(BaseModel):
    """A closed bar. Further numbers may stand in it; those that the models read must."""

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


class CandlesAsk(_Ask):
    """Candles, from which regime and features are found as in a backtest."""

    candles: Annotated[list[Candle], FailFast()] = Field(
        min_length=1,
        description="Closed bars of the models' interval, oldest first: `lookback + 1` of them or more (at most "
        f"{EXTRA_CANDLES} more), see /models. The forecast is that after the last.",
    )


class BatchAsk(_Ask):
    """Many windows at once."""

    batch: Annotated[list[WindowAsk], FailFast()] = Field(min_length=1, max_length=BATCH)


Ask = WindowAsk | CandlesAsk | BatchAsk
ASK: TypeAdapter[Ask] = TypeAdapter(Ask)
_FIELDS = {kind.__name__: len(kind.model_fields) for kind in (WindowAsk, CandlesAsk, BatchAsk)}


class _Answer(BaseModel):
    models: str = Field(description="The training run of the models that answered.")


class WindowForecast(_Answer):
    """What the expert expects after the last bar."""

    regime: int
    regime_name: str
    expert: str = Field(description="The network that answered: the regime's name, or `all`.")
    log_return: float = Field(description="Log return from the last bar's close to the next one's.")


class CandlesForecast(_Answer):
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


class ExpertAnswer(BaseModel):
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


class ModelsAnswer(BaseModel):
    """The models that answer at present."""

    dataset: str
    run: str
    interval_seconds: float
    lookback: int = Field(description="Candles before the last that its forecast depends on.")
    columns: list[str] = Field(description="Columns that candles must have, besides `timestamp`.")
    experts: list[ExpertAnswer]
    refused: str | None = Field(description="Why a newer set of models was not taken, if there is one.")


class HealthAnswer(BaseModel):
    status: str = Field("ok", pattern="^ok$")


class ReadyAnswer(BaseModel):
    status: str = Field("ready", pattern="^ready$")
    models: str
    newer_models_refused: bool


def ask_of(body: bytes) -> Ask:
    """What is asked, out of JSON.

    Raises
    ------
    ProblemError
        422, with what is wrong and where; it repeats nothing long of the input.
    """
    try:
        return ASK.validate_json(body)
    except ValidationError as error:
        errors = _of_what_was_meant(error.errors(include_url=False, include_context=False, include_input=False))
    told = [InputError(location=[_short(part) for part in where], message=_short(what)) for where, what in errors]
    raise ProblemError(422, f"{_path(told[0].location)}: {told[0].message}", errors=told[:_ERRORS])


def _of_what_was_meant(errors: list[Any]) -> list[tuple[tuple[str | int, ...], str]]:
    """Location and message of the errors of that kind of ask which the body looks like."""
    if errors[0]["loc"] == ():
        return [((), errors[0]["msg"])]
    kinds: dict[str, list[Any]] = {}
    for error in errors:
        kinds.setdefault(error["loc"][0], []).append(error)
    meant = [some for kind, some in kinds.items() if _looks_like(kind, some)]
    if len(meant) != 1:
        return [((), "give an object with regime and features, with candles, or with a batch; see /openapi.json")]
    return [(error["loc"][1:], error["msg"]) for error in meant[0]]


def _looks_like(kind: str, errors: list[Any]) -> bool:
    """Whether the body has at least one of the fields that such an ask has."""
    absent = sum(error["type"] == "missing" and len(error["loc"]) == 2 for error in errors)
    return absent < _FIELDS[kind] and not any(len(error["loc"]) == 1 for error in errors)


def _short(part: Any) -> Any:
    return part if isinstance(part, int) or len(part) <= _LONGEST else f"{part[:_LONGEST]}..."


def _path(location: list[str | int]) -> str:
    return ".".join(map(str, location)) or "body"
