"""A whole model set from candles: scaler, detector and one expert per regime, all fitted on the training part."""

from __future__ import annotations

import math
import os
import platform
import subprocess
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch

from data.candles import fingerprint, interval_of
from data.errors import SettingsError
from data.splits import Split
from models.lstm import one_thread
from models.model_set import Expert, ModelSet, expert_name
from training.fit import FitResult, fit_network, relative_loss
from training.prepare import NetworkData, Prepared, prepare
from training.settings import TrainSettings

_VERSIONED = ["numpy", "pandas", "torch", "scikit-learn", "hmmlearn", "TA-Lib", "backtrader"]
_PARTS = ("train", "validation", "test")


class Progress(NamedTuple):
    """One epoch of one network: its relative validation loss (1 is the zero forecast's)."""

    name: str
    epoch: int
    validation_loss: float


@dataclass(frozen=True)
class NetworkTask:
    """One network to be trained, in whatever process: arrays, numbers and nothing that must be registered there.

    Attributes
    ----------
    start
        Weights to begin with; None for random ones.
    """

    regime: int | None
    data: NetworkData
    settings: TrainSettings
    start: dict[str, torch.Tensor] | None = None

    def fit(self, on_epoch: Callable[[int, float], None] = lambda epoch, loss: None) -> FitResult:
        """Train on one thread; the same task gives the same weights bit for bit, in whatever process or thread."""
        with one_thread():
            return fit_network(
                self.data.inputs,
                self.data.target,
                self.data.slots,
                self.data.samples.train,
                self.data.samples.validation,
                self.data.settings,
                epochs=self.settings.epochs,
                patience=self.settings.patience,
                seed=self.settings.seed * 1000 + (0 if self.regime is None else self.regime + 1),
                on_epoch=on_epoch,
                start=self.start,
                device=_device(self.settings.device),
            )


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
        Networks trained side by side, a thread each; the machine's cores by default. It changes the time, not the
        result.
    progress
        Called after every epoch of every network, from the thread that trains it.

    Returns
    -------
    ModelSet
        Not yet saved; the same candles and settings give the same weights bit for bit.

    Raises
    ------
    DataError
        If there are fewer bars than features, windows and the split need, or the candles cannot carry regimes.
    SettingsError
        If training and validation leave no bars to test on, or there is no GPU where one is asked for.
    """
    settings = settings or TrainSettings()
    require_test_part(settings)
    prepared = prepare(candles, dataset, settings)
    fitted = fit_side_by_side(network_tasks(prepared), jobs or os.cpu_count() or 1, progress)
    return assemble(candles, prepared, fitted)


def require_test_part(settings: TrainSettings) -> None:
    """Refuse settings by which training and validation leave no bars to test on."""
    if settings.train_fraction + settings.validation_fraction >= 1:
        raise SettingsError(
            "train_fraction and validation_fraction leave no bars to test on; their sum must be below 1."
        )


def network_tasks(prepared: Prepared, warm_start: ModelSet | None = None) -> dict[int | None, NetworkTask]:
    """The networks of a training: of all regimes (None), and of each regime that has enough windows.

    ``warm_start`` is a model set of the same settings, whose networks these begin as; one that it lacks begins at
    random.
    """
    return {
        regime: NetworkTask(regime, data, prepared.settings, _weights(warm_start, regime) if warm_start else None)
        for regime, data in prepared.networks.items()
        if data.too_few is None
    }


def _weights(model_set: ModelSet, regime: int | None) -> dict[str, torch.Tensor] | None:
    expert = model_set.all_regimes if regime is None else model_set.experts.get(regime)
    if expert is None or expert.training["fallback"]:
        return None
    return {name: value.float() for name, value in expert.network.state_dict().items()}


def assemble(candles: pd.DataFrame, prepared: Prepared, fitted: Mapping[int | None, FitResult]) -> ModelSet:
    """The model set of a training's fitted networks (None: that of all regimes); not yet saved."""
    settings = prepared.settings

    def expert(regime: int | None) -> Expert:
        reason = prepared.networks[regime].too_few
        trained = None if reason else regime
        result, data = fitted[trained], prepared.networks[trained]
        samples = prepared.network(regime, data.settings).samples if reason else data.samples
        passes = data.passes
        readable = passes.readable(data.inputs.astype(np.float64))
        outcome = torch.from_numpy(data.target.astype(np.float32)).double()
        network = result.network.double()
        return Expert(
            name=expert_name(regime),
            features=data.settings.features,
            mean=data.mean,
            scale=data.scale,
            target_scale=data.target_scale,
            network=network,
            hyperparameters=data.settings.model_dump(
                include={"window", "stride", "hidden_dim", "num_layers", "dropout"}
            ),
            training={
                **data.settings.model_dump(include={"batch_size", "lr"}),
                **settings.model_dump(include={"epochs", "patience", "min_windows"}),
                "fallback": reason,
                "validation_part": samples.validation_part,
                "windows": {part: len(getattr(samples, part)) for part in _PARTS},
                "best_epoch": result.best_epoch,
                "train_losses": result.train_losses,
                "validation_losses": result.validation_losses,
                "relative_loss": {
                    part: _or_none(relative_loss(network, readable, outcome, getattr(samples, part), passes))
                    for part in _PARTS
                },
            },
        )

    return ModelSet(
        dataset=prepared.dataset,
        experts={regime: expert(regime) for regime in prepared.detector.regimes},
        all_regimes=expert(None),
        detector=prepared.detector,
        interval=interval_of(pd.DatetimeIndex(candles.index)),
        validation_end=candles.index[prepared.split.validation.stop - 1],
        min_confidence=settings.min_confidence,
        min_dwell=settings.min_dwell,
        provenance=_provenance(candles, prepared.split, settings),
    )


