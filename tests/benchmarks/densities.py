"""Scores of predictive densities on real series, over seeds: ``python -m tests.benchmarks.densities``

Options: ``--csv FILE`` (again for each further CSV), ``--seeds N`` (default 5).
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pandas as pd

from tests.benchmarks.panel import series
from tests.benchmarks.report import markdown
from training import TrainSettings, train
from training.density_scores import DensityScore
from training.evaluation import WHOLE, evaluate
from training.scores import format_p_value

_COLUMNS = ("density", "log score", "difference", "p of each seed", "CRPS, bp", "in the 50 / 80 / 95 % interval, %")


def measure(candles: pd.DataFrame, seeds: int) -> dict[str, list[DensityScore]]:
    """The scores of each density on the unseen bars, one per seed."""
    scores: dict[str, list[DensityScore]] = {}
    for seed in range(seeds):
        models = train(candles, "DENSITY", TrainSettings(seed=seed))
        for name, one in evaluate(models, candles, garch=True).densities[WHOLE].items():
            scores.setdefault(name, []).append(one)
    return scores


def rows(scores: dict[str, list[DensityScore]]) -> list[list[str]]:
    """One row per density: means and standard deviations over the seeds; differences to the first density."""
    reference = np.array([one.log_score for one in next(iter(scores.values()))])
    table = []
    for name, per_seed in scores.items():
        log_scores = np.array([one.log_score for one in per_seed])
        difference = log_scores - reference
        p_values = [one.dm_p for one in per_seed if one.dm_p is not None]
        coverage = [np.mean([one.coverage[level] for one in per_seed]) for level in per_seed[0].coverage]
        table.append(
            [
                name,
                f"{log_scores.mean():.4f}" + (f" ± {log_scores.std(ddof=1):.4f}" if np.ptp(log_scores) else ""),
                f"{difference.mean():+.4f}" if p_values else "",
                _range(p_values) if p_values else "",
                f"{1e4 * np.mean([one.crps for one in per_seed]):.2f}",
                " / ".join(f"{100 * share:.1f}" for share in coverage),
            ]
        )
    return table


def _range(p_values: list[float]) -> str:
    ends = [format_p_value(end) for end in (min(p_values), max(p_values))]
    return " to ".join(dict.fromkeys(ends))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--csv", type=Path, action="append", default=[])
    parser.add_argument("--seeds", type=int, default=5)
    options = parser.parse_args()
    for name, candles in series(options.csv).items():
        if "labels" in name:  # a synthetic series
            continue
        scores = measure(candles, options.seeds)
        bars = next(iter(scores.values()))[0].bars
        print(
            f"{name}, {bars:,} unseen bars, {options.seeds} seeds:\n\n{markdown(_COLUMNS, rows(scores))}\n", flush=True
        )


if __name__ == "__main__":
    main()
