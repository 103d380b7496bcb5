"""Trading settings, shared by strategy, array simulator, backtest and live: rule, costs and cash; sizes in units."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar, NamedTuple, Self

from pydantic import Field, model_validator

from data.errors import SettingsError
from data.settings import Settings
from models.settings import ForecastSettings
from strategies.rule_settings import RuleSettings

if TYPE_CHECKING:
    import backtrader as bt


class CostSettings(Settings):
    """Trading costs."""

    table: ClassVar[str] = "backtest"

    commission: float = Field(0.001, ge=0, lt=1, description="Commission, as a fraction of each trade's value.")
    slippage: float = Field(0.0005, ge=0, lt=1, description="Slippage, as a fraction of the fill price.")
    borrow_rate: float = Field(
        0.0, ge=0, lt=1, description="Fee per bar for a short position, as a fraction of its value."
    )
    funding: float = Field(
        0.0,
        gt=-1,
        lt=1,
        description="Funding rate per bar, as a fraction of the position's value: longs pay it and shorts receive it.",
    )

    @model_validator(mode="after")
    def _one_fee(self) -> Self:
        if self.borrow_rate and self.funding:
            raise ValueError(
                f"borrow_rate {self.borrow_rate:g} and funding {self.funding:g} are fees for the same position"
            )
        return self

    @property
    def round_trip(self) -> float:
        """Log return that pays for commission and slippage of a position's two orders."""
        return round_trip_cost(self.commission, self.slippage)


def round_trip_cost(commission: float, slippage: float) -> float:
    """Log return at which buying and selling again, or the reverse, neither earns nor loses."""
    return math.log((1 + slippage) * (1 + commission) / ((1 - slippage) * (1 - commission)))


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
    return position_units(direction, exposure, float(strategy.broker.getvalue()), unit_value(strategy, feed).capital)


class UnitValue(NamedTuple):
    """Value of one unit at a bar's close, in currency, and the equity that it takes up.

    The value is the price, times ``mult`` of a future. Where a future's margin is more, the margin is taken up.
    """

    value: float
    capital: float


def unit_value(strategy: bt.Strategy, data: bt.feed.DataBase) -> UnitValue:
    """What one unit is worth at the bar's close.

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
        return UnitValue(close, close)
    margin = float(scheme.get_margin(close))
    if margin != scheme.get_margin(2 * close):
        raise SettingsError(
            "the commission scheme's margin moves with the price (automargin), so Backtrader counts a part of each "
            "profit twice while a position is open. Set margin to an amount per unit."
        )
    value = close * float(scheme.p.mult)
    return UnitValue(value, max(value, margin))


def broker_round_trip(strategy: bt.Strategy, data: bt.feed.DataBase) -> float:
    """`round_trip_cost` of the broker's own commission scheme and slippage, at the bar's close."""
    scheme, settings, close = strategy.broker.getcommissioninfo(data), strategy.broker.p, float(data.close[0])
    commission = scheme.getcommission(1.0, 1.0) / scheme.p.mult
    if scheme.getcommission(1.0, 2.0) != 2 * scheme.getcommission(1.0, 1.0):  # not a fraction of the price
        commission = scheme.getcommission(1.0, close) / unit_value(strategy, data).value
    slippage = getattr(settings, "slip_perc", 0.0) or getattr(settings, "slip_fixed", 0.0) / close
    return round_trip_cost(commission, slippage)
