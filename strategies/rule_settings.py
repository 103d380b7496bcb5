"""Settings of the trading rule: when to enter, how large, when to leave."""

from __future__ import annotations

from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from data.settings import Settings

DISTANCES = ("stop_loss", "take_profit", "trailing_stop")


class EntrySettings(Settings):
    """Long above one threshold, short below the other."""

    table: ClassVar[str] = "backtest"

    long_threshold: float = Field(0.001, description="Go long above this forecast log return.")
    short_threshold: float = Field(-0.001, description="Go short below this forecast log return.")
    neutral: Literal["hold", "flat"] = Field(
        "hold", description="Between the thresholds: hold the position, or go flat."
    )
    exposure: float = Field(0.95, gt=0, description="Fraction of equity that a position is worth.")
    min_order: float = Field(
        0.0,
        ge=0,
        description="Smallest value of an order; smaller ones wait, unless they close a position.",
    )
    min_probability: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="Enter only if a return beyond the round trip's cost is at least this probable. Needs models with "
        "densities; 0: enter always.",
    )

    @model_validator(mode="after")
    def _thresholds_in_order(self) -> Self:
        if self.short_threshold > self.long_threshold:
            raise ValueError(
                f"short_threshold {self.short_threshold:g} lies above long_threshold {self.long_threshold:g}"
            )
        return self

    def direction(self, log_return: float, held: int) -> int:
        """Direction (1 long, -1 short, 0 none) that a member wants after its forecast, given its direction before.

        A forecast equal to a threshold counts as neutral.
        """
        if log_return > self.long_threshold:
            return 1
        if log_return < self.short_threshold:
            return -1
        return held if self.neutral == "hold" else 0


class SizingSettings(Settings):
    """How much of the exposure a position gets."""

    table: ClassVar[str] = "backtest"

    sizing: Literal["fixed", "volatility", "kelly"] = Field(
        "fixed",
        description="Size of a position: the exposure, or at most the exposure by target_volatility or kelly_fraction.",
    )
    target_volatility: float = Field(
        0.3, gt=0, description="Volatility per year that a position has with sizing volatility."
    )
    kelly_fraction: float = Field(
        0.5, gt=0, description="Multiple of forecast over variance that a position has with sizing kelly."
    )
    rebalance_band: float = Field(
        0.0,
        ge=0,
        description="Also order when the position differs from the wanted size by more than this fraction of equity; "
        "0: only when the vote orders.",
    )


class ExitSettings(Settings):
    """Stops, target and limits that close a position without a forecast. 0 is off."""

    table: ClassVar[str] = "backtest"

    stop_loss: float = Field(0.0, ge=0, description="Distance of the stop from the entry price; 0: none.")
    take_profit: float = Field(0.0, ge=0, description="Distance of the target from the entry price; 0: none.")
    trailing_stop: float = Field(
        0.0, ge=0, description="Distance of the stop from the best price since the entry; 0: none."
    )
    stop_unit: Literal["fraction", "scale"] = Field(
        "fraction",
        description="Unit of these distances: fractions of the price, or multiples of the scale at the entry.",
    )
    max_holding: int = Field(0, ge=0, description="Bars after which a position is closed; 0: no limit.")
    max_position: float = Field(0.0, ge=0, description="Largest value that an order may give a position; 0: no limit.")
    max_daily_loss: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="Loss of one day (UTC), as a fraction of its first equity, at which the position is closed until "
        "the next day; 0: no limit.",
    )

    @model_validator(mode="after")
    def _stops_above_zero(self) -> Self:
        for name in ("stop_loss", "trailing_stop"):
            if self.stop_unit == "fraction" and getattr(self, name) >= 1:
                raise ValueError(f"{name} {getattr(self, name):g} is not below 1, but stop_unit is fraction")
        return self

    @property
    def has_stops(self) -> bool:
        """Whether a stop or a target is set."""
        return any(getattr(self, name) for name in DISTANCES)


class RuleSettings(ExitSettings, SizingSettings, EntrySettings):
    """The trading rule. With the defaults of sizes and exits it is the plain one: thresholds and a fixed exposure."""

    @property
    def needs_scale(self) -> bool:
        """Whether the rule reads the forecast's scale."""
        return self.sizing != "fixed" or (self.stop_unit == "scale" and self.has_stops)
