"""A whole model set from candles: scaler, detector and one expert per regime, all fitted on the training part."""

from __future__ import annotations

import math
import os
import platform
import subprocess
import threading
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from multiprocessing import Manager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from joblib import Parallel, delayed

from data.candles import fingerprint, interval_of
from data.splits import Split
from models.lstm import one_thread
from models.model_set import Expert, ModelSet, expert_name
from training.fit import FitResult, fit_network, relative_loss
from training.prepare import Samples, prepare
from training.settings import TrainSettings

_VERSIONED = ["numpy", "pandas", "torch", "scikit-learn", "hmmlearn", "TA-Lib", "backtrader"]


class Progress(NamedTuple):
    """One epoch of one network: its relative validation loss (1 is the zero forecast's)."""

    name: str
    epoch: int
    validation_loss: float


@dataclass(frozen=True)
class _Task:
    regime: int | None
    samples: Samples


def train(
    candles: pd.DataFrame,
    dataset: str,
    settings: TrainSettings | None = None,
    *,
    jobs: int | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> ModelSet:
    """Train one expert per regime, and one network on all regimes, on the first part of the candles.

    Parameters
    ----------
    candles
        ``(n_bars, >= 5)`` as `data.candles.read_candles` gives it.
    dataset
        The name that the set's files carry.
    jobs
        Networks trained side by side, one process and one thread each; the machine's cores by default. It changes
        the time, not the result.
    progress
        Called after every epoch of every network.

    Returns
    -------
    ModelSet
        Not yet saved; the same candles and settings give the same weights bit for bit.

    Raises
    ------
    DataError
        If there are fewer bars than features, windows and the split need, or the candles cannot carry regimes.
    """
    settings = settings or TrainSettings()
    prepared = prepare(candles, dataset, settings)
    regimes, inputs, target = prepared.detector.regimes, prepared.inputs, prepared.target
    tasks = [_Task(None, prepared.samples[None])]
    tasks += [_Task(regime, prepared.samples[regime]) for regime in regimes if regime not in prepared.too_few]
    fitted = _fit_side_by_side(tasks, inputs, target, settings, jobs or os.cpu_count() or 1, progress)

    def expert(regime: int | None) -> Expert:
        reason = None if regime is None else prepared.too_few.get(regime)
        result = fitted[None if reason else regime]
        of_regime = prepared.samples[regime]
        all_inputs, outcome = torch.from_numpy(inputs).double(), torch.from_numpy(target.astype(np.float32)).double()
        return Expert(
            name=expert_name(regime),
            features=settings.features,
            mean=prepared.mean,
            scale=prepared.scale,
            target_scale=prepared.target_scale,
            network=result.network.double(),
            hyperparameters=settings.model_dump(include={"window", "hidden_dim", "num_layers", "dropout"}),
            training={
                **settings.model_dump(include={"batch_size", "lr", "epochs", "patience", "min_windows"}),
                "fallback": reason,
                "validation_part": of_regime.validation_part,
                "windows": {part: len(getattr(of_regime, part)) for part in ("train", "validation", "test")},
                "best_epoch": result.best_epoch,
                "train_losses": result.train_losses,
                "validation_losses": result.validation_losses,
                "relative_loss": {
                    part: _or_none(
                        relative_loss(result.network, all_inputs, outcome, getattr(of_regime, part), settings.window)
                    )
                    for part in ("train", "validation", "test")
                },
            },
        )

    return ModelSet(
        dataset=dataset,
        experts={regime: expert(regime) for regime in regimes},
        all_regimes=expert(None),
        detector=prepared.detector,
        interval=interval_of(pd.DatetimeIndex(candles.index)),
        validation_end=candles.index[prepared.split.validation.stop - 1],
        min_confidence=settings.min_confidence,
        min_dwell=settings.min_dwell,
        provenance=_provenance(candles, prepared.split, settings),
    )


def _fit_side_by_side(
    tasks: list[_Task],
    features: np.ndarray,
    target: np.ndarray,
    settings: TrainSettings,
    jobs: int,
    progress: Callable[[Progress], None] | None,
) -> dict[int | None, FitResult]:
    """Each task's network, trained in a process of its own; one process also when ``jobs`` is 1, for equal weights."""
    if progress is None:
        fitted = Parallel(n_jobs=min(jobs, len(tasks)), backend="loky")(
            delayed(_fit_task)(task, features, target, settings, None) for task in tasks
        )
        return dict(zip((task.regime for task in tasks), fitted, strict=True))
    with Manager() as manager:
        epochs = manager.Queue()
        listener = threading.Thread(target=_relay, args=(epochs, progress))
        listener.start()
        try:
            fitted = Parallel(n_jobs=min(jobs, len(tasks)), backend="loky")(
                delayed(_fit_task)(task, features, target, settings, epochs) for task in tasks
            )
        finally:
            epochs.put(None)
            listener.join()
    return dict(zip((task.regime for task in tasks), fitted, strict=True))


def _relay(epochs: Any, progress: Callable[[Progress], None]) -> None:
    while (report := epochs.get()) is not None:
        progress(report)


def _fit_task(task: _Task, features: np.ndarray, target: np.ndarray, settings: TrainSettings, epochs: Any) -> FitResult:
    def on_epoch(epoch: int, validation_loss: float) -> None:
        if epochs is not None:
            epochs.put(Progress(expert_name(task.regime), epoch, validation_loss))

    seed = settings.seed * 1000 + (0 if task.regime is None else task.regime + 1)
    with one_thread(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return fit_network(features, target, task.samples.train, task.samples.validation, settings, on_epoch)


def _or_none(number: float) -> float | None:
    return number if math.isfinite(number) else None


def _provenance(candles: pd.DataFrame, split: Split, settings: TrainSettings) -> dict[str, Any]:
    index = candles.index
    parts = {"train": split.train, "validation": split.validation, "test": split.test}
    return {
        "fingerprint": fingerprint(candles),
        "n_bars": len(candles),
        "first_bar": index[0].isoformat(),
        "last_bar": index[-1].isoformat(),
        "split": {
            name: {"first_bar": index[part.start].isoformat(), "last_bar": index[part.stop - 1].isoformat()}
            for name, part in parts.items()
        },
        "settings": settings.model_dump(mode="json"),
        "seed": settings.seed,
        "versions": {"python": platform.python_version(), **{name: version(name) for name in _VERSIONED}},
        "commit": _commit(),
    }


def _commit() -> str | None:
    """The checkout's git commit, or None outside one."""
    try:
        folder = Path(__file__).parent
        found = subprocess.run(["git", "rev-parse", "HEAD"], cwd=folder, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return found.stdout.strip()
