"""The record of trades: round trips of several orders, with closed-form prices and profits."""

from __future__ import annotations

from types import SimpleNamespace

import pandas as pd
import pytest

from models.recorded import RecordedForecasts
from runners.backtesting.engine import Recorder, run_strategy
from runners.backtesting.settings import BacktestSettings
from strategies import LSTMRegimeStrategy

OPEN = [100.0, 102.0, 101.0, 105.0, 104.0, 99.0, 98.0]
CLOSE = [101.0, 103.0, 104.0, 103.0, 100.0, 98.0, 96.0]
UP, DOWN, NEUTRAL = 0.002, -0.002, 0.0
RULE = BacktestSettings(neutral="flat", exposure=0.5, slippage=0)


@pytest.fixture(scope="module")
def recorder() -> Recorder:
    """Two members want 1/2, 1, 1/2, -1/2, -1, -1/2 of the exposure at the first six closes."""
    index = pd.date_range("2024-01-01", periods=len(OPEN), freq="4h", tz="UTC", name="timestamp")
    first = [UP, UP, UP, NEUTRAL, DOWN, DOWN, DOWN]
    second = [NEUTRAL, UP, NEUTRAL, DOWN, DOWN, NEUTRAL, NEUTRAL]
    table = pd.DataFrame({"regime": 1.0, "member_1": first, "member_2": second}, index=index)
    candles = pd.DataFrame(
        {
            "open": OPEN,
            "high": [max(pair) for pair in zip(OPEN, CLOSE, strict=True)],
            "low": [min(pair) for pair in zip(OPEN, CLOSE, strict=True)],
            "close": CLOSE,
            "volume": 1.0,
        },
        index=index,
    )
    models = RecordedForecasts("X", pd.Timedelta("4h"), table)
    rule = {"models": models, "neutral": "flat", "exposure": RULE.exposure}
    return run_strategy(candles, RULE, LSTMRegimeStrategy, rule)


@pytest.fixture(scope="module")
def units(recorder: Recorder) -> SimpleNamespace:
    """Units after each order: ``vote * exposure * equity / close`` of the bar before."""
    equity = recorder.equity()["equity"]
    sizes = [vote * 0.5 * equity.iloc[bar] / CLOSE[bar] for bar, vote in enumerate([0.5, 1, 0.5, -0.5, -1, -0.5])]
    return SimpleNamespace(half=sizes[0], full=sizes[1], left=sizes[2], short=sizes[3], most=sizes[4], few=sizes[5])


def test_the_position_follows_the_vote(recorder: Recorder, units: SimpleNamespace) -> None:
    table = recorder.equity()
    assert table["vote"].tolist() == [0.5, 1, 0.5, -0.5, -1, -0.5, -0.5]
    assert table["position"].tolist() == pytest.approx([0.0, *vars(units).values()])
    assert table["forecast"].iloc[0] == UP / 2


def test_a_trade_that_orders_enlarge_and_reduce_is_one_round_trip(recorder: Recorder, units: SimpleNamespace) -> None:
    (trade,) = recorder.trades().to_dict("records")
    entry = (units.half * OPEN[1] + (units.full - units.half) * OPEN[2]) / units.full
    leave = ((units.full - units.left) * OPEN[3] + units.left * OPEN[4]) / units.full
    assert (trade["direction"], trade["orders"], trade["bars"]) == ("long", 4, 3)
    assert trade["size"] == pytest.approx(units.full)
    assert (trade["entry_price"], trade["exit_price"]) == (pytest.approx(entry), pytest.approx(leave))
    assert trade["pnl"] == pytest.approx(units.full * (leave - entry))
    assert trade["commission"] == pytest.approx(0.001 * units.full * (entry + leave))
    assert trade["net_pnl"] == pytest.approx(trade["pnl"] - trade["commission"])


def test_a_turn_begins_the_next_trade_which_is_valued_at_the_last_close(
    recorder: Recorder, units: SimpleNamespace
) -> None:
    (trade,) = recorder.open_trade().to_dict("records")
    entry = (units.short * OPEN[4] + (units.most - units.short) * OPEN[5]) / units.most
    reduced = units.most - units.few
    assert (trade["direction"], trade["orders"], trade["bars"]) == ("short", 3, 2)
    assert trade["size"] == pytest.approx(-units.most)
    assert trade["entry_price"] == pytest.approx(entry)
    assert trade["exit_price"] == pytest.approx((reduced * OPEN[6] + units.few * CLOSE[6]) / units.most)
    assert trade["pnl"] == pytest.approx(reduced * (OPEN[6] - entry) + units.few * (CLOSE[6] - entry))
    assert trade["commission"] == pytest.approx(-0.001 * (units.most * entry + reduced * OPEN[6]))
    earned = recorder.equity()["equity"].iloc[-1] - RULE.cash - recorder.trades()["net_pnl"].sum()
    assert trade["net_pnl"] == pytest.approx(earned)
