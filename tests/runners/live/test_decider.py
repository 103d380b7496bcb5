"""Decisions on a paper account, bar by bar, compared with results computed by hand."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runners.live.bus.stream import Entry
from runners.live.settings import LimitSettings
from runners.live.trading.broker import Account, PaperBroker, order_id
from runners.live.trading.decider import Decision, PositionDecider
from runners.live.trading.risk_limits import RiskLimits, TradingDay
from strategies.settings import TradingSettings

_FREE: dict[str, Any] = {"commission": 0.0, "slippage": 0.0, "exposure": 1.0, "cash": 1000.0}
_START = pd.Timestamp("2024-01-01", tz="UTC")
_UP, _DOWN, _CALM = 0.01, -0.01, 0.0


def decider(limits: LimitSettings | None = None, **settings: Any) -> PositionDecider:
    trading = TradingSettings(**{**_FREE, **settings})
    return PositionDecider(
        trading, limits or LimitSettings(), PaperBroker(trading), "BTC/USDT", "4h", interval=pd.Timedelta(hours=4)
    )


def entry(number: int, open_: float, close: float, forecast: float | None) -> Entry:
    regime = None if forecast is None else 1
    values = {"open": open_, "close": close, "regime": regime, "log_return": forecast, "models": "run"}
    return Entry(_START + number * pd.Timedelta(hours=4), values)


def decided(one: PositionDecider, *bars: tuple[float, float, float | None]) -> list[Decision]:
    return [one.decide(entry(number, *bar)) for number, bar in enumerate(bars)]


def test_an_order_fills_at_the_next_open_and_earns_from_there() -> None:
    first, second = decided(decider(exposure=0.5), (100, 100, _UP), (125, 150, _CALM))
    assert (first.wanted, first.order, first.position, first.equity) == (1, 5.0, 0.0, 1000.0)
    assert (second.wanted, second.order, second.position) == (1, 0.0, 5.0)
    assert second.equity == 1000 - 5 * 125 + 5 * 150
    (fill,) = second.fills
    assert (fill.order, fill.units, fill.price) == ("BTCUSDT-4h-1704067200", 5.0, 125.0)


def test_costs_are_those_of_the_settings() -> None:
    _, second = decided(decider(exposure=0.5, commission=0.01, slippage=0.02), (100, 100, _UP), (100, 100, _CALM))
    (fill,) = second.fills
    assert (fill.units, fill.price) == (5.0, 102.0)
    assert fill.commission == pytest.approx(5.10)
    assert second.equity == pytest.approx(1000 - 5 * 2 - 5.10)


def test_a_turn_sells_the_position_and_the_same_size_again() -> None:
    _, second, third = decided(decider(), (100, 100, _UP), (100, 100, _DOWN), (100, 100, _CALM))
    assert (second.wanted, second.order) == (-1, -20.0)
    assert third.position == -10.0


def test_without_a_forecast_the_position_stays() -> None:
    decisions = decided(decider(), (100, 100, None), (100, 100, _UP), (100, 100, None))
    assert [one.order for one in decisions] == [0.0, 10.0, 0.0]
    assert decisions[0].regime is None


def test_an_order_without_enough_cash_is_rejected() -> None:
    (only,) = decided(decider(commission=0.01), (100, 100, _UP))
    assert (only.order, only.reason) == (0.0, "not enough cash")


def test_an_order_that_is_too_expensive_at_the_next_open_is_reported_as_unfilled() -> None:
    _, second = decided(decider(), (100, 100, _UP), (200, 200, _CALM))
    assert second.position == 0.0
    assert [(fill.units, fill.reason) for fill in second.fills] == [(0.0, "not enough cash at the open")]


def test_max_position_limits_the_size_of_a_position() -> None:
    one = decider(LimitSettings(max_position=300.0))
    first, second, third = decided(one, (100, 100, _UP), (100, 100, _CALM), (100, 200, _CALM))
    assert (first.order, first.reason) == (3.0, "max_position")
    assert (second.order, second.reason) == (0.0, "")
    assert third.order == 0.0  # a position may grow through its price


def test_max_order_limits_opening_but_not_closing() -> None:
    one = decider(LimitSettings(max_order=300.0))
    first, second = decided(one, (100, 100, _UP), (100, 100, _DOWN))
    assert (first.order, first.reason) == (3.0, "max_order")
    assert second.order == -6.0  # closes 3 and opens 3


def test_after_max_orders_per_day_positions_are_only_closed() -> None:
    one = decider(LimitSettings(max_orders_per_day=1))
    bars = [(100, 100, _UP), (100, 100, _DOWN), (100, 100, _DOWN), *[(100, 100, _CALM)] * 3, (100, 100, _DOWN)]
    decisions = decided(one, *bars)
    assert [one.order for one in decisions] == [10.0, -10.0, 0.0, 0.0, 0.0, 0.0, -10.0]
    assert [one.reason for one in decisions[1:3]] == ["max_orders_per_day"] * 2
    assert decisions[6].reason == ""  # the bar that opens at midnight begins a day


def test_max_daily_loss_closes_the_position() -> None:
    one = decider(LimitSettings(max_daily_loss=0.1))
    bars = [(100, 100, _UP), (100, 91, _CALM), (91, 90, _CALM), (90, 90, _UP), (90, 90, _UP), (90, 90, _UP)]
    decisions = decided(one, *bars, (90, 90, _UP))
    assert [one.order for one in decisions] == [10.0, 0.0, -10.0, 0.0, 0.0, 0.0, 10.0]
    assert [one.reason for one in decisions] == ["", "", *["max_daily_loss"] * 4, ""]


def test_a_daily_loss_counts_until_the_position_is_closed() -> None:
    limits = RiskLimits(LimitSettings(max_daily_loss=0.1), TradingDay("2024-01-01", 1000.0, 1, lost=True))
    limits.start_bar(_START + pd.Timedelta(days=1), 800.0, held=5.0)
    assert limits.limit(5.0, Account(800.0, 5.0), 100.0) == (0.0, ["max_daily_loss"])
    limits.start_bar(_START + pd.Timedelta(days=2), 800.0, held=0.0)
    assert limits.limit(5.0, Account(800.0, 0.0), 100.0) == (5.0, [])


def test_the_first_day_s_loss_is_measured_from_the_account_s_equity() -> None:
    """As at an exchange, where the equity differs from the paper account's cash."""
    one = decider(LimitSettings(max_daily_loss=0.1))
    one.broker.restore({"cash": 50.0, "size": 0.0, "entry": 0.0, "order": None, "order_id": "", "fills": []})
    first, second, third = decided(one, (10, 10, _UP), (10, 9.5, _CALM), (9.5, 8.9, _CALM))
    assert [each.reason for each in (first, second, third)] == ["", "", "max_daily_loss"]
    assert (first.order, third.order) == (5.0, -5.0)


