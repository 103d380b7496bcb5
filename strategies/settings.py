"""Trading settings, shared by strategy, array simulator, backtest and live: rule, size and costs."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal, Self

from pydantic import Field, model_validator

from data.errors import SettingsError
from data.settings import Settings
from models.settings import ForecastSettings

if TYPE_CHECKING:
    import backtrader as bt


class RuleSettings(Settings):
    """The trading rule: long above one threshold, short below the other, and the position's size."""

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


class CostSettings(Settings):
    """Trading costs."""

    table: ClassVar[str] = "backtest"

    commission: float = Field(0.001, ge=0, lt=1, description="Commission, as a fraction of each trade's value.")
    slippage: float = Field(0.0005, ge=0, lt=1, description="Slippage, as a fraction of the fill price.")
    borrow_rate: float = Field(
        0.0, ge=0, lt=1, description="Fee per bar for a short position, as a fraction of its value."
    )


class TradingSettings(ForecastSettings, CostSettings, RuleSettings):
    """Forecast, rule, costs and initial equity of an account."""

    cash: float = Field(100_000.0, gt=0, le=1e15, description="Initial equity.")


# Settings that a grid may vary: those that affect orders and their costs.
AXES = (*RuleSettings.model_fields, *CostSettings.model_fields)


def target_size(
    strategy: bt.Strategy, direction: float, exposure: float, data: bt.feed.DataBase | None = None
) -> float:
    """Units of ``data`` (default: the first feed) worth ``direction * exposure`` of equity at the bar's close.

    ``direction`` is 1 for long, -1 for short, or a fraction; ``exposure`` is a fraction of equity. Units may be
    fractional. A unit of a future is worth ``mult`` times its price; where its margin is more, the margin counts.
    """
    from strategies.account import position_units  # it needs numpy, and start-up does not

    feed = strategy.data if data is None else data
    return position_units(direction, exposure, float(strategy.broker.getvalue()), _capital_per_unit(strategy, feed))


def unit_value(strategy: bt.Strategy, data: bt.feed.DataBase) -> float:
    """Value of one unit at the bar's close, in currency: the price, times ``mult`` of a future.

    Raises a `SettingsError` for a scheme with which Backtrader's equity is wrong while a position is open: a multiplier
    without a margin, or a margin that moves with the price.
    """
    scheme, close = strategy.broker.getcommissioninfo(data), float(data.close[0])
    if scheme.stocklike:
        if scheme.p.mult != 1:
            raise SettingsError(
                f"the commission scheme has mult={scheme.p.mult:g} and is stock-like, so Backtrader multiplies profits "
                "but not values. Set a margin as well, as for a future, or leave out mult."
            )
        return close
    if scheme.get_margin(close) != scheme.get_margin(2 * close):
        raise SettingsError(
            "the commission scheme's margin moves with the price (automargin), so Backtrader counts a part of each "
            "profit twice while a position is open. Set margin to an amount per unit."
        )
    return close * float(scheme.p.mult)


def _capital_per_unit(strategy: bt.Strategy, data: bt.feed.DataBase) -> float:
    """Equity that one unit takes up at the bar's close: its value, or the margin of a future if that is more."""
    scheme, value = strategy.broker.getcommissioninfo(data), unit_value(strategy, data)
    return value if scheme.stocklike else max(value, float(scheme.get_margin(data.close[0])))
