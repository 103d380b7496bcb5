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

from data.candles import REGIME, check_candles, fingerprint, interval_of
from data.errors import DataError, SettingsError
from data.features import compute_features, lookback_of
from data.splits import Split, chronological_split
from data.windows import complete_windows, samples_of_regime, targets
from models.lstm import one_thread
from models.model_set import Expert, ModelSet, expert_name
from models.regimes import RegimeDetector, find_detector, hold_lookback, likeliest_regime
from training.fit import FitResult, fit_network, relative_loss
from training.settings import TrainSettings

_MIN_VALIDATION_WINDOWS = 10
_VERSIONED = ["numpy", "pandas", "torch", "scikit-learn", "hmmlearn", "TA-Lib", "backtrader"]


class Progress(NamedTuple):
    """One epoch of one network: its relative validation loss (1 is the zero forecast's)."""

    name: str
    epoch: int
    validation_loss: float


@dataclass(frozen=True)
class _Samples:
    """The bars that train, validate and test one network."""

    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray
    validation_part: str = "validation"


@dataclass(frozen=True)
class _Task:
    regime: int | None
    samples: _Samples


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
    check_candles(candles, source=dataset)
    if settings.train_fraction + settings.validation_fraction >= 1:
        raise SettingsError(
            "train_fraction and validation_fraction leave no bars to test on; their sum must be below 1."
        )
    detector = _new_detector(candles, settings)
    _require_enough_bars(dataset, len(candles), settings, detector)
    split = chronological_split(len(candles), settings.train_fraction, settings.validation_fraction)

    features = compute_features(candles, settings.features).to_numpy()
    target = targets(candles["close"].to_numpy())
    regimes = _training_regimes(candles, detector, split, settings)
    complete = complete_windows(features, settings.window)

    def samples(regime: int | None) -> _Samples:
        parts = (split.train, split.validation, split.test)
        found = [samples_of_regime(part, regimes, regime, complete, target) for part in parts]
        return _Samples(found[0], found[1], found[2])

    everything = samples(None)
    if len(everything.train) < settings.min_windows or len(everything.validation) < _MIN_VALIDATION_WINDOWS:
        raise DataError(
            f"{dataset}: only {len(everything.train)} training and {len(everything.validation)} validation windows "
            f"have all features; {settings.min_windows} and {_MIN_VALIDATION_WINDOWS} are needed. "
            "Look for empty values in the columns that features name."
        )
    mean, scale = _scaler(features[split.train])
    scaled = ((features - mean) / scale).astype(np.float32)
    target_scale = float(np.std(target[everything.train]))
    if target_scale == 0:
        raise DataError(f"{dataset}: the close does not change in the training part; there is nothing to forecast.")
    scaled_target = target / target_scale

    by_regime = {regime: _with_validation(samples(regime), settings) for regime in detector.regimes}
    reasons = {regime: _too_few(of_regime, settings) for regime, of_regime in by_regime.items()}
    tasks = [_Task(None, everything)]
    tasks += [_Task(regime, by_regime[regime]) for regime in detector.regimes if reasons[regime] is None]
    fitted = _fit_side_by_side(tasks, scaled, scaled_target, settings, jobs or os.cpu_count() or 1, progress)

    def expert(regime: int | None) -> Expert:
        reason = reasons[regime] if regime is not None else None
        result = fitted[None if reason else regime]
        of_regime = everything if regime is None else by_regime[regime]
        inputs, outcome = torch.from_numpy(scaled), torch.from_numpy(scaled_target.astype(np.float32))
        return Expert(
            name=expert_name(regime),
            features=settings.features,
            mean=mean,
            scale=scale,
            target_scale=target_scale,
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
                        relative_loss(
                            result.network, inputs.double(), outcome.double(), getattr(of_regime, part), settings.window
                        )
                    )
                    for part in ("train", "validation", "test")
                },
            },
        )

    return ModelSet(
        dataset=dataset,
        experts={regime: expert(regime) for regime in detector.regimes},
        all_regimes=expert(None),
        detector=detector,
        interval=interval_of(pd.DatetimeIndex(candles.index)),
        validation_end=candles.index[split.validation.stop - 1],
        min_confidence=settings.min_confidence,
        min_dwell=settings.min_dwell,
        provenance=_provenance(candles, split, settings),
    )


def _new_detector(candles: pd.DataFrame, settings: TrainSettings) -> RegimeDetector:
    name = settings.detector
    if name == "auto":
        name = "labels" if REGIME in candles else "hmm"
    return find_detector(name)()


def _require_enough_bars(dataset: str, n_bars: int, settings: TrainSettings, detector: RegimeDetector) -> None:
    lookback = max(
        lookback_of(settings.features) + settings.window - 1,
        lookback_of(detector.features)
        + detector.memory
        - 1
        + hold_lookback(settings.min_confidence, settings.min_dwell),
    )
    needed = max(
        math.ceil((lookback + settings.min_windows + 2) / settings.train_fraction),
        math.ceil((_MIN_VALIDATION_WINDOWS + 2) / settings.validation_fraction),
    )
    if n_bars < needed:
        raise DataError(
            f"{dataset}: has {n_bars} bars, but at least {needed} are needed: a lookback of {lookback}, "
            f"{settings.min_windows} training windows and the split. Bring more history, or lower min_windows."
        )


def _training_regimes(
    candles: pd.DataFrame, detector: RegimeDetector, split: Split, settings: TrainSettings
) -> np.ndarray:
    """Fit the detector on the training part; the regimes whose bars the experts train on, ``(n_bars,)``."""
    observed = compute_features(candles, detector.features).to_numpy()
    labels = candles[REGIME].to_numpy() if REGIME in candles else None
    finite = np.isfinite(observed).all(axis=1)
    rows = np.arange(split.train.stop)[finite[split.train]]
    detector.fit(observed[rows], None if labels is None else labels[rows], settings.seed)
    if detector.name == "labels" and labels is not None:
        return labels
    return likeliest_regime(detector.filter(observed), detector.regimes, settings.min_confidence, settings.min_dwell)


def _scaler(train_features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of the rows that have every feature; a constant feature keeps scale 1."""
    rows = train_features[np.isfinite(train_features).all(axis=1)]
    mean, scale = rows.mean(axis=0), rows.std(axis=0)
    return mean, np.where(scale > 0, scale, 1.0)


def _too_few(samples: _Samples, settings: TrainSettings) -> str | None:
    """Why a regime cannot have an expert of its own, or None."""
    if len(samples.train) < settings.min_windows:
        return f"only {len(samples.train)} training windows, min_windows is {settings.min_windows}"
    if len(samples.validation) < _MIN_VALIDATION_WINDOWS:
        return f"only {len(samples.validation)} validation windows, {_MIN_VALIDATION_WINDOWS} are needed"
    return None


def _with_validation(samples: _Samples, settings: TrainSettings) -> _Samples:
    """Samples with enough to stop early on: the last training windows where the validation part has hardly any."""
    if len(samples.validation) >= _MIN_VALIDATION_WINDOWS:
        return samples
    share = settings.validation_fraction / (settings.train_fraction + settings.validation_fraction)
    n_validation = max(_MIN_VALIDATION_WINDOWS, round(share * len(samples.train)))
    if len(samples.train) - n_validation < settings.min_windows:
        return samples
    kept, held_out = samples.train[:-n_validation], samples.train[-n_validation:]
    return _Samples(kept, held_out, samples.test, validation_part="train")


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
