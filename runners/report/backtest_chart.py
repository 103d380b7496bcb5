"""The chart of a backtest: price, equity, drawdown, forecast, regime probabilities and position."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from models.forecaster import intervals, member_forecasts
from models.regimes import regime_number
from runners.backtesting.metrics import drawdown
from runners.backtesting.yardsticks import CURVES, HOLDING
from runners.report.chart_parts import LineStyle
from runners.report.charts import LinkedChart
from runners.report.style import DENSITY_COLOUR, HOLDING_COLOUR, MUTED, YARDSTICK_COLOURS
from runners.report.trades import trade_table

if TYPE_CHECKING:
    from runners.backtesting.result import Backtest


def backtest_chart(result: Backtest) -> LinkedChart:
    """All panes of a backtest; those that it has no values for are left out."""
    regimes = _probabilities(result.forecasts)
    known = result.forecasts["regime"].dropna().astype(int).unique().tolist()
    names = {regime: result.source.regime_label(regime) for regime in sorted({*regimes, *known})}
    chart = LinkedChart(pd.DatetimeIndex(result.equity.index), result.source.interval, names)
    _price(chart, result)
    _equity(chart, result)
    _drawdown(chart, result)
    _forecast(chart, result)
    if regimes:
        chart.probabilities(chart.pane("regime probabilities", 90, "0.0", levels=(0, 1)), regimes)
    _position(chart, result)
    return chart


def _price(chart: LinkedChart, result: Backtest) -> None:
    pane = chart.pane("price, regimes and trades", 320, "0,0.[0000]")
    chart.regimes(pane, result.equity["regime"])
    chart.candles(pane, result.candles)
    trades = trade_table(result)
    if len(trades):
        chart.trades(pane, trades)
    chart.spans(pane, [fold.first_bar for fold in result.source.folds[1:]])


def _equity(chart: LinkedChart, result: Backtest) -> None:
    pane = chart.pane("equity", 220, "0.[0]a", log=True)
    members = result.curves[[name for name in result.curves if str(name).startswith("member_")]]
    if members.shape[1] > 1:
        low = chart.column("members_low", members.min(axis=1))
        high = chart.column("members_high", members.max(axis=1))
        chart.area(pane, "members alone", low, high, colour=MUTED)
    colours = iter(YARDSTICK_COLOURS)
    for name in result.yardsticks:
        if name != HOLDING:
            column = chart.column(CURVES[name], result.curves[CURVES[name]])
            chart.line(pane, name, column, LineStyle(next(colours), 1.0, dash=1, shown=False))
    holding = chart.column("holding", result.holding_equity)
    chart.line(pane, HOLDING, holding, LineStyle(HOLDING_COLOUR))
    equity = chart.column("equity", result.equity["equity"])
    chart.line(pane, "strategy", equity, LineStyle(width=1.8))
    chart.read("equity", equity, "money")
    chart.read(HOLDING, holding, "money")
    chart.spans(pane, [fold.first_bar for fold in result.source.folds[1:]])


def _drawdown(chart: LinkedChart, result: Backtest) -> None:
    pane, cash = chart.pane("drawdown", 100, "0.[0] %", levels=(0,)), result.settings.cash
    for name, equity, style in (
        (HOLDING, result.holding_equity, LineStyle(HOLDING_COLOUR)),
        ("strategy", result.equity["equity"], LineStyle()),
    ):
        column = chart.column(f"drawdown of {name}", drawdown(equity.to_numpy(), cash), "min")
        chart.line(pane, name, column, style)
    chart.read("drawdown", "drawdown of strategy", "percent")


def _forecast(chart: LinkedChart, result: Backtest) -> None:
    rule, members = result.settings, member_forecasts(result.forecasts)
    thresholds = rule.long_threshold, rule.short_threshold
    pane = chart.pane("forecast of the next log return", 130, "0.[00] %", levels=thresholds)
    forecast = chart.column("forecast", members.mean(axis=1), "mean")
    chart.read("forecast", forecast, "points")
    by_share = intervals(result.forecasts)
    if by_share is not None:
        low, high = by_share["0.8"].T
        ends = chart.column("interval_low", low, "mean"), chart.column("interval_high", high, "mean")
        chart.area(pane, "80 % interval", *ends, colour=DENSITY_COLOUR)
        for label, column in zip(("80 % interval from", "to"), ends, strict=True):
            chart.read(label, column, "points")
    lowest, highest = (chart.drawn(f"forecast_{how}", ["forecast"], how) for how in ("min", "max"))
    chart.area(pane, "", lowest, highest, colour=MUTED, alpha=0.5)
    chart.line(pane, "mean of the members", forecast, LineStyle(width=1.0))
    for threshold in thresholds:
        chart.level(pane, threshold)


def _position(chart: LinkedChart, result: Backtest) -> None:
    """The value of the position as a fraction of equity."""
    equity = result.equity
    value = equity["position"].to_numpy() * result.candles["close"].to_numpy()
    share = np.divide(value, equity["equity"], out=np.zeros(len(equity)), where=equity["equity"].to_numpy() > 0)
    pane = chart.pane("position / equity", 80, "0.[0]", levels=(0,), times=True)
    column, zero = chart.column("position", share, "mean"), chart.column("none", np.zeros(len(share)), "mean")
    chart.area(pane, "", zero, column, colour=MUTED, alpha=0.4)
    chart.line(pane, "", column, LineStyle(width=1.0))
    chart.read("position", column, "number")


def _probabilities(forecasts: pd.DataFrame) -> dict[int, pd.Series]:
    """The regimes' probabilities by their number."""
    return {regime_number(str(name)[2:]): forecasts[name] for name in forecasts if str(name).startswith("p_")}