@given(
    target=st.floats(-100, 100),
    held=st.floats(-100, 100),
    close=st.floats(0.01, 1000),
    position=st.floats(1, 1e5),
    order=st.floats(1, 1e5),
    n_orders=st.integers(1, 3),
    opened=st.integers(0, 4),
)
def test_positions_and_orders_stay_within_the_limits(
    target: float, held: float, close: float, position: float, order: float, n_orders: int, opened: int
) -> None:
    limits = LimitSettings(max_position=position, max_order=order, max_orders_per_day=n_orders)
    units, reasons = RiskLimits(limits, TradingDay(opened=opened)).limit(target, Account(1000.0, held), close)
    same_side = held * target > 0
    kept = abs(held) if same_side else 0.0
    assert units * target >= 0
    assert abs(units) <= abs(target) * (1 + 1e-12)
    assert abs(units) * close <= max(position, kept * close) * (1 + 1e-9)
    assert (abs(units) - kept) * close <= order * (1 + 1e-9)
    if opened >= n_orders:
        assert abs(units) <= kept
    assert bool(reasons) == (abs(units) < abs(target))


def test_a_restored_decider_makes_the_same_decisions() -> None:
    bars = [(100, 100, _UP), (101, 102, _CALM), (102, 99, _DOWN), (98, 97, None), (97, 99, _UP), (99, 100, _CALM)]
    limits = LimitSettings(max_orders_per_day=3, max_position=800.0)
    settings = {"commission": 0.001, "slippage": 0.0005, "borrow_rate": 0.0001, "exposure": 0.9}
    through = decided(decider(limits, **settings), *bars)
    again = []
    state: dict[str, Any] | None = None
    for number, bar in enumerate(bars):
        one = decider(limits, **settings)
        one.restore(state)
        again.append(one.decide(entry(number, *bar)))
        state = one.state()
    assert again == through


def test_stopping_sells_at_once_at_the_last_close_with_costs() -> None:
    one = decider(commission=0.01, slippage=0.02, exposure=0.5)
    decided(one, (100, 100, _UP), (100, 110, _CALM))
    before = one.state()["broker"]["cash"]
    last = one.stop("kill switch", _START)
    assert last is not None
    assert (last.position, last.order, last.reason) == (0.0, 0.0, "kill switch")
    assert last.equity == pytest.approx(before + 5 * 110 * 0.98 * 0.99)
    assert [(fill.order, fill.units) for fill in last.fills] == [("BTCUSDT-4h-1704081600-stop", -5.0)]
    assert one.state()["stopped"] == "kill switch"


def test_stopping_drops_an_unfilled_order() -> None:
    one = decider()
    decided(one, (100, 100, _UP))
    last = one.stop("kill switch", _START)
    assert last is not None
    assert (last.order, last.position, last.equity) == (0.0, 0.0, 1000.0)
    assert one.state()["broker"]["order"] is None


def test_stopping_before_the_first_bar_closes_nothing() -> None:
    last = decider().stop("kill switch", _START)
    assert last is not None
    assert (last.order, last.equity) == (0.0, 1000.0)


def test_a_bankrupt_account_sends_no_order() -> None:
    decisions = decided(decider(exposure=2.0), (100, 100, _DOWN), (100, 160, _UP), (160, 160, _UP))
    assert decisions[1].equity < 0
    assert [one.order for one in decisions[1:]] == [0.0, 0.0]


@given(st.sampled_from(["BTC/USDT", "1000SHIB/USDT:USDT", "A-VERY-LONG-SYMBOL-INDEED/USDT:USDT-260327"]))
def test_an_order_s_id_is_valid_for_exchanges(symbol: str) -> None:
    name = order_id(symbol, "4h", _START, "-stop9")
    assert len(name) <= 36
    assert name.replace("-", "").isalnum()
