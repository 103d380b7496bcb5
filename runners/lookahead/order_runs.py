"""Runs a strategy in Backtrader and lists its orders: over all candles, bar by bar, and over cut candles."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any, NamedTuple

import backtrader as bt
import numpy as np
import pandas as pd

from data.candles import time_text
from data.errors import DataError, RegimesError
from models.forecaster import Forecaster
from models.model_set import ModelSet
from models.recorded import RecordedForecasts
from models.settings import ForecastSettings
from runners.backtesting.engine import run_strategy
from runners.backtesting.settings import BacktestSettings
from strategies.feed import bar_times


class Order(NamedTuple):
    """An order: the bar at whose close it was decided, its size, and the bar and price of its fill."""

    decided: pd.Timestamp
    size: float
    filled: pd.Timestamp | None
    price: float | None

    def up_to(self, cut: pd.Timestamp) -> Order:
        """The order as of the close of bar ``cut``."""
        filled = self.filled is not None and self.filled <= cut
        return self if filled else Order(self.decided, self.size, None, None)

    def same(self, other: Order) -> bool:
        times = (self.decided, self.filled) == (other.decided, other.filled)
        return times and np.allclose((self.size, self.price or 0.0), (other.size, other.price or 0.0), rtol=1e-9)

    def __str__(self) -> str:
        side = "buy" if self.size > 0 else "sell"
        price = "" if self.price is None else f" filled at {self.price:.6g}"
        return f"{side} {abs(self.size):.6g} of {time_text(self.decided)}{price}"


class ReadsAheadError(DataError):
    """At the last bar, the strategy read a later one."""


class _KnownForecasts(Forecaster):
    """A forecaster that has forecast all candles once, so that many runs over parts of them are fast."""

    def __init__(self, model_set: ModelSet, settings: ForecastSettings, candles: pd.DataFrame) -> None:
        super().__init__(model_set, settings)
        self._known = RecordedForecasts(self.dataset, self.interval, super().forecast(candles), self.lookback)

    def forecast(self, candles: pd.DataFrame) -> pd.DataFrame:
        return self._known.forecast(candles)

    def stream(self, history: pd.DataFrame | None = None) -> Any:
        return self._known


@dataclass(frozen=True)
class Trader:
    """A strategy to run.

    Attributes
    ----------
    models
        What a `LSTMRegimeStrategy` trades; None for other strategies.
    """

    strategy: type[bt.Strategy]
    models: ModelSet | Forecaster | None = None

    @property
    def name(self) -> str:
        return self.strategy.__name__

    @property
    def parameters(self) -> dict[str, Any]:
        return {} if self.models is None else {"models": self.models}

    @property
    def lookback(self) -> int:
        """Number of earlier bars that an order of a `LSTMRegimeStrategy` depends on; 0 for other strategies."""
        if isinstance(self.models, ModelSet):
            return Forecaster(self.models, self._forecasting).lookback
        return self.models.lookback if self.models else 0

    @property
    def _forecasting(self) -> ForecastSettings:
        defaults = self.strategy.params
        return ForecastSettings(**{name: getattr(defaults, name) for name in ForecastSettings.model_fields})

    def forecasting_once(self, candles: pd.DataFrame) -> Trader:
        """The same trader, whose forecasts of these candles are computed once for many runs."""
        if not isinstance(self.models, ModelSet):
            return self
        return Trader(self.strategy, _KnownForecasts(self.models, self._forecasting, candles))

    def orders(
        self, candles: pd.DataFrame, *, streamed: bool = False, trade_from: pd.Timestamp | None = None
    ) -> list[Order]:
        """All orders of a run, sorted by decision; ``streamed``: Backtrader sees one bar after another.

        Raises
        ------
        ReadsAheadError
            If it reads a bar after the last one.
        DataError
            If it fails.
        """
        cerebro = bt.Cerebro(stdstats=False, preload=not streamed, runonce=not streamed)
        parameters = self.parameters
        if trade_from is not None:
            parameters["trade_from"] = trade_from.tz_convert(None).to_pydatetime()
        try:
            run_strategy(candles.copy(), BacktestSettings(), self.strategy, parameters, cerebro=cerebro)
        except RegimesError:
            raise
        except Exception as error:
            done = len(cerebro.datas[0])
            if isinstance(error, IndexError) and (streamed or done == len(candles)):
                last = time_text(candles.index[done - 1])
                raise ReadsAheadError(f"at {last}, the last bar, it reads a later one") from error
            text = f"{self.name} fails on {len(candles)} bars: {type(error).__name__}: {error}"
            raise DataError(text) from error
        feed = cerebro.datas[0]

        def time_of(days: float) -> pd.Timestamp:
            return bar_times(feed, np.array([days]))[0]

        return [
            Order(
                decided=time_of(order.created.dt),
                size=order.created.size,
                filled=time_of(order.executed.dt) if order.executed.size else None,
                price=order.executed.price if order.executed.size else None,
            )
            for order in cerebro.broker.orders
        ]


class WholeRun(NamedTuple):
    """The orders over all candles, of a second run too, and the seconds that one took."""

    orders: list[Order]
    again: list[Order]
    seconds: float


def whole_run(trader: Trader, candles: pd.DataFrame) -> WholeRun:
    trader, began = trader.forecasting_once(candles), time.monotonic()
    orders = trader.orders(candles)
    seconds = time.monotonic() - began
    return WholeRun(orders, trader.orders(candles) if trader.models is None else orders, seconds)


def streamed_run(trader: Trader, candles: pd.DataFrame) -> list[Order] | DataError:
    """The orders if Backtrader sees one bar after another; or the error of a strategy that cannot do without."""
    try:
        return trader.forecasting_once(candles).orders(candles, streamed=True)
    except DataError as error:
        return error


def first_changed(
    trader: Trader, candles: pd.DataFrame, cuts: Sequence[int], whole: Sequence[Order]
) -> tuple[int, str] | None:
    """The first of the ascending ``cuts`` after which an order changes if the later bars are cut off, and how."""
    trader = trader.forecasting_once(candles)
    for bar in cuts:
        cut = candles.index[bar]
        expected = [order.up_to(cut) for order in whole if order.decided <= cut]
        difference = first_difference(expected, trader.orders(candles.iloc[: bar + 1]))
        if difference:
            return bar, difference.text
    return None


def first_memory(trader: Trader, candles: pd.DataFrame, bars: Sequence[int]) -> tuple[int, str] | None:
    """The first of these bars from which an order changes if the bars before its lookback are cut off, and how."""
    known = trader.forecasting_once(candles)
    for bar in bars:
        start = candles.index[bar]
        whole = known.orders(candles, trade_from=start)
        difference = first_difference(whole, known.orders(candles.iloc[bar - known.lookback :], trade_from=start))
        if difference:
            return bar, difference.text
    return None


def columns_read(trader: Trader, candles: pd.DataFrame, columns: Sequence[str]) -> list[str]:
    """Of these columns of the candles, those whose values change the orders if they change places."""
    trader, read = trader.forecasting_once(candles), []
    base = trader.orders(candles)
    for column in columns:
        other = candles.assign(**{column: np.random.default_rng(0).permutation(candles[column].to_numpy())})
        try:
            changed = first_difference(base, trader.orders(other)) is not None
        except DataError:  # it read the column, and refused what it read
            changed = True
        if changed:
            read.append(column)
    return read


class Difference(NamedTuple):
    """Two lists of orders differ: the bar of the first that does, and how."""

    decided: pd.Timestamp
    text: str


def first_difference(whole: Sequence[Order], part: Sequence[Order]) -> Difference | None:
    for order, other in zip_longest(whole, part):
        if order is None:
            return Difference(other.decided, f"{other} is added")
        if other is None:
            return Difference(order.decided, f"{order} is missing")
        if not order.same(other):
            return Difference(min(order.decided, other.decided), f"{order} becomes {other}")
    return None
