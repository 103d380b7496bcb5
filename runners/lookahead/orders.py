"""Orders: what a strategy does up to a bar must not change with what comes later, and fills come after decisions."""

from __future__ import annotations

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
from runners.lookahead.target import Subject
from strategies import LSTMRegimeStrategy
from strategies.feed import bar_times


class _Order(NamedTuple):
    decided: pd.Timestamp
    size: float
    filled: pd.Timestamp | None
    price: float | None

    def up_to(self, cut: pd.Timestamp) -> _Order:
        """What is known of the order at the close of bar ``cut``."""
        known = self.filled is not None and self.filled <= cut
        return self if known else _Order(self.decided, self.size, None, None)

    def same(self, other: _Order) -> bool:
        return (
            (self.decided, self.filled) == (other.decided, other.filled)
            and bool(np.isclose(self.size, other.size, rtol=1e-9))
            and bool(np.isclose(self.price or 0.0, other.price or 0.0, rtol=1e-9))
        )


class _ReadsAheadError(Exception):
    """The strategy asked its feed, at the last bar, for one that is not there yet."""


def orders(subject: Subject, cuts: int) -> Outcome:
    """Truncation, start and fill time of the orders of each strategy, traded over all the candles."""
    findings, count = [], 0
    for strategy, settings in subject.strategies:
        try:
            whole = _orders(subject.candles, strategy, settings)
            count += len(whole)
            at_once = _filled_at_once(strategy, whole)
            findings += at_once or _truncated(subject.candles, strategy, settings, whole, cuts)
        except _ReadsAheadError as error:
            findings.append(f"orders of {strategy.__name__}: {error}")
            continue
        if issubclass(strategy, LSTMRegimeStrategy):
            findings += _started_late(subject.candles, strategy, settings, cuts)
    names = ", ".join(strategy.__name__ for strategy, _ in subject.strategies)
    return Outcome("orders", f"{count} orders of {names}, and those before {cuts} cuts", findings)


def _truncated(
    candles: pd.DataFrame, strategy: type[bt.Strategy], settings: dict[str, Any], whole: list[_Order], cuts: int
) -> list[str]:
    """The first order that changes when later bars are cut off, at bars drawn among those with and without orders."""
    random = np.random.default_rng(0)
    n_bars = len(candles)
    busy = candles.index.get_indexer(pd.DatetimeIndex([order.decided for order in whole]))
    busy = busy[(busy > n_bars // 2) & (busy < n_bars - 1)]
    some_busy = random.choice(busy, min(len(busy), cuts // 2 + 1), replace=False)
    others = random.choice(np.arange(n_bars // 2, n_bars - 1), cuts - len(some_busy), replace=False)
    for bar in sorted({*map(int, some_busy), *map(int, others)}):
        cut = candles.index[bar]
        expected = [order.up_to(cut) for order in whole if order.decided <= cut]
        found = _orders(candles.iloc[: bar + 1], strategy, settings)
        different = _first_difference(expected, found)
        if different:
            return [
                f"orders of {strategy.__name__}: with the bars after {time_text(cut)} cut off, {different}: "
                "it looks ahead."
            ]
    return []


def _started_late(candles: pd.DataFrame, strategy: type[bt.Strategy], settings: dict[str, Any], cuts: int) -> list[str]:
    """The first order that changes when the bars before the lookback are cut off."""
    asked = ForecastSettings(blend=strategy.params.blend, regime_source=strategy.params.regime_source)
    lookback = Forecaster(settings["models"], asked).lookback
    for bar in np.linspace(len(candles) // 2, len(candles) * 0.9, max(1, cuts // 3), dtype=int):
        trade_from = candles.index[bar].tz_convert(None).to_pydatetime()
        whole = _orders(candles, strategy, {**settings, "trade_from": trade_from})
        part = _orders(candles.iloc[bar - lookback :], strategy, {**settings, "trade_from": trade_from})
        different = _first_difference(whole, part)
        if different:
            return [
                f"orders of {strategy.__name__}: with only the lookback of {lookback} bars before "
                f"{time_text(candles.index[bar])}, {different}."
            ]
    return []


def _filled_at_once(strategy: type[bt.Strategy], whole: list[_Order]) -> list[str]:
    at_once = [order for order in whole if order.filled is not None and order.filled <= order.decided]
    if not at_once:
        return []
    first = at_once[0]
    return [
        f"orders of {strategy.__name__}: {len(at_once)} of {len(whole)} fill at the bar that decided them, the first "
        f"at {time_text(first.decided)} for {first.price:.6g}: a decision at a close can fill at the next open at the "
        "earliest (look for cheat-on-close or cheat-on-open)."
    ]


def _orders(candles: pd.DataFrame, strategy: type[bt.Strategy], settings: dict[str, Any]) -> list[_Order]:
    """Every order of a run, in the order of their decisions."""
    cerebro = bt.Cerebro()
    try:
        run_strategy(candles, BacktestSettings(), strategy, settings, cerebro=cerebro)
    except RegimesError:
        raise
    except Exception as error:
        told = f"{type(error).__name__}: {error}"
        if isinstance(error, IndexError) and len(cerebro.datas[0]) == len(candles):
            raise _ReadsAheadError(
                f"at {time_text(candles.index[-1])}, the last bar there is, it reads a later one."
            ) from error
        raise DataError(f"{strategy.__name__} fails on {len(candles)} bars: {told}") from error
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
    for one, other in zip(whole, part, strict=False):
        if not one.same(other):
            return f"{_told(one)} becomes {_told(other)}"
    if len(whole) > len(part):
        return f"{_told(whole[len(part)])} is missing"
    if len(part) > len(whole):
        return f"{_told(part[len(whole)])} is added"
    return None


def _told(order: _Order) -> str:
    side = "buy" if order.size > 0 else "sell"
    price = "" if order.price is None else f" filled at {order.price:.6g}"
    return f"{side} {abs(order.size):.6g} of {time_text(order.decided)}{price}"
