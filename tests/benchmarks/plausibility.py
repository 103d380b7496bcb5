"""Measures what `training.plausibility` bounds, and the false alarms of the random walk check.

``python -m tests.benchmarks.plausibility CSV ...`` prints the figures of docs/look_ahead.md in a minute. Each CSV holds
candles of a market.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable

import numpy as np

from data.candles import read_candles
from data.features import FEATURES, log_returns
from data.synthetic import VISIBLE, martingale_like
from training.plausibility import MOST_CORRELATED, MOST_EXPLAINED, input_skills

_INPUTS = [name for name in FEATURES if not name.startswith(("hour_", "day_"))]
_SEEDS = range(5)
_GROUPS, _SEEDS_OF_GROUP, _BARS = 3000, 8, 1000
_LEVEL_Z = 2.576  # two-sided, 1 %

Positions = Callable[[np.ndarray], np.ndarray]


def main(files: list[str]) -> None:
    markets = [read_candles(file) for file in files]
    walks = [martingale_like(candles, seed) for candles in markets for seed in _SEEDS]
    edges = [VISIBLE.candles(4000, seed) for seed in _SEEDS]
    for name, series in (("markets", markets), ("martingales", walks), ("planted edge", edges)):
        skills = [skill for candles in series for skill in input_skills(candles, _INPUTS)]
        correlated = [abs(skill.correlation) for skill in skills]
        explained = [skill.explained for skill in skills if skill.name.startswith("the change")]
        print(
            f"{name}: {len(skills)} inputs; IC at most {max(correlated):.2f}, above the bound "
            f"{np.mean(np.array(correlated) > MOST_CORRELATED):.1%}; explained at most {max(explained):.1%}, above the "
            f"bound {np.mean(np.array(explained) > MOST_EXPLAINED):.1%}"
        )
    size = np.abs(log_returns(markets[0]["close"].to_numpy())[1:])
    for rule in (hold, take_profit, take_profit_and_stop, average_down):
        print(f"random walk, {rule.__name__}: {_alarms(rule, size):.1%} false alarms at the 1 % level")


def _alarms(rule: Positions, size: np.ndarray) -> float:
    """Share of groups of martingales, with moves of these sizes ``(n_bars,)``, on which a rule earns significantly."""
    random, alarms = np.random.default_rng(0), []
    for _ in range(6):
        first = int(random.integers(len(size) - _BARS))
        move = size[first : first + _BARS, None]
        up = random.random((_BARS, _GROUPS * _SEEDS_OF_GROUP // 6)) < 1 / (1 + np.exp(move))
        returns = np.expm1(np.where(up, move, -move))
        earned = (rule(returns) * returns).reshape(_BARS, -1, _SEEDS_OF_GROUP)
        z = earned.sum(axis=(0, 2)) / np.sqrt((earned**2).sum(axis=(0, 2)))
        alarms.append(np.abs(z) > _LEVEL_Z)
    return float(np.mean(alarms))


def hold(returns: np.ndarray) -> np.ndarray:
    """Always long; a rule maps simple returns ``(n_bars, n_series)`` to the positions during each bar."""
    return np.ones_like(returns)


def take_profit(returns: np.ndarray, profit: float = 0.03, loss: float = math.inf) -> np.ndarray:
    """Long until a profit of 3 %, or a loss; then one bar without a position."""
    positions, held = np.zeros_like(returns), np.ones(returns.shape[1], dtype=bool)
    growth = np.ones(returns.shape[1])
    for bar, now in enumerate(returns):
        positions[bar] = held
        growth = np.where(held, growth * (1 + now), 1.0)
        held = ~held | ((growth < 1 + profit) & (growth > 1 - loss))
    return positions


def take_profit_and_stop(returns: np.ndarray) -> np.ndarray:
    """`take_profit` with a stop at a loss of 1 %."""
    return take_profit(returns, loss=0.01)


def average_down(returns: np.ndarray) -> np.ndarray:
    """Buy another tenth after each fall of 2 %, up to eight; start again with one after a profit of 2 %."""
    positions, price = np.zeros_like(returns), np.ones(returns.shape[1])
    units, cost = np.ones(returns.shape[1]), np.ones(returns.shape[1])
    for bar, now in enumerate(returns):
        positions[bar] = 0.1 * units
        price = price * (1 + now)
        mean = cost / units
        closes, adds = price > 1.02 * mean, (price < mean * (1 - 0.02 * units)) & (units < 8)
        cost = np.where(closes, price, np.where(adds, cost + price, cost))
        units = np.where(closes, 1.0, np.where(adds, units + 1, units))
    return positions


if __name__ == "__main__":
    main(sys.argv[1:])
