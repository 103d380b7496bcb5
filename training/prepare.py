"""Prepares the data of a training: split, detector, scalers and the training bars of each expert."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits

from data.candles import REGIME, check_candles
from data.errors import DataError, SettingsError
from data.features import DEFAULT_FEATURES, SCALE_FEATURES, columns_of, compute_features, find_feature
from data.files import require_dataset_name
from data.intervals import interval_of
from data.splits import Split, chronological_split
from data.windows import samples_of_regime, targets
from models.density import BASE, DensityLSTM
from models.detectors.hmm import HMMDetector
from models.expert import expert_name
from models.forecaster import forecast_lookback
from models.network import Passes, RegimeLSTM, time_slots
from models.regimes import RegimeDetector, find_detector, hold_lookback, likeliest_regime
from training.settings import NetworkSettings, TrainSettings

_MIN_VALIDATION_WINDOWS = 10
_ANY_INTERVAL = pd.Timedelta(days=1)  # of a single bar, which is too few in any case
# Of the density's networks: in trials, wider, deeper or longer ones were no better.
DENSITY_SETTINGS = NetworkSettings(
    features=(*DEFAULT_FEATURES, *SCALE_FEATURES), window=20, stride=20, hidden_dim=32, num_layers=1, lr=2e-3
)


@dataclass(frozen=True)
class Samples:
    """The bars that train, validate and test one network."""

    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray
    validation_part: str = "validation"


@dataclass(frozen=True)
class NetworkData:
    """Data of one network, as numbers only, so that any process can train it.

    Attributes
    ----------
    mean, scale
        ``(n_columns,)`` of the features over the training part.
    target_scale
        Standard deviation of the log returns to forecast.
    inputs, target
        ``(n_bars, n_columns)`` float32 and ``(n_bars,)``, scaled; NaN if unknown. See `models.density.DensityLSTM` for
        a density's target.
    slots
        ``(n_bars,)`` from `models.network.time_slots`.
    fallback
        Why the regime uses the all-regimes network; None if it gets a network of its own.
    """

    settings: NetworkSettings
    mean: np.ndarray
    scale: np.ndarray
    target_scale: float
    inputs: np.ndarray
    target: np.ndarray
    slots: np.ndarray
    samples: Samples
    fallback: str | None
    network: type[RegimeLSTM] = RegimeLSTM

    @property
    def passes(self) -> Passes:
        return Passes.over(self.slots, self.settings.window, self.settings.stride)


@dataclass(frozen=True)
class Prepared:
    """The data of all networks of a training. Everything fitted is fitted to the training part only.

    Attributes
    ----------
    regimes
        ``(n_bars,)`` regime of each bar, for the choice of the experts' samples.
    features
        ``(n_bars, n_columns)`` by feature.
    log_returns
        ``(n_bars,)`` to the next close.
    slots
        ``(n_bars,)`` from `models.network.time_slots`.
    """

    dataset: str
    settings: TrainSettings
    split: Split
    detector: RegimeDetector
    regimes: np.ndarray
    features: dict[str, np.ndarray]
    log_returns: np.ndarray
    slots: np.ndarray

    @cached_property
    def networks(self) -> dict[int | None, NetworkData]:
        """The data of each regime's network, and of the all-regimes network (None)."""
        regimes = (None, *self.detector.regimes)
        return {regime: self.network(regime, self.settings.of(expert_name(regime))) for regime in regimes}

    def network(self, regime: int | None, settings: NetworkSettings) -> NetworkData:
        """The data of a regime's network (None: the all-regimes network) with these settings.

        Raises a `DataError` if too few windows have all features, or the close never changes in a part.
        """
        values = np.concatenate([self.features[name] for name in settings.features], axis=1)
        complete = Passes.over(self.slots, settings.window, settings.stride).complete(values)
        everything = self._samples(None, complete)
        least = self.settings.min_windows
        if len(everything.train) < least or len(everything.validation) < _MIN_VALIDATION_WINDOWS:
            raise DataError(
                f"{self.dataset}: only {len(everything.train)} training and {len(everything.validation)} validation "
                f"windows have all features; {least} and {_MIN_VALIDATION_WINDOWS} are needed. "
                "Look for empty cells in the columns that are used as features."
            )
        mean, scale = _scaler(values[self.split.train])
        for part, bars in (("training", everything.train), ("validation", everything.validation)):
            if np.ptp(self.log_returns[bars]) == 0:
                raise DataError(
                    f"{self.dataset}: the close does not change in the {part} part, so there is nothing to forecast. "
                    "Remove bars without trading, or change train_fraction and validation_fraction."
                )
        target_scale = float(np.std(self.log_returns[everything.train]))
        samples = everything
        if regime is not None:
            samples = _with_validation(self._samples(regime, complete), self.settings)
        return NetworkData(
            settings=settings,
            mean=mean,
            scale=scale,
            target_scale=target_scale,
            inputs=((values - mean) / scale).astype(np.float32),
            target=self.log_returns / target_scale,
            slots=self.slots,
            samples=samples,
            fallback=None if regime is None else _fallback(samples, self.log_returns, self.settings),
        )

    @cached_property
    def density(self) -> NetworkData | None:
        """The data of the density's networks; None without densities, or with too few bars for them."""
        if not self.settings.density:
            return None
        values = np.concatenate([self.features[name] for name in DENSITY_SETTINGS.features], axis=1)
        passes = Passes.over(self.slots, DENSITY_SETTINGS.window, DENSITY_SETTINGS.stride)
        samples = self._samples(None, passes.complete(values))
        if len(samples.train) < self.settings.min_windows or len(samples.validation) < _MIN_VALIDATION_WINDOWS:
            return None
        mean, scale = _scaler(values[self.split.train])
        return NetworkData(
            settings=DENSITY_SETTINGS,
            mean=mean,
            scale=scale,
            target_scale=1.0,
            inputs=((values - mean) / scale).astype(np.float32),
            target=np.column_stack([self.log_returns, self.features[BASE]]),
            slots=self.slots,
            samples=samples,
            fallback=None,
            network=DensityLSTM,
        )

    def _samples(self, regime: int | None, complete: np.ndarray) -> Samples:
        parts = (self.split.train, self.split.validation, self.split.test)
        train, validation, test = (
            samples_of_regime(part, self.regimes, regime, complete, self.log_returns) for part in parts
        )
        return Samples(train, validation, test)


