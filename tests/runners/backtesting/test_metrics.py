from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from runners.backtesting.engine import TRADE_COLUMNS
from runners.backtesting.metrics import (
    Metrics,
    bars_per_year,
    drawdown,
    equity_before,
    equity_returns,
    metrics_of,
    metrics_of_part,
    simple_returns,
)
from training.resampling import Returns, resample


def metrics_of_curve(
    equity: list[float], cash: float, *, position: list[float] | None = None, pnl: tuple[float, ...] = ()
) -> Metrics:
    """Figures of a daily equity curve; the last bar trades twice the mean equity, for a commission of 7."""
    index = pd.date_range("2023-01-01", periods=len(equity), freq="D", tz="UTC", name="timestamp")
    table = pd.DataFrame({"equity": equity, "position": position or [1.0] * len(equity)}, index=index)
    last = [0.0] * (len(equity) - 1)
    table = table.assign(traded=[*last, 2 * float(np.mean(equity))], commission=[*last, 7.0], borrowing=0.0)
    trades = pd.DataFrame({name: [0.0] * len(pnl) for name in TRADE_COLUMNS}).assign(net_pnl=list(pnl))
    return metrics_of(table, trades, cash)


def test_figures_of_a_short_curve_equal_their_formulas() -> None:
    equity = [110.0, 99.0, 108.9, 130.68, 104.544]
    metrics = metrics_of_curve(equity, 100.0)
    returns = np.array([0.1, -0.1, 0.1, 0.2, -0.2])
    assert metrics.bars_per_year == pytest.approx(365.25)
    assert metrics.sharpe == pytest.approx(returns.mean() / returns.std(ddof=1) * math.sqrt(365.25))
    assert metrics.volatility == pytest.approx(returns.std(ddof=1) * math.sqrt(365.25))
    assert metrics.max_drawdown == pytest.approx(104.544 / 130.68 - 1)
    assert metrics.cagr == pytest.approx(1.04544 ** (365.25 / 5) - 1)
    assert metrics.calmar == pytest.approx(metrics.cagr / 0.2)
    downside = math.sqrt(np.mean(np.minimum(returns, 0) ** 2))
    assert metrics.sortino == pytest.approx(returns.mean() / downside * math.sqrt(365.25))
    assert metrics.total_return == pytest.approx(0.04544)
    assert metrics.costs == 7
    assert metrics.turnover == pytest.approx(2 / (5 / 365.25))


def test_a_loss_on_the_first_bar_is_a_drawdown_from_the_cash() -> None:
    assert metrics_of_curve([80.0, 90.0, 100.0], 100.0).max_drawdown == pytest.approx(-0.2)


def test_an_equity_near_one_is_not_treated_as_returns() -> None:
    metrics = metrics_of_curve([1.2, 0.9, 1.1], 1.0)
    assert (metrics.max_drawdown, metrics.total_return) == (pytest.approx(-0.25), pytest.approx(0.1))


def test_figures_do_not_depend_on_the_unit_of_currency() -> None:
    dollars, coins = (
        metrics_of_curve([unit * value for value in (110.0, 99.0, 108.9, 130.68, 104.544)], 100.0 * unit, pnl=pnl)
        for unit, pnl in ((1.0, (500.0, -200.0, 100.0)), (0.001, (0.5, -0.2, 0.1)))
    )
    assert {**coins.to_dict(), "final_value": 104.544} == pytest.approx(dollars.to_dict())


def test_a_constant_equity_has_no_sharpe_ratio_and_gives_no_warning() -> None:
    metrics = metrics_of_curve([100.0] * 10, 100.0, position=[0.0] * 10)
    assert metrics.sharpe is None
    assert metrics.sortino is None
    assert metrics.calmar is None
    assert (metrics.max_drawdown, metrics.cagr, metrics.time_in_market) == (0, 0, 0)


def test_equity_stays_zero_after_a_bankruptcy() -> None:
    equity = np.array([[90.0, 100.0], [-10.0, 110.0], [20.0, 110.0]])
    np.testing.assert_allclose(simple_returns(equity, 100.0), [[-0.1, 0.0], [-1.0, 0.1], [0.0, 0.0]])
    np.testing.assert_allclose(drawdown(equity, 100.0), [[-0.1, 0.0], [-1.0, 0.0], [-1.0, 0.0]])
    metrics = metrics_of_curve([120.0, -30.0, -40.0, 60.0], 100.0)
    assert metrics.max_drawdown == -1
    assert (metrics.final_value, metrics.total_return) == (60.0, pytest.approx(-0.4))
    assert metrics.sharpe is not None
    assert metrics.sharpe < 0
    assert metrics.cagr == -1


