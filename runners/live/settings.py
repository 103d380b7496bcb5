"""Settings of the live services: what they trade and their risk limits."""

from __future__ import annotations

from typing import Annotated, ClassVar, TypeVar

from pydantic import BeforeValidator, Field, SecretStr

from data.settings import Settings
from strategies.settings import TradingSettings

AnyTrading = TypeVar("AnyTrading", bound=TradingSettings)


def _listed(urls: object) -> object:
    return [urls] if isinstance(urls, str) else urls


class LimitSettings(Settings):
    """Risk limits of the trader; money is in the symbol's quote currency.

    ``max_position`` and ``max_daily_loss`` replace those of ``[backtest]``.
    """

    table: ClassVar[str] = "live"

    max_position: float | None = Field(None, gt=0, description="Largest value of a position; default: no limit.")
    max_order: float | None = Field(
        None,
        gt=0,
        description="Largest value that one order may add to a position; default: no limit.",
    )
    max_orders_per_day: int | None = Field(
        None,
        ge=1,
        description="Most orders a day (UTC) that open or enlarge a position; default: no limit.",
    )
    max_daily_loss: float | None = Field(
        None,
        gt=0,
        lt=1,
        description="Loss of one day (UTC), as a fraction of its first equity, at which the position is closed until "
        "the next day; default: no limit.",
    )

    def limits_of_orders(self) -> list[str]:
        """Names of the limits that are set and that a backtest does not have."""
        return [name for name in ("max_order", "max_orders_per_day") if getattr(self, name) is not None]

    def applied_to(self, trading: AnyTrading) -> AnyTrading:
        """Trading settings with these limits of position and daily loss, where they are set."""
        limits = {name: getattr(self, name) for name in ("max_position", "max_daily_loss")}
        return trading.model_copy(update={name: limit for name, limit in limits.items() if limit is not None})


class LiveSettings(LimitSettings):
    """Settings of the live services, from flags and the TOML file's ``[live]`` table."""

    exchange: str = Field("binance", description="The exchange's id in ccxt.")
    symbol: str | None = Field(None, description="Symbol in ccxt's notation, such as BTC/USDT or BTC/USDT:USDT.")
    timeframe: str | None = Field(None, description="Timeframe of the candles; default: the models' interval.")
    retry_seconds: float = Field(2.0, gt=0, description="Seconds before a doubtful answer is requested again.")
    messages: Annotated[tuple[SecretStr, ...], BeforeValidator(_listed)] = Field(
        (), description="URLs of apprise that get messages; the environment variable REGIMES_MESSAGES overrides them."
    )
