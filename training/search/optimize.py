"""The search for the settings of one network, as an Optuna study.

The sampler is TPE (Bergstra et al. 2011, "Algorithms for hyper-parameter optimization"); Hyperband, one of the
pruners, is Li et al. (2018), "Hyperband: a novel bandit-based approach to hyperparameter optimization".
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Protocol, cast

import numpy as np
import optuna
import pandas as pd

from data.splits import Split
from models.expert import expert_name
from models.inference import EnsembleReader
from models.network import RegimeLSTM, one_thread
from models.regimes import RegimeDetector
from training.prepare import NetworkData, Prepared, prepare
from training.search.settings import SearchSettings
from training.search.storage import open_storage, storage_errors_explained
from training.search.worker import OnEpoch, Outcome, SearchProgress, Worker
from training.settings import NetworkSettings, TrainSettings
from training.trainer import Member, NetworkTask, require_test_part

_TRIALS_BEFORE_PRUNING = 5
_EPOCHS_BEFORE_PRUNING = 3


class Trade(Protocol):
    """Trades forecasts in a simulation."""

    def __call__(self, bars: slice, forecast: np.ndarray) -> float | None:
        """Sharpe ratio per bar, after costs, of the forecasts ``(n_bars,)``; None where it is not defined."""
        ...


def prepare_search(candles: pd.DataFrame, dataset: str, settings: TrainSettings, search: SearchSettings) -> Prepared:
    """Prepare all trials, without the bars after `data.splits.Split.for_search`'s validation part.

    Parameters and errors as in `training.trainer.train`.

    There must be enough bars for the longest window and all features of the search.
    """
    require_test_part(settings)
    widest = settings.model_copy(update={**search.widest.model_dump(), "networks": {}})
    prepared = prepare(candles, dataset, widest)
    split = prepared.split.for_search()
    end = split.validation.stop
    return replace(
        prepared,
        split=Split(split.train, split.validation, slice(end, end)),
        regimes=prepared.regimes[:end],
        features={name: values[:end] for name, values in prepared.features.items()},
        log_returns=np.append(prepared.log_returns[: end - 1], np.nan),
        slots=prepared.slots[:end],
    )


@dataclass(frozen=True)
class StudyTask:
    """One network's study, to run in any process: arrays and numbers only.

    Attributes
    ----------
    regime
        The network's regime; None for the all-regimes network.
    prepared
        From `prepare_search`.
    start
        Settings of the first trial, if the search space contains them.
    storage
        Address for `training.search.storage.open_storage`.
    study
        Name of the study in the storage.
    """

    regime: int | None
    prepared: Prepared
    search: SearchSettings
    start: NetworkSettings
    storage: str
    study: str
    trade: Trade

    @property
    def name(self) -> str:
        return expert_name(self.regime)

    def __getstate__(self) -> dict[str, Any]:
        """Omit the detector, whose class may be the user's and unknown to other processes."""
        return {**vars(self), "prepared": replace(self.prepared, detector=cast("RegimeDetector", None))}

    def run(self, on_progress: Callable[[SearchProgress], None] = lambda progress: None) -> None:
        """Run trials until the study is complete, the timeout is reached, or ``on_progress`` raises.

        Equal candles up to the end of validation and equal settings give equal trials, even if the study was
        interrupted; with several workers, their order may differ.

        Parameters
        ----------
        on_progress
            Called after every epoch and every trial. An exception in it ends the search; the next worker repeats the
            current trial.

        Raises
        ------
        SettingsError
            If the storage cannot be used.
        """
        shared = self.prepared.settings
        with storage_errors_explained(self.storage):
            study = optuna.create_study(
                storage=open_storage(self.storage),
                study_name=self.study,
                direction=self.search.direction,
                pruner=_pruner(self.search, shared.epochs),
                load_if_exists=True,
            )
            start = self.search.parameters(self.start)
            Worker(self.name, study, self.search, shared.seed, start, self._train, on_progress).run()

    def _train(self, settings: NetworkSettings, on_epoch: OnEpoch) -> Outcome:
        data = self.prepared.network(self.regime, settings)
        result = NetworkTask(Member(self.regime, 1), data, self.prepared.settings).fit(on_epoch)
        bars, forecast = validation_forecast(result.network, data, self.prepared.split)
        return Outcome(min(result.validation_losses), self.trade(bars, forecast))


def validation_forecast(network: RegimeLSTM, data: NetworkData, split: Split) -> tuple[slice, np.ndarray]:
    """The validation bars, and the forecast log returns ``(n_bars,)`` at them; 0 at bars of other regimes.

    The bars are the validation part, or the end of the training part if that validates the network.
    """
    samples = data.samples
    in_training = samples.validation_part == "train"
    bars = slice(int(samples.validation[0]), split.train.stop) if in_training else split.validation
    forecast = np.zeros(bars.stop - bars.start)
    with one_thread():
        outputs = EnsembleReader([network.double()]).outputs(data.passes, data.inputs, samples.validation)
    forecast[samples.validation - bars.start] = outputs[0, 0] * data.target_scale
    return bars, forecast


def _pruner(search: SearchSettings, epochs: int) -> optuna.pruners.BasePruner:
    if search.pruner == "median":
        return optuna.pruners.MedianPruner(
            n_startup_trials=_TRIALS_BEFORE_PRUNING, n_warmup_steps=_EPOCHS_BEFORE_PRUNING
        )
    if search.pruner == "hyperband":
        return optuna.pruners.HyperbandPruner(max_resource=epochs)
    return optuna.pruners.NopPruner()
