"""Trains a model set from candles: scalers, detector and one expert per regime."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import NamedTuple

import pandas as pd
import torch

from data.errors import SettingsError
from data.intervals import interval_of
from models.density import DENSITY, Density
from models.expert import Expert, expert_name
from models.inference import EnsembleReader
from models.model_set import ModelSet
from models.network import one_thread
from models.provenance import Study
from training.density import fit_density
from training.fit import FitResult, fit_network
from training.prepare import NetworkData, Prepared, prepare
from training.provenance import PARTS, describe_training
from training.regime_returns import measure_regime_returns
from training.scores import relative_error
from training.settings import TrainSettings
from training.shrinkage import learn_shrinkage


class Progress(NamedTuple):
    """One epoch of one member of a network's ensemble, with its validation loss relative to the zero forecast's."""

    name: str
    member: int
    epoch: int
    validation_loss: float


_DENSITY = -1  # in place of a regime: the networks of the density


class Member(NamedTuple):
    """One member, numbered from 1, of a regime's ensemble; regime None is the all-regimes network."""

    regime: int | None
    number: int

    @property
    def name(self) -> str:
        """Of its ensemble."""
        return DENSITY if self.regime == _DENSITY else expert_name(self.regime)


@dataclass(frozen=True)
class NetworkTask:
    """One network to train, in any process: arrays and numbers only.

    ``start`` are the initial weights; None for random ones.
    """

    member: Member
    data: NetworkData
    settings: TrainSettings
    start: dict[str, torch.Tensor] | None = None

    def fit(self, on_epoch: Callable[[int, float], None] = lambda epoch, loss: None) -> FitResult:
        """Train on one thread; the same task gives the same weights bit for bit, anywhere."""
        with one_thread():
            return fit_network(
                self.data,
                self.settings,
                seed=_seed(self.settings.seed, self.member),
                on_epoch=on_epoch,
                start=self.start,
                device=_device(self.settings.device),
            )


def _seed(seed: int, member: Member) -> int:
    """A seed of its own for each network; torch's generator uses the lowest 32 bits."""
    network = 49 if member.regime == _DENSITY else 0 if member.regime is None else member.regime + 1
    return seed * 1000 + (member.number - 1) * 50 + network


