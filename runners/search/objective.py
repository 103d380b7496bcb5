"""Trades a network's validation forecasts, for the objective of a search."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from strategies.array_simulation import SettingsGrid, simulate
from strategies.settings import TradingSettings
from strategies.signals import Market
from training.sharpe import sharpe_ratio


@dataclass(frozen=True)
class ValidationTrade:
    """Trades the forecasts of one network with the rule and costs of a backtest.

    At bars of other regimes its forecast is 0, so that the rule between the thresholds applies there.

    Attributes
    ----------
    open, close
        ``(n_bars,)`` prices up to the end of validation.
    market
        The same bars, for settings with more than the plain rule; without densities, because a search trains none.
    """

    open: np.ndarray
    close: np.ndarray
    trading: TradingSettings
    market: Market | None = None

    def __call__(self, bars: slice, forecast: np.ndarray) -> float | None:
        """Sharpe ratio per bar, after costs, of the forecasts ``(n_bars,)``; None if the account goes bankrupt."""
        trading = self.trading
        grid, market = SettingsGrid.of(trading), self.market.part(bars) if self.market else None
        equity = simulate(self.open[bars], self.close[bars], forecast[:, None], grid, trading.cash, market).equity[:, 0]
        if equity.min() <= 0:
            return None
        return float(sharpe_ratio(equity / np.append(trading.cash, equity[:-1]) - 1))
