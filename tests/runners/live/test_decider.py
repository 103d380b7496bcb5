"""Decisions on a paper account, bar by bar, compared with results computed by hand."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from runners.live.bus.stream import Entry
from runners.live.settings import LimitSettings
from runners.live.trading.broker import PaperBroker, order_id
from runners.live.trading.decider import Decision, PositionDecider
from runners.live.trading.risk_limits import RiskLimits
from strategies.array_simulation import SettingsGrid, simulate
from strategies.risk import Day, begin_bar, limited_position
from strategies.rule_settings import DISTANCES
from strategies.settings import TradingSettings
from strategies.signals import Market

_FREE: dict[str, Any] = {"commission": 0.0, "slippage": 0.0, "exposure": 1.0, "cash": 1000.0}
_START = pd.Timestamp("2024-01-01", tz="UTC")
_UP, _DOWN, _CALM = 0.01, -0.01, 0.0


def decider(limits: LimitSettings | None = None, **settings: Any) -> PositionDecider:
    trading = TradingSettings(**{**_FREE, **settings})
    interval = pd.Timedelta(hours=4)
    return PositionDecider(
        trading, limits or LimitSettings(), PaperBroker(trading), "BTC/USDT", "4h", interval, bars_per_year=2191.5
    )


def entry(number: int, open_: float, close: float, forecast: float | list[float] | None) -> Entry:
    """A forecast of one member as version 0.1 wrote it, or of several members."""
    members = {"members": forecast} if isinstance(forecast, list) else {}
    mean = float(np.mean(forecast)) if isinstance(forecast, list) else forecast
    known = {"regime": None if forecast is None else 1, "log_return": mean, "models": "run"}
    return Entry(_START + number * pd.Timedelta(hours=4), {"open": open_, "close": close, **known, **members})


def decided(one: PositionDecider, *bars: tuple[float, float, float | list[float] | None]) -> list[Decision]:
    return [one.decide(entry(number, *bar)) for number, bar in enumerate(bars)]


def at_100(one: PositionDecider, *forecasts: list[float]) -> list[Decision]:
    """Decisions on bars with the price 100, where the equity stays 1000 and a full position is 10 units."""
    return decided(one, *((100, 100, forecast) for forecast in forecasts))


def continued(before: PositionDecider, after: PositionDecider, **lacks: None) -> PositionDecider:
    """``after`` with the state that ``before`` committed, without these keys."""
    state = json.loads(json.dumps(before.state()))
    after.restore({key: value for key, value in state.items() if key not in lacks})
    return after


def test_an_order_fills_at_the_next_open_and_earns_from_there() -> None:
    first, second = decided(decider(exposure=0.5), (100, 100, _UP), (125, 150, _CALM))
    assert (first.vote, first.order, first.position, first.equity) == (1, 5.0, 0.0, 1000.0)
    assert (second.vote, second.order, second.position) == (1, 0.0, 5.0)
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
    assert (second.vote, second.order) == (-1, -20.0)
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
    lost = Day(number=1, first_equity=1000.0, lost=True)
    assert begin_bar(lost, 2, 800.0, held=5.0) == Day(2, 800.0, lost=True)
    assert begin_bar(lost, 2, 800.0, held=0.0) == Day(2, 800.0, lost=False)


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
    limits = LimitSettings(max_order=order, max_orders_per_day=n_orders)
    within = limited_position(target, held, close, position)
    units, reasons = RiskLimits(limits, opened=opened).limit(within, held, close)
    same_side = held * target > 0
    kept = abs(held) if same_side else 0.0
    assert units * target >= 0
    assert abs(units) <= abs(target) * (1 + 1e-12)
    assert abs(units) * close <= max(position, kept * close) * (1 + 1e-9)
    assert (abs(units) - kept) * close <= order * (1 + 1e-9)
    if opened >= n_orders:
        assert abs(units) <= kept
    assert bool(reasons) == (abs(units) < abs(within))


def test_the_position_is_the_mean_of_the_members_states() -> None:
    votes = [_UP, _UP, _UP, _CALM, _DOWN], [_CALM, _CALM, _DOWN, _CALM, _CALM], [_CALM] * 5
    decisions = at_100(decider(), *votes)
    assert [one.vote for one in decisions] == [2 / 5, 0.0, 0.0]
    assert [one.order for one in decisions] == [4.0, -4.0, 0.0]


def test_an_order_follows_a_change_of_the_vote_only() -> None:
    bars = (100, 100, [_UP, _CALM]), (100, 160, [_CALM, _CALM]), (160, 160, [_DOWN, _UP]), (160, 160, [_UP, _CALM])
    decisions = decided(decider(), *bars)
    assert [one.vote for one in decisions] == [0.5, 0.5, 0.0, 1.0]
    assert [one.order for one in decisions] == [5.0, 0.0, -5.0, 1300 / 160]


_PRICE = st.floats(80, 125)
_BARS = st.lists(st.tuples(_PRICE, _PRICE, st.floats(1, 1.2), st.floats(0.8, 1)), min_size=1, max_size=25)


@given(data=st.data(), prices=_BARS, n_members=st.integers(1, 7), neutral=st.sampled_from(["hold", "flat"]))
def test_a_decider_restored_at_each_bar_trades_as_the_array_simulator(
    data: st.DataObject, prices: list[tuple[float, float, float, float]], n_members: int, neutral: str
) -> None:
    forecasts = st.none() | st.lists(st.sampled_from([_UP, _CALM, _DOWN]), min_size=n_members, max_size=n_members)
    votes = [data.draw(forecasts) for _ in prices]
    settings = {
        "neutral": neutral,
        "exposure": data.draw(st.sampled_from([0.5, 0.95, 1.0, 3.0])),
        "min_order": data.draw(st.sampled_from([0.0, 250.0])),
        "commission": data.draw(st.sampled_from([0.0, 0.01])),
        "slippage": 0.002,
        "funding": data.draw(st.sampled_from([0.0, 0.0003, -0.001])),
        **{name: data.draw(st.sampled_from([0.0, 0.0, 0.03, 0.1])) for name in (*DISTANCES, "max_daily_loss")},
        "max_holding": data.draw(st.sampled_from([0, 0, 3])),
        "max_position": data.draw(st.sampled_from([0.0, 400.0])),
    }
    trading = TradingSettings(**{**_FREE, **settings})
    candles = pd.DataFrame([bar[:2] for bar in prices], columns=["open", "close"]).assign(
        high=[max(bar[:2]) * bar[2] for bar in prices], low=[min(bar[:2]) * bar[3] for bar in prices]
    )
    candles.index = pd.date_range(_START, periods=len(prices), freq="4h")
    members = np.array([vote or [np.nan] * n_members for vote in votes])
    open_, close = candles["open"].to_numpy(), candles["close"].to_numpy()
    market = Market.without_densities(candles) if len(prices) > 1 else None
    assume(market or not SettingsGrid.of(trading).risk)  # one bar has no bars per year
    simulated = simulate(open_, close, members, SettingsGrid.of(trading), trading.cash, market)
    one, decisions = decider(**settings), []
    for number, vote in enumerate(votes):
        bar = entry(number, *prices[number][:2], vote)
        wicks = {name: float(candles[name].iloc[number]) for name in ("high", "low")}
        decisions.append(one.decide(Entry(bar.time, {**bar.values, **wicks})))
        one = continued(one, decider(**settings))
    assert [each.position for each in decisions] == simulated.position[:, 0].tolist()
    assert [each.equity for each in decisions] == simulated.equity[:, 0].tolist()


def test_a_stop_of_a_paper_account_is_a_fill_with_its_setting_s_name() -> None:
    one = decider(stop_loss=0.1)
    decided(one, (100, 100, _UP), (100, 100, _CALM))
    fell = one.decide(
        Entry(_START + pd.Timedelta(hours=8), {**entry(2, 100, 95, _CALM).values, "high": 100, "low": 85})
    )
    assert [(fill.order, fill.units, fill.price) for fill in fell.fills] == [
        ("BTCUSDT-4h-1704067200-stop_loss", -10.0, 90)
    ]
    assert (fell.position, fell.equity) == (0.0, 900.0)


def test_an_order_below_min_order_waits_until_the_vote_has_changed_enough() -> None:
    one = decider(LimitSettings(max_orders_per_day=2), min_order=300.0)
    up = [[_UP] * n_up + [_CALM] * (5 - n_up) for n_up in (3, 4, 0, 5)]
    decisions = at_100(one, *up, [_DOWN, *[_CALM] * 4], [_DOWN] * 5)
    assert [each.order for each in decisions] == pytest.approx([6.0, 0.0, 0.0, 4.0, -4.0, -6.0])
    assert [each.reason for each in decisions] == ["", "min_order", "min_order", "", "", "max_orders_per_day"]


def test_only_orders_that_open_or_enlarge_a_position_are_limited() -> None:
    limits = LimitSettings(max_orders_per_day=1, max_order=700.0)
    spent = RiskLimits(limits, opened=1)
    assert spent.limit(7.0, 8.0, 100.0) == (7.0, [])
    assert spent.limit(9.0, 8.0, 100.0) == (8.0, ["max_orders_per_day"])
    spent.count_order(8.0, 7.0)
    assert spent.opened == 1
    spent.count_order(7.0, 8.0)
    assert spent.opened == 2


def test_without_a_vote_in_the_state_each_member_holds_the_position() -> None:
    """As in a state of version 0.1."""
    before = decider()
    decided(before, (100, 100, _DOWN), (100, 100, _CALM))
    (calm,) = at_100(continued(before, decider(), vote=None, ordered=None), [_CALM] * 5)
    assert (calm.position, calm.vote, calm.order) == (-10.0, -1.0, 0.0)


def test_without_a_vote_in_the_state_a_pending_order_is_still_filled() -> None:
    before = decider()
    decided(before, (100, 100, _UP))
    (calm,) = at_100(continued(before, decider(), vote=None, ordered=None), [_CALM] * 5)
    assert (calm.position, calm.vote, calm.order) == (10.0, 1.0, 0.0)


def test_models_with_another_number_of_members_vote_from_the_position() -> None:
    decisions = at_100(decider(), [_UP, _CALM, _CALM, _CALM, _CALM], [_CALM] * 5, [_CALM, _CALM], [_DOWN, _CALM])
    assert [one.vote for one in decisions] == [0.2, 0.2, 1.0, 0.0]
    assert [one.order for one in decisions] == pytest.approx([2.0, 0.0, 8.0, -10.0])


def test_after_a_stop_the_members_vote_from_flat_states() -> None:
    one = decider()
    at_100(one, [_UP, _CALM], [_DOWN, _UP], [_CALM, _CALM])  # states -1 and 1, without a position
    one.stop("kill switch", _START)
    decisions = at_100(continued(one, decider()), [_CALM, _CALM], [_CALM, _UP])
    assert [each.vote for each in decisions] == [0.0, 0.5]
    assert [each.order for each in decisions] == [0.0, 5.0]


def test_a_position_that_somebody_else_closed_is_opened_again_by_the_next_vote() -> None:
    one = decider()
    at_100(one, [_UP, _CALM], [_CALM, _CALM], [_DOWN, _UP])  # an order to close the position is pending
    one.broker.restore({"cash": 1000.0, "size": 0.0, "entry": 0.0, "order": None, "order_id": "", "fills": []})
    decisions = at_100(one, [_CALM, _CALM], [_UP, _UP])
    assert [each.order for each in decisions] == [0.0, 10.0]


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


@pytest.mark.parametrize("broken", [float("nan"), float("inf"), None])
def test_a_forecast_that_is_not_finite_counts_as_none_and_the_position_stays(broken: float | None) -> None:
    one = decider(neutral="flat")
    bought, held = decided(one, (100, 100, [_UP, _UP]), (100, 100, broken and [_UP, broken]))
    alone = one.decide(entry(2, 100, 100, broken))
    assert (bought.order, held.order, alone.order, alone.position) == (10.0, 0.0, 0.0, 10.0)
    assert (held.log_return, alone.log_return) == (None, None)
    json.dumps(one.state(), allow_nan=False)
