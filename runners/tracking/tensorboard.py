"""Logs the losses and settings of a training to TensorBoard while it runs."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from data.errors import SettingsError
from data.files import new_run_id
from models.density import DENSITY
from training.prepare import DENSITY_SETTINGS
from training.settings import SharedSettings, TrainSettings

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

    from models.model_set import ModelSet
    from training.trainer import Progress as Epoch

_TRAIN, _VALIDATION = "loss/train", "loss/validation"


class TensorBoardLog:
    """Log of one training of one dataset; each member of each network is a run in ``<folder>/<dataset>/<time>/``.

    Validation losses are on disk after each epoch. Training losses and the path of the models follow at the end. Losses
    are relative to the zero forecast's, as in the model set.

    Raises
    ------
    SettingsError
        If TensorBoard is not installed, or the folder cannot be written to.
    """

    def __init__(self, folder: Path, dataset: str, settings: TrainSettings) -> None:
        try:
            import torch.utils.tensorboard  # noqa: F401  raises if the package tensorboard is missing
        except ImportError:
            raise SettingsError(
                "--tensorboard needs TensorBoard: pip install -c constraints.txt -e '.[tensorboard]'"
            ) from None
        self.folder = folder / dataset / new_run_id()
        self._settings = settings
        self._writers: dict[tuple[str, int], SummaryWriter] = {}
        self._times: dict[tuple[str, int, int], float] = {}
        try:
            self.folder.mkdir(parents=True)
        except OSError as error:
            raise SettingsError(f"--tensorboard {folder}: cannot be written to ({error.strerror}).") from None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *failure: object) -> None:
        for writer in self._writers.values():
            writer.close()

    def on_epoch(self, report: Epoch) -> None:
        """Write an epoch's validation loss; before a network's first epoch also its settings."""
        key = report.name, report.member
        if key not in self._writers:
            self._writers[key] = self._open(*key)
        writer = self._writers[key]
        self._times[*key, report.epoch] = time.time()
        writer.add_scalar(_VALIDATION, report.validation_loss, report.epoch)
        writer.flush()

    def end(self, model_set: ModelSet, models: Path) -> None:
        """Write the training losses of the model set, and its folder ``models``."""
        trainings = {ensemble.name: ensemble.training for ensemble in model_set.ensembles}
        for (name, member), writer in self._writers.items():
            training = trainings.get(name, {"fallback": "no density"})
            own = [] if training.get("fallback") else training["members"][member - 1]["train_losses"]
            for epoch, loss in enumerate(own, start=1):
                writer.add_scalar(_TRAIN, loss, epoch, walltime=self._times[name, member, epoch])
            _add_summaries(writer, _hyperparameters(self._settings, name)[2:])
            writer.add_text("models", str(models.resolve()))

    def _open(self, network: str, member: int) -> SummaryWriter:
        from torch.utils.tensorboard import SummaryWriter

        run = network if self._settings.members == 1 else f"{network}_{member}"
        writer = SummaryWriter(str(self.folder / run))
        _add_summaries(writer, _hyperparameters(self._settings, network)[:2])
        return writer


def _add_summaries(writer: SummaryWriter, summaries: Sequence[Any]) -> None:
    file_writer: Any = writer.file_writer
    for summary in summaries:
        file_writer.add_summary(summary)


def _hyperparameters(settings: TrainSettings, network: str) -> tuple[Any, Any, Any]:
    """A network's settings for TensorBoard's table of hyperparameters: its columns, the row, and the end of the run.

    `SummaryWriter.add_hparams` writes all three at once, to a separate run.
    """
    from torch.utils.tensorboard.summary import hparams

    own = (DENSITY_SETTINGS if network == DENSITY else settings.of(network)).model_dump()
    own["features"] = ",".join(own["features"])
    shared = settings.model_dump(include=set(SharedSettings.model_fields))
    shared["regime_features"] = ",".join(shared["regime_features"])
    return hparams({**own, **shared}, {_VALIDATION: 0.0})