def train(
    candles: pd.DataFrame,
    dataset: str,
    settings: TrainSettings | None = None,
    *,
    study: Study | None = None,
    jobs: int | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> ModelSet:
    """Train one expert per regime, and one network on all regimes, each an ensemble of ``members`` networks.

    Parameters
    ----------
    candles
        ``(n_bars, >= 5)`` as from `data.candles.read_candles`.
    dataset
        Name of the dataset, for the set's files.
    study
        The search that chose the settings: the shrinkage weights are then learnt on validation bars after it.
    jobs
        Networks to train in parallel, one thread each; default: the number of cores. It does not change the result.
    progress
        Called after every epoch of every network, from its thread.

    Returns
    -------
    ModelSet
        Not yet saved; the same candles and settings give the same weights bit for bit.

    Raises
    ------
    DataError
        If there are too few bars for features, windows and the split, or regimes cannot be estimated.
    SettingsError
        If training and validation leave no test part, the device is cuda and there is no GPU, or the all-regimes
        network has no epoch with a finite loss.
    """
    settings = settings or TrainSettings()
    require_test_part(settings)
    prepared = prepare(candles, dataset, settings)
    fitted = fit_side_by_side(network_tasks(prepared), jobs or os.cpu_count() or 1, progress)
    return assemble(candles, prepared, fitted, study)


def require_test_part(settings: TrainSettings) -> None:
    """Raise a `SettingsError` if training and validation leave no test part."""
    if settings.train_fraction + settings.validation_fraction >= 1:
        raise SettingsError(
            "train_fraction and validation_fraction leave no bars to test on; their sum must be below 1."
        )


def network_tasks(prepared: Prepared, warm_start: ModelSet | None = None) -> dict[Member, NetworkTask]:
    """The tasks for all members of the all-regimes network and of each regime with enough windows.

    ``warm_start`` is a model set of the same settings with the initial weights; a network that it lacks starts at
    random.
    """
    ensembles: dict[int | None, NetworkData] = {**prepared.networks}
    if prepared.density is not None:
        ensembles[_DENSITY] = prepared.density
    return {
        member: NetworkTask(member, data, prepared.settings, _weights(warm_start, member) if warm_start else None)
        for regime, data in ensembles.items()
        if data.fallback is None
        for member in _members(regime, prepared.settings)
    }


def _members(regime: int | None, settings: TrainSettings) -> list[Member]:
    return [Member(regime, number) for number in range(1, settings.members + 1)]


def _weights(model_set: ModelSet, member: Member) -> dict[str, torch.Tensor] | None:
    if member.regime == _DENSITY:
        ensemble: Expert | Density | None = model_set.density
    else:
        ensemble = model_set.all_regimes if member.regime is None else model_set.experts.get(member.regime)
    if ensemble is None or ensemble.training.get("fallback") or member.number > len(ensemble.networks):
        return None
    return {name: value.float() for name, value in ensemble.networks[member.number - 1].state_dict().items()}


def assemble(
    candles: pd.DataFrame, prepared: Prepared, fitted: Mapping[Member, FitResult], study: Study | None = None
) -> ModelSet:
    """The model set of fitted networks, with all that is learnt from them; not yet saved. ``study`` as in `train`.

    Raises a `SettingsError` if the training of an all-regimes network has failed.
    """
    settings, detector, validation = prepared.settings, prepared.detector, prepared.split.validation
    if _has_failed(None, prepared, fitted):
        raise SettingsError(f"{prepared.dataset}: the all-regimes network has {_failure(prepared, None)}.")
    model_set = ModelSet(
        dataset=prepared.dataset,
        experts={regime: _expert(regime, prepared, fitted) for regime in detector.regimes},
        all_regimes=_expert(None, prepared, fitted),
        detector=detector,
        interval=interval_of(pd.DatetimeIndex(candles.index)),
        validation_end=candles.index[validation.stop - 1],
        provenance=describe_training(candles, prepared.split, settings, detector, study),
        min_confidence=settings.min_confidence,
        min_dwell=settings.min_dwell,
        density=_density(candles, prepared, fitted),
    )
    searched = int(candles.index.searchsorted(study.validation_end, side="right")) if study else 0
    held_out = slice(min(max(validation.start, searched), validation.stop), validation.stop)
    model_set = learn_shrinkage(model_set, candles, held_out)
    return replace(model_set, regime_returns=measure_regime_returns(model_set, candles.iloc[prepared.split.train]))


def _expert(regime: int | None, prepared: Prepared, fitted: Mapping[Member, FitResult]) -> Expert:
    """A regime's expert: its own networks, or the all-regimes networks where it has none."""
    fallback = prepared.networks[regime].fallback
    if fallback is None and _has_failed(regime, prepared, fitted):
        fallback = _failure(prepared, regime)
    trained = None if fallback else regime
    results, data = [fitted[one] for one in _members(trained, prepared.settings)], prepared.networks[trained]
    samples = prepared.network(regime, data.settings).samples if fallback else data.samples
    seen = {"train": samples.train, "validation": samples.validation}  # `evaluate` scores the test part
    networks = tuple(result.network.double() for result in results)
    reader = EnsembleReader(networks)
    with one_thread():
        outputs = {name: reader.outputs(data.passes, data.inputs, bars)[:, 0] for name, bars in seen.items()}
    return Expert(
        name=expert_name(regime),
        features=data.settings.features,
        mean=data.mean,
        scale=data.scale,
        target_scale=data.target_scale,
        networks=networks,
        window=data.settings.window,
        stride=data.settings.stride,
        training={
            **data.settings.model_dump(include={"batch_size", "lr"}),
            **prepared.settings.model_dump(include={"epochs", "patience", "min_windows"}),
            "fallback": fallback,
            "validation_part": samples.validation_part,
            "windows": {name: len(getattr(samples, name)) for name in PARTS},
            "members": [result.history() for result in results],
            "relative_loss": {
                name: relative_error(outputs[name].mean(axis=0), data.target[bars]) for name, bars in seen.items()
            },
        },
    )


def _density(candles: pd.DataFrame, prepared: Prepared, fitted: Mapping[Member, FitResult]) -> Density | None:
    """The density, if there are enough bars for it and its losses are finite."""
    if prepared.density is None or _has_failed(_DENSITY, prepared, fitted):
        return None
    results = [fitted[member] for member in _members(_DENSITY, prepared.settings)]
    with one_thread():
        return fit_density(candles, prepared, prepared.density, results)


def _has_failed(regime: int | None, prepared: Prepared, fitted: Mapping[Member, FitResult]) -> bool:
    """Whether a member's training has no epoch with finite losses."""
    return any(fitted[member].best_epoch == 0 for member in _members(regime, prepared.settings))


def _failure(prepared: Prepared, regime: int | None) -> str:
    """Why a training without a finite loss gives no network, for messages."""
    return f"no epoch with a finite validation loss; lower lr (now {prepared.networks[regime].settings.lr:g})"


def fit_side_by_side(
    tasks: Mapping[Member, NetworkTask], jobs: int, progress: Callable[[Progress], None] | None
) -> dict[Member, FitResult]:
    """Fit all tasks, ``jobs`` at a time.

    In threads, because torch releases Python's lock, and a process would need a second to import it, longer than most
    networks take to train.
    """
    ended = threading.Event()

    def fit(task: NetworkTask) -> FitResult:
        def on_epoch(epoch: int, validation_loss: float) -> None:
            if ended.is_set():
                raise InterruptedError
            if progress:
                progress(Progress(task.member.name, task.member.number, epoch, validation_loss))

        return task.fit(on_epoch)

    with one_thread(), ThreadPoolExecutor(jobs) as pool:
        fitted = {member: pool.submit(fit, task) for member, task in tasks.items()}
        try:
            return {member: future.result() for member, future in fitted.items()}
        except BaseException:  # including Ctrl-C; the other networks stop at their next epoch
            ended.set()
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _device(wanted: str) -> str:
    there_is_a_gpu = torch.cuda.is_available()
    if wanted == "cuda" and not there_is_a_gpu:
        raise SettingsError("device is cuda, but torch finds no GPU; train with --device auto or cpu.")
    return "cuda" if wanted != "cpu" and there_is_a_gpu else "cpu"
