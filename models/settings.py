"""How a model set is asked: settings that backtest, walk-forward and live share."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from data.settings import Settings


class ForecastSettings(Settings):
    """Which experts answer, and where the regime comes from."""

    table: ClassVar[str] = "backtest"

    blend: bool = Field(False, description="Weigh all experts by their regime's probability.")
    regime_source: Literal["detector", "column"] = Field(
        "detector", description="Take the regime from the detector, or from the CSV's column."
    )
