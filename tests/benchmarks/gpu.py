"""Trains on a GPU, compares with the CPU, and measures trainings and a walk-forward: ``python -m tests.benchmarks.gpu``

Takes less than five minutes on a GPU, and ends at once without one. ``--device cpu`` runs the same on small sizes, to
try the script. The exit status is 1 if the losses on unseen bars differ by more than seeds explain.
"""

from __future__ import annotations

import argparse
import sys
from functools import partial
from pathlib import Path
from statistics import fmean, variance
from tempfile import TemporaryDirectory

import pandas as pd
import torch

from models import ModelSet
from tests.benchmarks import machine, report
from tests.benchmarks.comparison import REGIMES, Figure, at_most, cost_of, cost_of_command
from tests.benchmarks.strides import unseen_loss
from tests.benchmarks.subject import many_candles, subject_candles, write_csv
from training import TrainSettings, train

_SEEDS = 4


def compared_with_cpu(name: str, candles: pd.DataFrame, settings: TrainSettings) -> list[Figure]:
    """Are the weights equal, and does the mean loss on unseen bars differ by more than its standard errors?"""
    losses: dict[str, list[float]] = {settings.device: [], "the CPU": []}
    equal = 0
    for seed in range(_SEEDS):
        seeded = settings.model_copy(update={"seed": seed, "members": 1})
        there, here = train(candles, name, seeded), train(candles, name, seeded.model_copy(update={"device": "cpu"}))
        equal += _weights_equal(there, here)
        for where, models in zip(losses, (there, here), strict=True):
            losses[where].append(unseen_loss(models, candles))
    there_losses, here_losses = losses.values()
    error = ((variance(there_losses) + variance(here_losses)) / _SEEDS) ** 0.5
    difference = abs(fmean(there_losses) - fmean(here_losses))
    told = "; ".join(f"{where}: {fmean(some):.4f}" for where, some in losses.items())
    return [
        Figure("seeds with equal weights", equal, f"of {_SEEDS}"),
        Figure("difference of the loss on unseen bars", difference / error, "standard errors", at_most(3), told),
    ]


def _weights_equal(one: ModelSet, other: ModelSet) -> bool:
    states = (models.all_regimes.networks[0].state_dict().values() for models in (one, other))
    return all(torch.equal(mine, its) for mine, its in zip(*states, strict=True))


def trainings(name: str, candles: pd.DataFrame, settings: TrainSettings, n_large: int) -> list[Figure]:
    """Whole trainings, detector included; the one on many bars has one member and one epoch."""
    large = settings.model_copy(update={"members": 1, "epochs": 1})
    runs = {
        f"train on {len(candles):,} bars, {members} members": partial(
            train, candles, name, settings.model_copy(update={"members": members})
        )
        for members in (5, 50)  # more than the settings allow
    }
    runs[f"train on {n_large:,} bars, one member, one epoch"] = partial(train, many_candles(n_large), "LARGE", large)
    return [Figure(what, (cost := cost_of(run)).wall, "s wall", told=str(cost)) for what, run in runs.items()]


def walk_forward(name: str, candles: pd.DataFrame, settings: TrainSettings) -> Figure:
    with TemporaryDirectory() as folder:
        write_csv(candles, Path(folder) / "data" / "csv" / f"{name}.csv")
        bars = ("--train-bars", str(2 * len(candles) // 5), "--test-bars", str(len(candles) // 16))
        training = ("--members", "1", "--epochs", str(settings.epochs), "--device", settings.device)
        cost = cost_of_command(REGIMES, "walk-forward", name, *bars, *training, "--workspace", folder)
    return Figure("walk-forward of ten folds, one member", cost.wall, "s wall", told=str(cost))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    device = parser.parse_args().device
    if device == "cuda" and not torch.cuda.is_available():
        print("There is no GPU here. Use --device cpu to try the script.")
        return 0
    name, candles = subject_candles()
    settings, n_large = TrainSettings(device=device), 1_000_000
    if device == "cpu":
        candles, n_large, settings = candles.iloc[-3000:], 10_000, settings.model_copy(update={"epochs": 2})
    described = machine.description()
    processor = torch.cuda.get_device_name() if device == "cuda" else described["processor"]
    figures = [
        *compared_with_cpu(name, candles, settings),
        *trainings(name, candles, settings, n_large),
        walk_forward(name, candles, settings),
    ]
    report.show(f"{processor}, torch {torch.__version__}", figures)
    report.write(Path("results/bench-gpu.json"), {"device": processor, **described}, {"GPU": figures})
    return int(any(figure.missed for figure in figures))


if __name__ == "__main__":
    sys.exit(main())
