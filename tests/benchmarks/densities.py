"""Scores of predictive densities on real series, over seeds: ``python -m tests.benchmarks.densities``

Options: ``--csv FILE`` (again for each further CSV), ``--seeds N`` (default 5), ``--walk-forward`` (folds over the last
40 % of the bars, in each of which networks, GARCH and linear models are fitted anew, to all bars before it).
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

import numpy as np
import pandas as pd

from data.windows import targets
from models.conformal import adapted_levels
from models.student import StudentMixture
from tests.benchmarks.panel import series
from tests.benchmarks.report import markdown
from training import TrainSettings, train
from training.density_scores import DensityScore, score_densities
from training.evaluation import BY_REGIME, WHOLE, compared_densities, evaluate
from training.scores import format_p_value
from training.settings import WalkForwardSettings
from training.walk_forward import FoldId, fit_folds, folds_of

_COLUMNS = (
    "density", "log score", "difference", "p of each seed", "CRPS, bp", "R2 of its mean, %", "in 50 / 80 / 95 %",
)  # fmt: skip
_NAME = "DENSITY"
_FOLDS, _TRAINED = 4, 0.6  # number of folds, and share of the bars before the first


def measure(candles: pd.DataFrame, seeds: int) -> dict[str, list[DensityScore]]:
    """The scores of each density on the unseen bars, one per seed."""
    scores: dict[str, list[DensityScore]] = {}
    for seed in range(seeds):
        models = train(candles, _NAME, TrainSettings(seed=seed))
        for name, one in evaluate(models, candles, garch=True).densities[WHOLE].items():
            scores.setdefault(name, []).append(one)
    return scores


def measure_walk_forward(candles: pd.DataFrame, seeds: int) -> dict[str, list[DensityScore]]:
    """The same, of the test bars of all folds together."""
    n_trained = int(_TRAINED * len(candles))
    test_bars = (len(candles) - n_trained) // _FOLDS
    schedule = WalkForwardSettings(train_bars=n_trained, test_bars=test_bars, expanding=True)
    folds = folds_of(_NAME, candles, schedule)
    outcome = targets(candles["close"].to_numpy())
    bars = np.concatenate([np.arange(len(candles))[fold.test] for fold in folds])
    scores: dict[str, list[DensityScore]] = {}
    for seed in range(seeds):
        models = dict(fit_folds({_NAME: candles}, TrainSettings(seed=seed), schedule, {}))
        parts = [
            compared_densities(models[FoldId(_NAME, number)], candles.iloc[: fold.test.stop], outcome, garch=True)
            for number, fold in enumerate(folds)
        ]
        whole = {
            name: _joined([part[name][fold.test] for part, fold in zip(parts, folds, strict=True)]) for name in parts[0]
        }
        for name, one in _scored(whole, outcome[bars]).items():
            scores.setdefault(name, []).append(one)
    return scores


def _joined(parts: Sequence[StudentMixture]) -> StudentMixture:
    """One density per bar of all parts."""
    return StudentMixture(
        *(np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(parts[0]))
    )


def _scored(forecasts: dict[str, StudentMixture], outcome: np.ndarray) -> dict[str, DensityScore]:
    known = np.isfinite(outcome) & np.all([np.isfinite(one.scale).all(axis=1) for one in forecasts.values()], axis=0)
    bars = np.flatnonzero(known)
    levels = adapted_levels(forecasts[BY_REGIME], np.append(np.nan, outcome[:-1]))
    some = {name: one[bars] for name, one in forecasts.items()}
    return score_densities(some, outcome[bars], {WHOLE: np.arange(len(bars))}, BY_REGIME, levels[bars])[WHOLE]


def rows(scores: dict[str, list[DensityScore]]) -> list[list[str]]:
    """One row per density: means and standard deviations over the seeds; differences to the first density."""
    reference = np.array([one.log_score for one in next(iter(scores.values()))])
    table = []
    for name, per_seed in scores.items():
        log_scores = np.array([one.log_score for one in per_seed])
        difference = log_scores - reference
        p_values = [one.dm_p for one in per_seed if one.dm_p is not None]
        table.append(
            [
                name,
                f"{log_scores.mean():.4f}" + (f" ± {log_scores.std(ddof=1):.4f}" if np.ptp(log_scores) else ""),
                f"{difference.mean():+.4f}" if p_values else "",
                _range(p_values) if p_values else "",
                f"{1e4 * np.mean([one.crps for one in per_seed]):.2f}",
                f"{100 * np.mean([one.r2_zero for one in per_seed]):+.2f}",
                _coverage([one.coverage for one in per_seed]),
            ]
        )
        if per_seed[0].adapted_coverage:
            adapted = _coverage([one.adapted_coverage for one in per_seed])
            table.append(["its adapted intervals", *[""] * (len(_COLUMNS) - 2), adapted])
    return table


def _coverage(per_seed: Sequence[dict[str, float]]) -> str:
    return " / ".join(f"{100 * np.mean([one[share] for one in per_seed]):.1f}" for share in per_seed[0])


def _range(p_values: list[float]) -> str:
    ends = [format_p_value(end) for end in (min(p_values), max(p_values))]
    return " to ".join(dict.fromkeys(ends))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--csv", type=Path, action="append", default=[])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--walk-forward", action="store_true")
    options = parser.parse_args()
    for name, candles in series(options.csv).items():
        if "labels" in name:  # a synthetic series
            continue
        scores = (measure_walk_forward if options.walk_forward else measure)(candles, options.seeds)
        bars = next(iter(scores.values()))[0].bars
        print(
            f"{name}, {bars:,} unseen bars, {options.seeds} seeds:\n\n{markdown(_COLUMNS, rows(scores))}\n", flush=True
        )


if __name__ == "__main__":
    main()
