"""Plots of backtests and comparisons as SVG, and of evaluations as PNG."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from data.windows import targets
from models.regimes import regime_name
from runners.backtesting.metrics import drawdown
from runners.report.drawing import align, png, subplots, svg
from runners.report.style import (
    HOLDING_COLOUR,
    PRICE_COLOUR,
    RUN_COLOURS,
    STRATEGY_COLOUR,
    regime_colour,
    use_log_scale,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from models.model_set import ModelSet
    from runners.backtesting.comparison import Comparison
    from runners.backtesting.result import Backtest
    from training.evaluation import Evaluation


_FEWEST_TO_SPLIT = 50  # five bars per decile
_TIME_MARGIN = 0.02  # fraction of the time axis, on each side


def backtest_svgs(result: Backtest) -> dict[str, str]:
    """SVG of equity, linear and logarithmic, and of drawdown and price, with aligned time axes."""
    figures = {
        "equity_linear": _equity(result, log=False),
        "equity_log": _equity(result, log=True),
        "price": _drawdown_over_price(result),
    }
    align(list(figures.values()))
    return {name: svg(figure, tight=False) for name, figure in figures.items()}


def _equity(result: Backtest, *, log: bool) -> Figure:
    """Equity against buying and holding."""
    figure, axes = subplots(figsize=(10, 3.6))
    time = pd.DatetimeIndex(result.equity.index).tz_convert(None)
    axes.plot(time, result.equity["equity"], color=STRATEGY_COLOUR, linewidth=1.2, label="strategy")
    axes.plot(time, result.holding_equity, color=HOLDING_COLOUR, linewidth=1.2, label="buy and hold")
    if log:
        use_log_scale(axes, "{x:,.0f}")
    else:
        axes.yaxis.set_major_formatter("{x:,.0f}")
    axes.set_ylabel(f"equity (currency{', log scale' if log else ''})")
    axes.set_xlabel("time (UTC)")
    axes.legend(loc="upper left", frameon=False)
    axes.margins(x=_TIME_MARGIN)
    return figure


def _drawdown_over_price(result: Backtest) -> Figure:
    """Drawdown above the price with its regimes and trades."""
    figure, (drawdown_axes, price_axes) = subplots(2, figsize=(10, 6), sharex=True, height_ratios=[1.4, 3])
    time = pd.DatetimeIndex(result.equity.index).tz_convert(None)
    for equity, colour in ((result.equity["equity"], STRATEGY_COLOUR), (result.holding_equity, HOLDING_COLOUR)):
        drawdown_axes.plot(time, 100 * drawdown(equity.to_numpy(), result.settings.cash), color=colour, linewidth=1)
    drawdown_axes.set_ylabel("drawdown (%)")
    drawdown_axes.margins(x=_TIME_MARGIN)
    _draw_price(price_axes, result)
    price_axes.set_xlabel("time (UTC)")
    price_axes.margins(x=_TIME_MARGIN)
    return figure


def deciles_svg(result: Backtest) -> str | None:
    """Mean outcome per decile of the run's forecasts; None if there are too few, or fewer than 10 different ones."""
    outcome = targets(result.candles["close"].to_numpy())
    table = pd.DataFrame({"forecast": result.equity["forecast"].to_numpy(), "outcome": outcome}).dropna()
    if len(table) < _FEWEST_TO_SPLIT or table["forecast"].nunique() < 10:
        return None
    return svg(_deciles(table["forecast"], table["outcome"]))


def comparison_svg(compared: Comparison) -> str:
    """Growth and drawdown of each run over the common bars."""
    figure, (growth_axes, drawdown_axes) = subplots(2, figsize=(10, 6), sharex=True, height_ratios=[3, 1.4])
    for number, one in enumerate(compared.runs):
        style = {
            "color": RUN_COLOURS[number % len(RUN_COLOURS)],
            "linestyle": ["-", "--", ":"][number // len(RUN_COLOURS) % 3],
            "linewidth": 1.1,
        }
        time = pd.DatetimeIndex(one.growth.index).tz_convert(None)
        growth_axes.plot(time, one.growth, label=one.label, **style)
        drawdown_axes.plot(time, 100 * drawdown(one.growth.to_numpy(), 1.0), **style)
    growth_axes.set_ylabel("equity (1 at the start)")
    growth_axes.legend(loc="upper left", frameon=False, ncols=7)
    drawdown_axes.set_ylabel("drawdown (%)")
    drawdown_axes.set_xlabel("time (UTC)")
    return svg(figure)


def _draw_regimes(axes: Axes, close: pd.Series, regime: pd.Series, label: Callable[[int], str]) -> None:
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


def forecast_png(evaluation: Evaluation) -> bytes:
    """Mean outcome per decile of the experts' forecasts."""
    return png(_deciles(evaluation.forecasts["experts"], evaluation.forecasts["outcome"]))


def _deciles(forecast: pd.Series, outcome: pd.Series) -> Figure:
    """Mean outcome per decile of the forecasts, with its 95 % interval."""
    decile = pd.qcut(forecast.rank(method="first"), 10, labels=False)
    by_decile = pd.DataFrame({"forecast": forecast, "outcome": outcome}).groupby(decile)
    mean, error = 1e4 * by_decile.mean(), 1e4 * by_decile["outcome"].sem()
    figure, axes = subplots(figsize=(7, 4.5))
    axes.errorbar(mean["forecast"], mean["outcome"], 1.96 * error, fmt="o", color=STRATEGY_COLOUR, capsize=3)
    limits = mean["forecast"].min(), mean["forecast"].max()
    axes.plot(limits, limits, color=HOLDING_COLOUR, linewidth=1, label="outcome = forecast")
    axes.axhline(0, color=PRICE_COLOUR, linewidth=0.6)
    axes.set_xlabel("mean forecast of a decile (log return, basis points)")
    axes.set_ylabel("mean outcome with 95 % interval (log return, bp)")
    axes.legend(frameon=False)
    return figure


def regimes_png(evaluation: Evaluation) -> bytes:
    """Price of the test part with its regimes."""
    figure, axes = subplots(figsize=(10, 4))
    close, regime = evaluation.forecasts["close"], evaluation.forecasts["regime"]
    _draw_regimes(axes, close, regime, lambda number: evaluation.regime_returns.label(regime_name(number)))
    axes.set_xlabel("time (UTC)")
    axes.legend(loc="upper left", framealpha=0, ncols=5, fontsize=8)
    return png(figure)


def losses_png(model_set: ModelSet) -> bytes:
    """Training and validation loss per epoch of each network's members, and each one's best epoch."""
    experts = [*model_set.experts.values(), model_set.all_regimes]
    figure, grid = subplots(1, len(experts), figsize=(3 * len(experts), 3.2), squeeze=False)
    for axes, expert in zip(grid[0], experts, strict=True):
        for number, member in enumerate(expert.training["members"]):
            for part, colour in (("train", HOLDING_COLOUR), ("validation", STRATEGY_COLOUR)):
                losses = member[f"{part}_losses"]
                axes.plot(range(1, len(losses) + 1), losses, color=colour, label=None if number else part)
            axes.axvline(member["best_epoch"], color=PRICE_COLOUR, linewidth=0.6, linestyle="--")
        axes.set_title(model_set.regime_returns.label(expert.name), fontsize=9)
        axes.set_xlabel("epoch")
    grid[0][0].set_ylabel("squared error relative to forecast 0")
    grid[0][0].legend(frameon=False)
    return png(figure)
