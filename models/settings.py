"""Forecast settings, shared by backtest, walk-forward and live."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from data.settings import Settings


class ForecastSettings(Settings):
    """Which experts forecast, and the source of the regime."""

    table: ClassVar[str] = "backtest"

    blend: bool = Field(False, description="Average all experts' forecasts, weighted by regime probability.")
    regime_source: Literal["detector", "column"] = Field(
        "detector", description="Source of the regime: the detector, or the CSV's column."
    )
    shrinkage: Literal["none", "learnt"] = Field(
        "none",
        description="learnt: combine the regime's expert and the all-regimes network by weights learnt on validation.",
    )