@dataclass(frozen=True)
class DetectorTask:
    """A detector to fit, and its training data, as numbers only."""

    dataset: str
    detector: RegimeDetector
    observed: np.ndarray
    labels: np.ndarray | None
    seed: int

    def fit(self) -> RegimeDetector:
        try:
            with threadpool_limits(1):  # several threads would sum in varying order
                return self.detector.fit(self.observed, self.labels, self.seed)
        except DataError as error:
            raise DataError(f"{self.dataset}: {error}") from error


def detector_task(candles: pd.DataFrame, dataset: str, settings: TrainSettings) -> DetectorTask:
    """The task to fit a training's detector; parameters and errors as in `training.trainer.train`."""
    require_dataset_name(dataset, "dataset")
    check_candles(candles, source=dataset)
    name = settings.detector
    if name == "auto":
        name = "labels" if REGIME in candles else "hmm"
    detector = _new_detector(name, settings)
    for network in settings.every_network:
        for feature in (*network.features, *detector.features):
            find_feature(feature, candles)  # raises for an unknown one, before anything is fitted
    _require_enough_bars(dataset, pd.DatetimeIndex(candles.index), settings, detector)
    train = _split(candles, settings).train
    observed = compute_features(candles, detector.features).to_numpy()[train]
    rows = np.isfinite(observed).all(axis=1)
    labels = candles[REGIME].to_numpy()[train][rows] if REGIME in candles else None
    return DetectorTask(dataset, detector, observed[rows], labels, settings.seed)


def _new_detector(name: str, settings: TrainSettings) -> RegimeDetector:
    """An unfitted detector; raise a `SettingsError` if settings of the hidden Markov model are for another one."""
    kind, defaults = find_detector(name), TrainSettings()
    if issubclass(kind, HMMDetector):
        return kind(n_states=settings.n_states, features=settings.regime_features)
    for setting in ("n_states", "regime_features"):
        if getattr(settings, setting) != getattr(defaults, setting):
            raise SettingsError(
                f"{setting} is a setting of the detector hmm, but the detector is {name}. Leave it out."
            )
    return kind()


