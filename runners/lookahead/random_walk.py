"""Null: where no one can earn, before costs nothing must be earned."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from data.synthetic import martingale_like
from runners.lookahead.outcome import Outcome
from runners.lookahead.returns import strategy_returns, unseen_returns
from runners.lookahead.target import Subject
from strategies import LSTMRegimeStrategy
from training.settings import TrainSettings
from training.sharpe import sharpe_ratio
from training.trainer import train

_LEVEL = 0.01


def null(subject: Subject, seeds: int, *, quick: bool) -> Outcome:
    """Train and trade on martingales like the candles: the mean Sharpe ratio must not be told from zero.

    Every Sharpe ratio a bar, times the root of its bars, is about standard normal there; so is their sum over
    the root of their number.

    Parameters
    ----------
    quick
        Train small networks for a few epochs; what could look ahead is the same.
    """
    findings, looked_at = [], []
    for name, all_returns in _traded(subject, seeds, quick=quick):
        scores = [float(sharpe_ratio(returns)) * math.sqrt(len(returns)) for returns in all_returns]
        z = sum(scores) / math.sqrt(len(scores))
        p_value = math.erfc(abs(z) / math.sqrt(2))
        looked_at.append(f"{name} on {seeds} martingales: z = {z:+.2f}, p = {p_value:.2g}")
        if p_value < _LEVEL:
            how = "earns" if z > 0 else "loses"
            findings.append(
                f"{name} {how} before costs on {seeds} martingales, where nothing can be foreseen (z = {z:+.1f}, "
                f"p = {p_value:.1g}): it knows bars that it should not, or its fills are not the market's."
            )
    return Outcome("null", "; ".join(looked_at), findings)


def _traded(subject: Subject, seeds: int, *, quick: bool) -> Iterator[tuple[str, list[np.ndarray]]]:
    """What is traded, and its returns a bar on each martingale."""
    walks = [martingale_like(subject.candles, seed) for seed in range(seeds)]
    for settings in subject.trainings:
        used = _with_test_part(_small(settings) if quick else settings)
        all_returns = [unseen_returns(train(walk, "martingale", used), walk) for walk in walks]
        yield f"training with detector {settings.detector}", all_returns
    for strategy, parameters in subject.strategies:
        if not issubclass(strategy, LSTMRegimeStrategy):  # a model set's strategy is trained and traded above
            yield strategy.__name__, [strategy_returns(walk, strategy, parameters) for walk in walks]


def _with_test_part(settings: TrainSettings) -> TrainSettings:
    """The same with a fifth of the bars to test on, where they leave none, as a walk-forward's fold does."""
    if settings.train_fraction + settings.validation_fraction < 1:
        return settings
    shares = ("train_fraction", "validation_fraction")
    return settings.model_copy(update={name: 0.8 * getattr(settings, name) for name in shares})


def _small(settings: TrainSettings) -> TrainSettings:
    return settings.model_copy(update={"hidden_dim": 16, "num_layers": 1, "dropout": 0.0, "epochs": 3})
