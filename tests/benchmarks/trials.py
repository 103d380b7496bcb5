"""Is the expected best of so many trials without skill as high as they make it? ``python -m tests.benchmarks.trials``

Each line is a kind of trials without skill and costs: the mean over many draws of the best Sharpe ratio, and of what
`expected_best_sharpe` gives for the number of independent trials that they count as, and for the number of all. Ratios
are in standard errors of one, which is one over the root of the bars.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import pandas as pd

from runners.backtesting.grid import Grid, simulate_grid
from runners.backtesting.metrics import simple_returns
from strategies.settings import AXES, TradingSettings
from training.independence import MeanCorrelation, independent_trials, return_hashes
from training.sharpe import expected_best_sharpe, sharpe_ratio

_BARS, _DRAWS = 1500, 400
_CASH = 100_000.0


def main() -> None:
    correlated = [(5, 0.9), (10, 0.5), (100, 0.9), (1000, 0.0), (1000, 0.5), (1000, 0.9), (1000, 0.99)]
    kinds: dict[str, Callable[[np.random.Generator], np.ndarray]] = {
        f"{trials:,} of correlation {correlation:g}": partial(_correlated, trials, correlation)
        for trials, correlation in correlated
    }
    kinds["10 groups of 30, 0.9 inside"] = _in_groups
    kinds["400 thresholds, hold"] = partial(_thresholds, "hold", 1)
    kinds["400 thresholds, flat"] = partial(_thresholds, "flat", 1)
    kinds["400 thresholds, 5 members"] = partial(_thresholds, "hold", 5)
    print(f"{'trials':30} {'different':>9} {'count as':>8} {'true best':>9} {'ours':>6} {'as all':>6}")
    for name, draw in kinds.items():
        random = np.random.default_rng(0)
        rows = np.array([_figures(draw(random)) for _ in range(_DRAWS)])
        different, effective, best, ours, as_all = rows.mean(axis=0)
        print(f"{name:30} {different:9,.0f} {effective:8,.1f} {best:9.2f} {ours:6.2f} {as_all:6.2f}", flush=True)


def _figures(returns: np.ndarray) -> tuple[float, float, float, float, float]:
    """Different trials, independent ones, the best ratio, and the expected best of the independent and of all."""
    _, first = np.unique(return_hashes(returns), return_index=True)
    returns = returns[:, first]
    mean = MeanCorrelation(len(returns))
    mean.add(returns)
    sharpe = sharpe_ratio(returns) * np.sqrt(len(returns))
    effective, variance = max(independent_trials(mean.value, len(first)), 1.0), max(float(sharpe.var(ddof=1)), 1.0)
    expected = (expected_best_sharpe(number, variance) for number in (effective, len(first)))
    return (len(first), effective, float(sharpe.max()), *expected)


def _correlated(trials: int, correlation: float, random: np.random.Generator) -> np.ndarray:
    common, own = random.normal(0, 0.01, (_BARS, 1)), random.normal(0, 0.01, (_BARS, trials))
    return np.sqrt(correlation) * common + np.sqrt(1 - correlation) * own


def _in_groups(random: np.random.Generator) -> np.ndarray:
    return np.hstack([_correlated(30, 0.9, random) for _ in range(10)])


def _thresholds(neutral: str, members: int, random: np.random.Generator) -> np.ndarray:
    """The rule with a grid of thresholds, on forecasts that know nothing of the prices."""
    close = 100 * np.exp(np.cumsum(random.normal(0, 0.01, _BARS)))
    bars = pd.DataFrame({"open": np.append(100.0, close[:-1]), "close": close})
    common, own = random.normal(0, 0.001, (_BARS, 1)), random.normal(0, 0.001, (_BARS, members))
    edges = np.linspace(0, 0.003, 20)
    values = {name: [getattr(TradingSettings(), name)] for name in AXES}
    free = {name: [0.0] for name in ("commission", "slippage", "borrow_rate")}
    grid = Grid.of({**values, **free, "long_threshold": edges, "short_threshold": -edges, "neutral": [neutral]})
    parts = simulate_grid(bars, common + own if members > 1 else own, grid, _CASH)
    return np.hstack([simple_returns(simulated.equity, _CASH) for _, simulated in parts])


if __name__ == "__main__":
    main()
