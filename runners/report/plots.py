"""Plots of a backtest, as PNG."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from models.regimes import regime_name
from runners.report.style import (
    HOLDING_COLOUR,
    PRICE_COLOUR,
    STRATEGY_COLOUR,
    regime_colour,
    use_plain_style,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from runners.simulation import Backtest


def overview_png(result: Backtest) -> bytes:
    """Equity against holding, drawdown, and the price with its regimes and trades, over one time axis."""
    use_plain_style()
    import matplotlib.pyplot as plt

    figure, (equity_axes, drawdown_axes, price_axes) = plt.subplots(
        3, 1, figsize=(10, 9), sharex=True, height_ratios=[3, 1.4, 3], layout="constrained"
    )
    time = pd.DatetimeIndex(result.equity.index).tz_convert(None)
    equity, holding = result.equity["equity"].to_numpy(), result.holding_equity.to_numpy()
    for values, label, colour in ((equity, "strategy", STRATEGY_COLOUR), (holding, "buy and hold", HOLDING_COLOUR)):
        equity_axes.plot(time, values, color=colour, linewidth=1.2, label=label)
        peak = np.maximum.accumulate(np.append(result.settings.cash, values))[1:]
        drawdown_axes.plot(time, 100 * (values / peak - 1), color=colour, linewidth=1)
    equity_axes.set_ylabel("equity (currency)")
    equity_axes.legend(loc="upper left", frameon=False)
    drawdown_axes.set_ylabel("drawdown (%)")
    _draw_price(price_axes, result)
    price_axes.set_xlabel("time (UTC)")
    return _png(figure)


def _draw_price(axes: Axes, result: Backtest) -> None:
    time = pd.DatetimeIndex(result.equity.index).tz_convert(None)
    close = result.candles["close"].to_numpy()
    axes.plot(time, close, color=PRICE_COLOUR, linewidth=0.9)
    axes.set_ylabel("close (price)")
    regimes = result.equity["regime"].to_numpy()
    for regime in np.unique(regimes[np.isfinite(regimes)]).astype(int):
        shaded = regimes == regime
        shaded[1:] |= shaded[:-1].copy()  # a regime lasts from its bar to the next
        axes.fill_between(
            time,
            0,
            1,
            where=shaded,
            transform=axes.get_xaxis_transform(),
            color=regime_colour(regime),
            alpha=0.22,
            linewidth=0,
            label=regime_name(regime),
        )
    for direction, marker in (("long", "^"), ("short", "v")):
        of_direction = result.trades[result.trades["direction"] == direction]
        if len(of_direction):
            axes.scatter(
                of_direction["opened"],
                of_direction["entry_price"],
                marker=marker,
                s=26,
                color="white",
                edgecolors="black",
                linewidths=0.9,
                zorder=3,
                label=f"{direction} opened",
            )
    axes.legend(loc="upper left", framealpha=0.85, ncols=5, fontsize=8)
    axes.margins(y=0.12)


def cerebro_png(result: Backtest) -> bytes:
    """Backtrader's own `Cerebro.plot`."""
    import backtrader.plot  # noqa: F401  it asks for a window toolkit when first imported

    use_plain_style()
    figure = result.cerebro.plot(style="line", iplot=False, volume=False)[0][0]
    figure.set_size_inches(14, 8)
    return _png(figure)


def _png(figure: Figure) -> bytes:
    import matplotlib.pyplot as plt

    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=120, bbox_inches="tight")
    plt.close(figure)
    return buffer.getvalue()