def fit_side_by_side(
    tasks: Mapping[int | None, NetworkTask], jobs: int, progress: Callable[[Progress], None] | None
) -> dict[int | None, FitResult]:
    """Each task's network, ``jobs`` of them at a time.

    Threads, because torch computes without Python's lock and processes would each spend a second on importing it,
    longer than most networks take to train.
    """
    ended = threading.Event()

    def fit(task: NetworkTask) -> FitResult:
        def on_epoch(epoch: int, validation_loss: float) -> None:
            if ended.is_set():
                raise InterruptedError
            if progress:
                progress(Progress(expert_name(task.regime), epoch, validation_loss))

        return task.fit(on_epoch)

    with one_thread(), ThreadPoolExecutor(jobs) as pool:
        fitted = {regime: pool.submit(fit, task) for regime, task in tasks.items()}
        try:
            return {regime: future.result() for regime, future in fitted.items()}
        except BaseException:  # Ctrl-C, too: the others end at their next epoch
            ended.set()
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _device(wanted: str) -> str:
    there_is_a_gpu = torch.cuda.is_available()
    if wanted == "cuda" and not there_is_a_gpu:
        raise SettingsError("device is cuda, but torch finds no GPU here; train with --device auto or cpu.")
    return "cuda" if wanted != "cpu" and there_is_a_gpu else "cpu"


def _or_none(number: float) -> float | None:
    return number if math.isfinite(number) else None


def _provenance(candles: pd.DataFrame, split: Split, settings: TrainSettings) -> dict[str, Any]:
    index = candles.index
    return {
        "fingerprint": fingerprint(candles),
        "n_bars": len(candles),
        "first_bar": index[0].isoformat(),
        "last_bar": index[-1].isoformat(),
        "split": {
            name: {"first_bar": index[part.start].isoformat(), "last_bar": index[part.stop - 1].isoformat()}
            for name in _PARTS
            if (part := getattr(split, name)).stop > part.start
        },
        "settings": settings.model_dump(mode="json"),
        "seed": settings.seed,
        **software(),
    }


def software() -> dict[str, Any]:
    """What the result depends on besides candles and settings: versions of the packages, and our commit."""
    versions = {"python": platform.python_version(), **{name: version(name) for name in _VERSIONED}}
    return {"versions": versions, "commit": _commit()}


def _commit() -> str | None:
    """The checkout's git commit, or None outside one."""
    try:
        folder = Path(__file__).parent
        found = subprocess.run(["git", "rev-parse", "HEAD"], cwd=folder, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return found.stdout.strip()
