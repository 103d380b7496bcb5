"""Settings of the live services: what they trade and their risk limits."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from data.settings import Settings


class LimitSettings(Settings):
    """Risk limits of the trader; money is in the symbol's quote currency."""

    table: ClassVar[str] = "live"

    max_position: float | None = Field(None, gt=0, description="Largest value of a position; default: no limit.")
    max_order: float | None = Field(
        None, gt=0, description="Largest value that one order opens (closing has no limit); default: no limit."
    )
    max_orders_per_day: int | None = Field(
        None, ge=1, description="Orders a day (UTC) that open a position; default: no limit."
    )
    max_daily_loss: float | None = Field(
        None,
        gt=0,
        lt=1,
        description="Loss of a day (UTC), as a fraction of its first equity, at which the position is closed and "
        "nothing is opened until the next; default: no limit.",
    )

    def limits(self) -> list[str]:
        """Names of the limits that are set."""
        return [name for name in LimitSettings.model_fields if getattr(self, name) is not None]


class LiveSettings(LimitSettings):
    """Settings of the live services, from flags and the TOML file's ``[live]`` table."""

    exchange: str = Field("binance", description="The exchange's id in ccxt.")
    symbol: str | None = Field(None, description="What to trade, as ccxt writes it: BTC/USDT, BTC/USDT:USDT.")
    timeframe: str | None = Field(None, description="Of the candles; default: the models' interval.")
    retry_seconds: float = Field(
        2.0, gt=0, description="Seconds to wait before an exchange's doubtful answer is asked for again."
    )
