"""What is fitted before any network is: the split, the detector, the scaler, and the bars that train each expert."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd

from data.candles import REGIME, check_candles
from data.errors import DataError, SettingsError
from data.features import compute_features, lookback_of
from data.splits import Split, chronological_split
from data.windows import complete_windows, samples_of_regime, targets
from models.regimes import RegimeDetector, find_detector, hold_lookback, likeliest_regime
from training.settings import TrainSettings

_MIN_VALIDATION_WINDOWS = 10


@dataclass(frozen=True)
class Samples:
    """The bars that train, validate and test one network."""

    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray
    validation_part: str = "validation"


@dataclass(frozen=True)
class Prepared:
    """Everything that training needs besides the networks; all that is learnt in it is learnt from the training part.

    Attributes
    ----------
    detector
        Fitted.
    mean, scale
        ``(n_columns,)`` of the features.
    target_scale
        Standard deviation of the log returns to forecast.
    inputs, target
        ``(n_bars, n_columns)`` float32 and ``(n_bars,)``, scaled; NaN where not known.
    samples
        By regime, and under None those of every regime together.
    too_few
        Regimes that cannot have an expert of their own, and why.
    """

    split: Split
    detector: RegimeDetector
    mean: np.ndarray
    scale: np.ndarray
    target_scale: float
    inputs: np.ndarray
    target: np.ndarray
    samples: dict[int | None, Samples]
    too_few: dict[int, str]


def prepare(candles: pd.DataFrame, dataset: str, settings: TrainSettings) -> Prepared:
    """Split the candles in time and fit detector and scaler on the first part; parameters as in `training.train`."""
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

    def samples(regime: int | None) -> Samples:
        parts = (split.train, split.validation, split.test)
        found = [samples_of_regime(part, regimes, regime, complete, target) for part in parts]
        return Samples(found[0], found[1], found[2])

    by_regime: dict[int | None, Samples] = {None: samples(None)}
    everything = by_regime[None]
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

    by_regime |= {regime: _with_validation(samples(regime), settings) for regime in detector.regimes}
    reasons = {regime: _too_few(by_regime[regime], settings) for regime in detector.regimes}
    return Prepared(
        split=split,
        detector=detector,
        mean=mean,
        scale=scale,
        target_scale=target_scale,
        inputs=scaled,
        target=target / target_scale,
        samples=by_regime,
        too_few={regime: reason for regime, reason in reasons.items() if reason},
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


def _too_few(samples: Samples, settings: TrainSettings) -> str | None:
    """Why a regime cannot have an expert of its own, or None."""
    if len(samples.train) < settings.min_windows:
        return f"only {len(samples.train)} training windows, min_windows is {settings.min_windows}"
    if len(samples.validation) < _MIN_VALIDATION_WINDOWS:
        return f"only {len(samples.validation)} validation windows, {_MIN_VALIDATION_WINDOWS} are needed"
    return None


def _with_validation(samples: Samples, settings: TrainSettings) -> Samples:
    """Samples with enough to stop early on: the last training windows where the validation part has hardly any."""
    if len(samples.validation) >= _MIN_VALIDATION_WINDOWS:
        return samples
    share = settings.validation_fraction / (settings.train_fraction + settings.validation_fraction)
    n_validation = max(_MIN_VALIDATION_WINDOWS, round(share * len(samples.train)))
    if len(samples.train) - n_validation < settings.min_windows:
        return samples
    kept, held_out = samples.train[:-n_validation], samples.train[-n_validation:]
    return Samples(kept, held_out, samples.test, validation_part="train")