def prepare(
    candles: pd.DataFrame,
    dataset: str,
    settings: TrainSettings,
    *,
    detector: RegimeDetector | None = None,
) -> Prepared:
    """Split the candles in time and detect their regimes; parameters and errors as in `training.trainer.train`.

    ``detector`` must be fitted to the training part; None to fit one here.
    """
    detector = detector or detector_task(candles, dataset, settings).fit()
    networks = [*settings.every_network, *([DENSITY_SETTINGS] if settings.density else [])]
    names = sorted({name for network in networks for name in network.features})
    silent = [name for name in names if name.startswith("volume")]
    if silent and not candles["volume"].any():
        raise DataError(f"{dataset}: the volume is 0 in every bar. Leave {', '.join(silent)} out of the features.")
    table = compute_features(candles, names)
    index = pd.DatetimeIndex(candles.index)
    return Prepared(
        dataset=dataset,
        settings=settings,
        split=_split(candles, settings),
        detector=detector,
        regimes=_training_regimes(candles, detector, settings),
        features={name: table[columns_of([name])].to_numpy() for name in names},
        log_returns=targets(candles["close"].to_numpy()),
        slots=time_slots(index, interval_of(index)),
    )


def _split(candles: pd.DataFrame, settings: TrainSettings) -> Split:
    return chronological_split(len(candles), settings.train_fraction, settings.validation_fraction)


def _require_enough_bars(
    dataset: str, index: pd.DatetimeIndex, settings: TrainSettings, detector: RegimeDetector
) -> None:
    held = hold_lookback(settings.min_confidence, settings.min_dwell)
    n_bars = len(index)
    interval = interval_of(index) if n_bars > 1 else _ANY_INTERVAL
    lookback = forecast_lookback(detector, held, settings.every_network, interval)
    needed = max(
        math.ceil((lookback + settings.min_windows + 2) / settings.train_fraction),
        math.ceil((_MIN_VALIDATION_WINDOWS + 2) / settings.validation_fraction),
    )
    if n_bars < needed:
        raise DataError(
            f"{dataset}: has {n_bars} bars, but at least {needed} are needed: a lookback of {lookback}, "
            f"{settings.min_windows} training windows and the split. Bring more history, or lower min_windows."
        )


def _training_regimes(candles: pd.DataFrame, detector: RegimeDetector, settings: TrainSettings) -> np.ndarray:
    """The regime of each bar, for the choice of the experts' samples: ``(n_bars,)``."""
    if detector.name == "labels" and REGIME in candles:
        return candles[REGIME].to_numpy()
    observed = compute_features(candles, detector.features).to_numpy()
    return likeliest_regime(detector.filter(observed), detector.regimes, settings.min_confidence, settings.min_dwell)


def _scaler(train_features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation over the rows without NaN; a constant feature has scale 1."""
    rows = train_features[np.isfinite(train_features).all(axis=1)]
    mean, scale = rows.mean(axis=0), rows.std(axis=0)
    return mean, np.where(scale > 0, scale, 1.0)


def _fallback(samples: Samples, log_returns: np.ndarray, settings: TrainSettings) -> str | None:
    """Why a regime's windows cannot train and validate a network of its own, or None."""
    if len(samples.train) < settings.min_windows:
        return f"only {len(samples.train)} training windows, min_windows is {settings.min_windows}"
    if len(samples.validation) < _MIN_VALIDATION_WINDOWS:
        return f"only {len(samples.validation)} validation windows, {_MIN_VALIDATION_WINDOWS} are needed"
    for part, bars in (("training", samples.train), ("validation", samples.validation)):
        if np.ptp(log_returns[bars]) == 0:
            return f"the returns after its {part} windows are all equal"
    return None


def _with_validation(samples: Samples, settings: TrainSettings) -> Samples:
    """Samples with enough for early stopping: the last training windows, if the validation part has too few."""
    if len(samples.validation) >= _MIN_VALIDATION_WINDOWS:
        return samples
    share = settings.validation_fraction / (settings.train_fraction + settings.validation_fraction)
    n_validation = max(_MIN_VALIDATION_WINDOWS, round(share * len(samples.train)))
    if len(samples.train) - n_validation < settings.min_windows:
        return samples
    kept, held_out = samples.train[:-n_validation], samples.train[-n_validation:]
    return Samples(kept, held_out, samples.test, validation_part="train")
