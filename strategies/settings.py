"""How forecasts are traded and what it costs: settings that strategy, array simulator and live share."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator


class TradingSettings(BaseModel):
    """How forecasts are traded, and what it costs."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    long_threshold: float = Field(0.001, description="Go long above this forecast log return.")
    short_threshold: float = Field(-0.001, description="Go short below this forecast log return.")
    between: Literal["hold", "flat"] = Field("hold", description="In between: hold the position, or go flat.")
    exposure: float = Field(0.95, gt=0, description="Fraction of equity that a position is worth.")
    commission: float = Field(0.001, ge=0, lt=1, description="Commission, as a fraction of each trade's value.")
    slippage: float = Field(0.0005, ge=0, lt=1, description="Slippage, as a fraction of the fill price.")
    borrow_rate: float = Field(
        0.0, ge=0, lt=1, description="Fee a bar for holding a short position, as a fraction of its value."
    )
    cash: float = Field(100_000.0, gt=0, description="Equity at the start.")
    blend: bool = Field(False, description="Weigh all experts by their regime's probability.")
    regime_source: Literal["detector", "column"] = Field(
        "detector", description="Take the regime from the detector, or from the CSV's column."
    )

    @model_validator(mode="after")
    def _thresholds_in_order(self) -> Self:
        if self.short_threshold > self.long_threshold:
            raise ValueError(
                f"short_threshold {self.short_threshold:g} lies above long_threshold {self.long_threshold:g}"
            )
        return self
