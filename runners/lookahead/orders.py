"""Orders: a strategy's orders must not depend on later bars, and must fill after the bar that decided them."""

from __future__ import annotations

from itertools import zip_longest
from typing import Any, NamedTuple

import backtrader as bt
import numpy as np
import pandas as pd

from data.candles import time_text
from data.errors import DataError, RegimesError
from models.forecaster import Forecaster
from models.settings import ForecastSettings
from runners.backtesting.engine import run_strategy
from runners.backtesting.settings import BacktestSettings
from runners.lookahead.outcome import Outcome
from runners.lookahead.under_test import UnderTest
from strategies import LSTMRegimeStrategy
from strategies.feed import bar_times


class _Order(NamedTuple):
    decided: pd.Timestamp
    size: float
    filled: pd.Timestamp | None
    price: float | None

    def up_to(self, cut: pd.Timestamp) -> _Order:
        """The order as of the close of bar ``cut``."""
        filled = self.filled is not None and self.filled <= cut
        return self if filled else _Order(self.decided, self.size, None, None)

    def same(self, other: _Order) -> bool:
        times = (self.decided, self.filled) == (other.decided, other.filled)
        return times and np.allclose((self.size, self.price or 0.0), (other.size, other.price or 0.0), rtol=1e-9)

    def __str__(self) -> str:
        side = "buy" if self.size > 0 else "sell"
        price = "" if self.price is None else f" filled at {self.price:.6g}"
        return f"{side} {abs(self.size):.6g} of {time_text(self.decided)}{price}"


class _ReadsAheadError(Exception):
    """At the last bar, the strategy read a later one."""


def orders(under_test: UnderTest, cuts: int) -> Outcome:
    """Check the orders of each strategy on all candles, with later bars cut off, and with earlier bars cut off."""
    findings, count = [], 0
    for strategy, settings in under_test.strategies:
        try:
            whole = _orders(under_test.candles, strategy, settings)
            count += len(whole)
            same_bar = _filled_at_decision(strategy, whole)
            findings += same_bar or _without_later_bars(under_test.candles, strategy, settings, whole, cuts)
        except _ReadsAheadError as error:
            findings.append(f"orders of {strategy.__name__}: {error}")
            continue
        if issubclass(strategy, LSTMRegimeStrategy):
            findings += _without_earlier_bars(under_test.candles, strategy, settings, cuts)
    names = ", ".join(strategy.__name__ for strategy, _ in under_test.strategies)
    return Outcome("orders", f"{count} orders of {names}, and those before {cuts} cuts", findings)


def _without_later_bars(
    candles: pd.DataFrame, strategy: type[bt.Strategy], settings: dict[str, Any], whole: list[_Order], cuts: int
) -> list[str]:
    """The first order that changes if later bars are cut off; half of the cuts are at bars with orders."""
    random = np.random.default_rng(0)
    n_bars = len(candles)
    busy = candles.index.get_indexer(pd.DatetimeIndex([order.decided for order in whole]))
    busy = busy[(busy > n_bars // 2) & (busy < n_bars - 1)]
    some_busy = random.choice(busy, min(len(busy), cuts // 2 + 1), replace=False)
    others = random.choice(np.arange(n_bars // 2, n_bars - 1), cuts - len(some_busy), replace=False)
    for bar in sorted({*map(int, some_busy), *map(int, others)}):
        cut = candles.index[bar]
        expected = [order.up_to(cut) for order in whole if order.decided <= cut]
        difference = _first_difference(expected, _orders(candles.iloc[: bar + 1], strategy, settings))
        if difference:
            where = f"with the bars after {time_text(cut)} cut off"
            return [f"orders of {strategy.__name__}: {where}, {difference}: it looks ahead."]
    return []


def _without_earlier_bars(
    candles: pd.DataFrame, strategy: type[bt.Strategy], settings: dict[str, Any], cuts: int
) -> list[str]:
    """The first order that changes if the bars before the lookback are cut off."""
    forecasting = ForecastSettings(blend=strategy.params.blend, regime_source=strategy.params.regime_source)
    lookback = Forecaster(settings["models"], forecasting).lookback
    for bar in np.linspace(len(candles) // 2, len(candles) * 0.9, max(1, cuts // 3), dtype=int):
        trade_from = candles.index[bar].tz_convert(None).to_pydatetime()
        whole = _orders(candles, strategy, {**settings, "trade_from": trade_from})
        part = _orders(candles.iloc[bar - lookback :], strategy, {**settings, "trade_from": trade_from})
        difference = _first_difference(whole, part)
        if difference:
            where = f"with only the lookback of {lookback} bars before {time_text(candles.index[bar])}"
            return [f"orders of {strategy.__name__}: {where}, {difference}."]
    return []


def _filled_at_decision(strategy: type[bt.Strategy], whole: list[_Order]) -> list[str]:
    same_bar = [order for order in whole if order.filled is not None and order.filled <= order.decided]
    if not same_bar:
        return []
    first = same_bar[0]
    return [
        f"orders of {strategy.__name__}: {len(same_bar)} of {len(whole)} fill at the bar that decided them, the first "
        f"at {time_text(first.decided)} for {first.price:.6g}. An order decided at a close fills at the next open or "
        "later. Does the strategy use cheat-on-close or cheat-on-open?"
    ]


def _orders(candles: pd.DataFrame, strategy: type[bt.Strategy], settings: dict[str, Any]) -> list[_Order]:
    """All orders of a run, sorted by decision."""
    cerebro = bt.Cerebro(stdstats=False)
    try:
        run_strategy(candles, BacktestSettings(), strategy, settings, cerebro=cerebro)
    except RegimesError:
        raise
    except Exception as error:
        if isinstance(error, IndexError) and len(cerebro.datas[0]) == len(candles):
            raise _ReadsAheadError(f"at {time_text(candles.index[-1])}, the last bar, it reads a later one.") from error
        raise DataError(f"{strategy.__name__} fails on {len(candles)} bars: {type(error).__name__}: {error}") from error
    feed = cerebro.datas[0]

    def time(days: float) -> pd.Timestamp:
        return bar_times(feed, np.array([days]))[0]

    return [
        _Order(
            decided=time(order.created.dt),
            size=order.created.size,
            filled=time(order.executed.dt) if order.executed.size else None,
            price=order.executed.price if order.executed.size else None,
        )
        for order in cerebro.broker.orders
    ]


def _first_difference(whole: list[_Order], part: list[_Order]) -> str | None:
    for order, other in zip_longest(whole, part):
        if order is None or other is None:
            return f"{other} is added" if order is None else f"{order} is missing"
        if not order.same(other):
            return f"{order} becomes {other}"
    return None
