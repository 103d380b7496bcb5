"""Static plots of backtests and comparisons, for pages without scripts."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from models.regimes import regime_name
from runners.backtesting.metrics import drawdown
from runners.report.drawing import subplots, svg
from runners.report.style import (
    HOLDING_COLOUR,
    PRICE_COLOUR,
    RUN_COLOURS,
    STRATEGY_COLOUR,
    regime_colour,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from runners.backtesting.comparison import Comparison
    from runners.backtesting.result import Backtest
    from training.evaluation import Evaluation

_MOST_POINTS = 1500  # of a line


def backtest_svg(result: Backtest) -> str:
    """Equity against buying and holding, drawdown, and the price with its regimes and trades."""
    figure, (equity_axes, drawdown_axes, price_axes) = subplots(
        3, figsize=(10, 8), sharex=True, height_ratios=[2.4, 1.2, 2.8]
    )
    some = _some_bars(len(result.equity))
    time = pd.DatetimeIndex(result.equity.index).tz_convert(None)[some]
    for name, equity, colour in (
        ("strategy", result.equity["equity"].to_numpy(), STRATEGY_COLOUR),
        ("buy and hold", result.holding_equity.to_numpy(), HOLDING_COLOUR),
    ):
        equity_axes.plot(time, equity[some], color=colour, linewidth=1.2, label=name)
        drawdown_axes.plot(time, 100 * drawdown(equity, result.settings.cash)[some], color=colour, linewidth=1)
    equity_axes.yaxis.set_major_formatter("{x:,.0f}")
    equity_axes.set_ylabel("equity (currency)")
    equity_axes.legend(loc="upper left", frameon=False)
    drawdown_axes.set_ylabel("drawdown (%)")
    _draw_price(price_axes, result)
    price_axes.set_xlabel("time (UTC)")
    return svg(figure)


def comparison_svg(compared: Comparison) -> str:
    """Growth and drawdown of each run over the common bars."""
    figure, (growth_axes, drawdown_axes) = subplots(2, figsize=(10, 6), sharex=True, height_ratios=[3, 1.4])
    for number, one in enumerate(compared.runs):
        style = {
            "color": RUN_COLOURS[number % len(RUN_COLOURS)],
            "linestyle": ["-", "--", ":"][number // len(RUN_COLOURS) % 3],
            "linewidth": 1.1,
        }
        some, growth = _some_bars(len(one.growth)), one.growth.to_numpy()
        time = pd.DatetimeIndex(one.growth.index).tz_convert(None)[some]
        growth_axes.plot(time, growth[some], label=one.label, **style)
        drawdown_axes.plot(time, 100 * drawdown(growth, 1.0)[some], **style)
    growth_axes.set_ylabel("equity (1 at the start)")
    growth_axes.legend(loc="upper left", frameon=False, ncols=7)
    drawdown_axes.set_ylabel("drawdown (%)")
    drawdown_axes.set_xlabel("time (UTC)")
    return svg(figure)


def evaluation_svg(evaluation: Evaluation) -> str:
    """Price of the test part with its regimes."""
    figure, axes = subplots(figsize=(10, 4))
    close, regime = evaluation.forecasts["close"], evaluation.forecasts["regime"]
    _draw_regimes(axes, close, regime, lambda number: evaluation.regime_returns.label(regime_name(number)))
    axes.set_xlabel("time (UTC)")
    axes.legend(loc="upper left", framealpha=0, ncols=5, fontsize=8)
    return svg(figure)


def _some_bars(n_bars: int) -> slice:
    """Every bar, or every few of them: a page must not become large because of a picture that few readers see."""
    return slice(None, None, -(-n_bars // _MOST_POINTS))


def _draw_regimes(axes: Axes, close: pd.Series, regime: pd.Series, label: Callable[[int], str]) -> None:
    close, regime = (series.iloc[_some_bars(len(series))] for series in (close, regime))
    time = pd.DatetimeIndex(close.index).tz_convert(None)
    axes.plot(time, close, color=PRICE_COLOUR, linewidth=0.9)
    axes.set_ylabel("close (price)")
    axes.margins(y=0.12)
    regimes = regime.to_numpy()
    for number in np.unique(regimes[np.isfinite(regimes)]).astype(int):
        shaded = regimes == number
        shaded[1:] |= shaded[:-1].copy()  # a regime lasts from its bar to the next
        axes.fill_between(
            time, 0, 1, where=shaded, transform=axes.get_xaxis_transform(), color=regime_colour(number), alpha=0.22,
            linewidth=0, label=label(int(number)),
        )  # fmt: skip


def _draw_price(axes: Axes, result: Backtest) -> None:
    _draw_regimes(axes, result.candles["close"], result.equity["regime"], result.source.regime_label)
    opens = result.candles["open"].tz_convert(None)
    for direction, marker in (("long", "^"), ("short", "v")):
        times = [
            time
            for trades in (result.trades, result.open_trade)
            for time in trades.loc[trades["direction"] == direction, "opened"]
        ]
        if times:
            _mark(axes, times, opens.loc[times], marker=marker, label=f"{direction} opened")
    for direction in result.open_trade["direction"]:
        last = result.candles["close"].iloc[[-1]].tz_convert(None)
        _mark(axes, last.index, last, marker="D", label=f"{direction} still open")
    axes.legend(loc="upper left", framealpha=0, ncols=6, fontsize=8)


def _mark(axes: Axes, times: Any, prices: Any, *, marker: str, label: str) -> None:
    axes.scatter(
        times, prices, marker=marker, label=label, s=26, color="white", edgecolors="black", linewidths=0.9, zorder=3
    )