def test_an_equity_that_never_falls_has_no_sortino_ratio() -> None:
    metrics = metrics_of_curve([100.0, 100.0, 103.0], 100.0)
    assert metrics.sharpe is not None
    assert (metrics.sortino, metrics.max_drawdown) == (None, 0)


def test_an_equity_of_zero_is_a_bankruptcy() -> None:
    assert simple_returns(np.array([50.0, 0.0, 20.0]), 100.0).tolist() == [-0.5, -1.0, 0.0]
    assert drawdown(np.array([50.0, 0.0, 20.0]), 100.0).tolist() == [-0.5, -1.0, -1.0]


@pytest.mark.parametrize("cash", [-10.0, 0.0])
@pytest.mark.parametrize("equity", [[0.0, 0.0], [-5.0, 50.0, 60.0], [50.0, 40.0, 60.0]])
def test_a_part_that_begins_bankrupt_has_no_return(cash: float, equity: list[float]) -> None:
    metrics = metrics_of_curve(equity, cash)
    assert (metrics.total_return, metrics.sharpe, metrics.turnover) == (0.0, None, 0.0)
    assert (metrics.max_drawdown, metrics.drawdown_days) == (0.0, 0.0)


def test_fewer_than_twenty_bars_have_no_track_record() -> None:
    random = np.random.default_rng(0)
    equity = (100 * np.cumprod(1 + 0.01 * random.standard_normal(20))).tolist()
    assert metrics_of_curve(equity[:19], 100.0).track_record() is None
    assert metrics_of_curve(equity[:19], 100.0).probabilistic_sharpe is None
    assert metrics_of_curve(equity, 100.0).track_record() is not None


@pytest.mark.parametrize("lacking", [{"sharpe": None}, {"sharpe_low": None}, {"sharpe_high": None}])
def test_a_record_lacks_nothing_or_is_none(lacking: dict[str, Any]) -> None:
    whole = metrics_of_curve((100 * np.cumprod(1 + 0.01 * np.sin(np.arange(30)))).tolist(), 100.0)
    assert whole.track_record() is not None
    assert replace(whole, **lacking).track_record() is None


def test_the_track_record_is_in_bars_and_the_length_that_it_needs_in_years() -> None:
    moves = 0.001 + 0.01 * np.random.default_rng(1).standard_normal(60)
    metrics = metrics_of_curve((100 * np.cumprod(1 + moves)).tolist(), 100.0)
    interval, record = resample([Returns(moves)], 365.25).sharpe_interval(), metrics.track_record()
    assert interval is not None
    assert record is not None
    assert metrics.sharpe == pytest.approx(moves.mean() / moves.std(ddof=1) * math.sqrt(365.25))
    assert (metrics.sharpe_low, metrics.sharpe_high) == pytest.approx((interval.low, interval.high))
    per_bar = np.array([metrics.sharpe, interval.low, interval.high]) / math.sqrt(365.25)
    assert [record.sharpe, record.low, record.high] == pytest.approx(per_bar)
    assert record.bars == 60
    assert metrics.minimum_years == pytest.approx(record.minimum_length() / 365.25)
    assert metrics.probabilistic_sharpe == record.probabilistic_sharpe()
    centred = moves - moves.mean()
    assert metrics.skewness == pytest.approx(np.mean(centred**3) / moves.std() ** 3)
    assert metrics.kurtosis == pytest.approx(np.mean(centred**4) / moves.std() ** 4)


def test_figures_that_follow_from_others_are_computed_again_when_a_run_is_read() -> None:
    moves = 0.001 + 0.01 * np.random.default_rng(1).standard_normal(60)
    metrics = metrics_of_curve((100 * np.cumprod(1 + moves)).tolist(), 100.0)
    written = metrics.to_dict() | {"probabilistic_sharpe": 0.9, "minimum_years": 1.0}  # of an earlier version
    assert Metrics.from_dict(written).to_dict() == metrics.to_dict()


