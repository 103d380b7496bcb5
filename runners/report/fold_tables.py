"""The table of a walk-forward's folds, for the terminal and the page."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from data.windows import targets
from runners.backtesting.metrics import Metrics, equity_before, metrics_of_part
from runners.formatting import number, percent, percent_earned
from training.resampling import Uncertainty
from training.scores import relative_error

if TYPE_CHECKING:
    from runners.backtesting.result import Backtest

FOLD_COLUMNS = ["fold", "trained on", "from", "to", "bars", "loss", "Sharpe", "return", "holding", "drawdown", "trades"]
_LEAST_YEARS = 0.25  # at which the standard error of an annual Sharpe ratio, one over the root of the years, is 2
_SHORT = (
    "Sharpe ratios in parentheses are of folds shorter than a quarter of a year: their standard error is above 2, so "
    "they say nothing."
)


def folds(result: Backtest) -> list[list[str]]:
    """Rows of `FOLD_COLUMNS` for each fold of a walk-forward, and for all traded bars.

    The loss is the mean squared error of the forecasts of these bars, relative to the zero forecast's. The Sharpe ratio
    of a fold shorter than a quarter of a year is in parentheses.
    """
    cash, equity, holding = result.settings.cash, result.equity, result.holding_equity
    index = pd.DatetimeIndex(equity.index)
    outcome = targets(result.candles["close"].to_numpy())
    rows = []
    for position, fold in enumerate(result.source.folds, start=1):
        bars = index[index.slice_indexer(fold.first_bar, fold.last_bar)]
        here = index.get_indexer(bars)
        metrics = metrics_of_part(equity, result.trades, cash, bars, Uncertainty())
        held = float(holding[bars[-1]]) / equity_before(holding, bars[0], cash) - 1
        span = f"{fold.fit_first:%Y-%m-%d} to {fold.fit_last:%Y-%m-%d}"
        loss = relative_error(equity["forecast"].to_numpy()[here], outcome[here])
        rows.append([str(position), span, *_traded(bars, loss, metrics, held)])
    if rows:
        loss = relative_error(equity["forecast"].to_numpy(), outcome)
        rows.append(["all", "", *_traded(index, loss, result.metrics, result.holding.total_return)])
    return rows


def fold_notes(result: Backtest) -> list[str]:
    """A note on short folds, and notes on single ones."""
    sharpes = [row[FOLD_COLUMNS.index("Sharpe")] for row in folds(result)]
    short = [_SHORT] if any(text.startswith("(") for text in sharpes) else []
    numbered = enumerate(result.source.folds, start=1)
    return [*short, *(f"Fold {position}: {note}" for position, fold in numbered for note in fold.notes)]


def _traded(bars: pd.DatetimeIndex, loss: float | None, metrics: Metrics, holding: float) -> list[str]:
    sharpe = number(metrics.sharpe)
    return [
        f"{bars[0]:%Y-%m-%d}",
        f"{bars[-1]:%Y-%m-%d}",
        f"{len(bars):,}",
        number(loss, 4),
        sharpe if metrics.years >= _LEAST_YEARS else f"({sharpe})",
        percent_earned(metrics.total_return),
        percent_earned(holding),
        percent(metrics.max_drawdown),
        f"{metrics.trades:,}",
    ]
