"""Synthetic returns whose true Sharpe ratio is known."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numba import njit
from scipy.signal import lfilter

BARS_PER_YEAR = 252
VOLATILITY = 0.01  # of the market, per bar
_BURN_IN = 500
_HOLDING_BARS = 10  # mean length of a position, where a strategy is not always in the market


@dataclass(frozen=True)
class Process:
    """Returns of some strategies over the same bars.

    Attributes
    ----------
    autocorrelation
        Of the returns, from one bar to the next.
    alpha, beta
        Of the GARCH(1,1) volatility, which is the market's.
    degrees
        Of Student's t, the distribution of the shocks.
    in_market
        Share of bars with a position; the positions of the strategies are independent.
    """

    name: str
    autocorrelation: float = 0.0
    alpha: float = 0.0
    beta: float = 0.0
    degrees: float = math.inf
    in_market: float = 1.0

    def returns(
        self, n_bars: int, columns: int, sharpe: float, random: np.random.Generator, correlation: float = 0.0
    ) -> np.ndarray:
        """Simple returns ``(n_bars, columns)``, each with this true annualised Sharpe ratio; 0 without a position.

        ``correlation`` is that of the strategies while they have a position.
        """
        per_bar, share = sharpe / math.sqrt(BARS_PER_YEAR), self.in_market
        mean = per_bar * math.sqrt(share / (share**2 + per_bar**2 * (share**2 - share)))
        moves = self.moves(n_bars, columns, random, correlation)
        return (moves + VOLATILITY * mean) * self.positions(n_bars, columns, random)

    def moves(self, n_bars: int, columns: int, random: np.random.Generator, correlation: float) -> np.ndarray:
        """Returns ``(n_bars, columns)`` with the mean 0, always in the market."""
        normal = random.standard_normal((n_bars + _BURN_IN, 1 + columns))
        if math.isfinite(self.degrees):
            normal *= np.sqrt((self.degrees - 2) / random.chisquare(self.degrees, (len(normal), 1)))
        moves = math.sqrt(correlation) * normal[:, :1] + math.sqrt(1 - correlation) * normal[:, 1:]
        if self.alpha:
            moves *= _volatility(normal[:, 0].copy(), self.alpha, self.beta)[:, None]
        if self.autocorrelation:
            moves = lfilter([math.sqrt(1 - self.autocorrelation**2)], [1, -self.autocorrelation], moves, axis=0)
        return VOLATILITY * moves[_BURN_IN:]

    def positions(self, n_bars: int, columns: int, random: np.random.Generator) -> np.ndarray:
        """Whether each strategy has a position, ``(n_bars, columns)``: a Markov chain."""
        inside = np.ones((n_bars, columns), dtype=bool)
        if self.in_market < 1:
            leave, enter = 1 / _HOLDING_BARS, self.in_market / (1 - self.in_market) / _HOLDING_BARS
            for column in inside.T:
                state, bar = bool(random.random() < self.in_market), 0
                while bar < n_bars:
                    length = int(random.geometric(leave if state else enter))
                    column[bar : bar + length] = state
                    state, bar = not state, bar + length
        return inside


INDEPENDENT = Process("independent")
AUTOCORRELATED = Process("autocorrelated", autocorrelation=0.3)
GARCH = Process("GARCH", alpha=0.08, beta=0.90, degrees=8)
STRONG_GARCH = Process("strong GARCH", alpha=0.10, beta=0.88, degrees=7)  # the S&P 500's sum to 1: no fixed variance
SPARSE = Process("sparse", in_market=0.075)
VERY_SPARSE = Process("very sparse", in_market=0.02)


@njit
def _volatility(shocks: np.ndarray, alpha: float, beta: float) -> np.ndarray:
    """Volatility of each bar, with the mean variance 1, of a market with these standardised shocks."""
    variance, volatility = 1.0, np.empty_like(shocks)
    for bar in range(len(shocks)):
        volatility[bar] = math.sqrt(variance)
        variance = 1 - alpha - beta + (alpha * shocks[bar] ** 2 + beta) * variance
    return volatility


def with_trades(n_bars: int, trades: int, in_market: float, random: np.random.Generator) -> np.ndarray:
    """Returns without skill ``(n_bars,)`` of exactly so many positions, together for this share of the bars."""
    inside = max(trades, round(in_market * n_bars))
    lengths = 1 + random.multinomial(inside - trades, random.dirichlet(np.ones(trades)))
    first = np.sort(random.integers(0, n_bars - inside + 1, trades)) + np.cumsum(lengths) - lengths
    returns = np.zeros(n_bars)
    for begin, length in zip(first, lengths, strict=True):
        returns[begin : begin + length] = VOLATILITY * random.standard_t(4, length)
    return returns