def test_win_rate_and_profit_factor_are_after_costs() -> None:
    metrics = metrics_of_curve([100.0, 101.0, 102.0], 100.0, position=[0.0, 2.0, -2.0], pnl=(5.0, -2.0, 1.0))
    assert (metrics.trades, metrics.open_trades) == (3, 1)
    assert metrics.win_rate == pytest.approx(2 / 3)
    assert metrics.profit_factor == pytest.approx(3)
    assert metrics.time_in_market == pytest.approx(2 / 3)
    even = metrics_of_curve([100.0, 100.0], 100.0, pnl=(0.0, 0.5, -1.0, -3.0))
    assert (even.win_rate, even.profit_factor) == (pytest.approx(1 / 4), pytest.approx(1 / 8))


@pytest.mark.parametrize(("position", "open_trades"), [(1.0, 1), (-1.0, 1), (0.5, 1), (-0.25, 1), (0.0, 0)])
def test_a_position_at_the_end_is_an_open_trade(position: float, open_trades: int) -> None:
    held = [0.0, 1.0 - open_trades, position]
    assert metrics_of_curve([100.0, 101.0, 102.0], 100.0, position=held).open_trades == open_trades


def test_bars_per_year_are_counted(sp500: pd.DataFrame) -> None:
    assert bars_per_year(sp500.index) == pytest.approx(5030 / 20, rel=0.001)
    four_hours = pd.date_range("2022-01-01", periods=2192, freq="4h", tz="UTC")
    assert bars_per_year(four_hours) == pytest.approx(6 * 365.25)


def test_the_first_return_is_measured_from_the_cash() -> None:
    returns = equity_returns(pd.Series([110.0, 99.0], pd.date_range("2023-01-01", periods=2, tz="UTC")), 100.0)
    assert returns.tolist() == pytest.approx([0.1, -0.1])
    assert returns.index.tolist() == [pd.Timestamp("2023-01-01"), pd.Timestamp("2023-01-02")]


def test_the_longest_drawdown_runs_from_a_peak_to_the_last_bar_below_it() -> None:
    assert metrics_of_curve([110.0, 100.0, 105.0, 111.0, 108.0], 100.0).drawdown_days == 2
    assert metrics_of_curve([90.0, 95.0, 99.0, 101.0], 100.0).drawdown_days == 2
    assert metrics_of_curve([101.0, 102.0, 103.0], 100.0).drawdown_days == 0


def test_metrics_of_a_part_use_its_bars_and_the_trades_closed_in_it() -> None:
    index = pd.date_range("2023-01-01", periods=6, freq="D", tz="UTC", name="timestamp")
    equity = pd.Series([100.0, 110.0, 121.0, 108.9, 119.79, 50.0], index)
    table = pd.DataFrame({"equity": equity, "position": 1.0, "traded": 0.0, "commission": 2.0, "borrowing": 3.0})
    closed = index.tz_localize(None)
    trades = pd.DataFrame({name: [0.0] * 6 for name in TRADE_COLUMNS}).assign(
        closed=closed, net_pnl=[1, 2, 4, 8, 16, 32]
    )
    part = metrics_of_part(table, trades, 100.0, index[2:5])
    assert (part.bars, part.trades, part.costs, part.borrowing) == (3, 3, 6.0, 9.0)
    assert part.total_return == pytest.approx(119.79 / 110 - 1)
    assert metrics_of_part(table, trades, 100.0, index[:2]).total_return == pytest.approx(0.1)
    assert metrics_of_part(table, trades, 100.0, index[:2]).trades == 2


def test_equity_before_a_bar_is_the_close_before_it_or_the_cash() -> None:
    index = pd.date_range("2023-01-01", periods=4, freq="D", tz="UTC")
    equity = pd.Series([101.0, 102.0, 103.0, 104.0], index)
    assert [equity_before(equity, bar, 100.0) for bar in index] == [100.0, 101.0, 102.0, 103.0]


def test_turnover_is_the_value_traded_per_year_over_mean_equity() -> None:
    metrics = metrics_of_curve([100.0, 120.0, 140.0], 100.0)
    assert metrics.turnover == pytest.approx(2 * 365.25 / 3)
    assert metrics_of_curve([-1.0, -1.0], 100.0).turnover == 0
