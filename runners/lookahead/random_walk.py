"""Random walk: no strategy can earn money on a martingale before costs."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from data.synthetic import martingale_like, with_permuted_columns
from runners.lookahead.outcome import Outcome
from runners.lookahead.returns import strategy_returns, unseen_returns
from runners.lookahead.under_test import UnderTest
from training.trainer import train

_LEVEL = 0.01


def random_walk(under_test: UnderTest, seeds: int, *, quick: bool) -> Outcome:
    """Train and trade on martingales like the candles: the mean return must not differ significantly from 0.

    On a martingale, the sum of all returns over the square root of the sum of their squares is about standard normal
    (de la Peña, Lai and Shao 2009). The sums run over all martingales at once: a rule that earns little often and loses
    much seldom would bias the Sharpe ratio of each alone. ``quick`` trains small networks for a few epochs.
    """
    findings, scope = [], []
    for name, all_returns in _martingale_returns(under_test, seeds, quick=quick):
        returns = np.concatenate(all_returns)
        z = float(returns.sum()) / math.sqrt(float(returns @ returns) or 1.0)
        p_value = math.erfc(abs(z) / math.sqrt(2))
        scope.append(f"{name} on {seeds} martingales: z = {z:+.2f}, p = {p_value:.2g}")
        if p_value < _LEVEL:
            verb = "earns" if z > 0 else "loses"
            findings.append(
                f"{name} {verb} before costs on {seeds} martingales, which nobody can forecast (z = {z:+.1f}, "
                f"p = {p_value:.1g}): it uses future bars, or its orders fill at impossible prices."
            )
    return Outcome("random walk", "; ".join(scope), findings)


def _martingale_returns(under_test: UnderTest, seeds: int, *, quick: bool) -> Iterator[tuple[str, list[np.ndarray]]]:
    """The name of each training and strategy, and its simple returns ``(n_bars,)`` on each martingale."""
    walks = [with_permuted_columns(martingale_like(under_test.candles, seed), seed) for seed in range(seeds)]
    for settings in under_test.trainings:
        changes: dict[str, float] = {"members": 1}  # look-ahead shows in each member
        changes |= {"hidden_dim": 16, "num_layers": 1, "dropout": 0.0, "epochs": 3} if quick else {}
        if settings.train_fraction + settings.validation_fraction >= 1:  # a walk-forward's fold has no test part
            changes |= {name: 0.8 * getattr(settings, name) for name in ("train_fraction", "validation_fraction")}
        changed = settings.model_copy(update=changes)
        all_returns = [unseen_returns(train(walk, "martingale", changed), walk) for walk in walks]
        yield f"training with detector {settings.detector}", all_returns
    for trader in under_test.traders:
        if trader.models is None:  # others trade the trainings above
            yield trader.name, [strategy_returns(walk, trader.strategy, {}) for walk in walks]
