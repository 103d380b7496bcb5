"""A training's losses and settings for TensorBoard, written while it runs."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from data.errors import SettingsError
from data.files import new_run_id
from training.settings import SharedSettings, TrainSettings

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

    from models.expert import Expert
    from models.model_set import ModelSet
    from training.trainer import Progress as Epoch

_TRAIN, _VALIDATION, _TEST = "loss/train", "loss/validation", "loss/test"


class TensorBoardLog:
    """One training of one dataset; each of its networks is a run in ``<folder>/<dataset>/<time>/``.

    A network's validation loss is on disk as soon as its epoch is reported, so that a training can be watched, and one
    that breaks off leaves what it got to. Training losses, the test loss and where the models are follow at its end.
    Losses are relative to the zero forecast's, as in the model set.

    Raises
    ------
    SettingsError
        If TensorBoard is not installed, or the folder cannot be written to.
    """

    def __init__(self, folder: Path, dataset: str, settings: TrainSettings) -> None:
        try:
            import torch.utils.tensorboard  # noqa: F401  its own check for the package tensorboard
        except ImportError:
            raise SettingsError(
                "--tensorboard needs TensorBoard: pip install -c constraints.txt -e '.[tensorboard]'"
            ) from None
        self.folder = folder / dataset / new_run_id()
        self._settings = settings
        self._writers: dict[str, SummaryWriter] = {}
        self._times: dict[tuple[str, int], float] = {}
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
        """Write one epoch's validation loss, and before a network's first one its settings."""
        if report.name not in self._writers:
            self._writers[report.name] = self._begin(report.name)
        writer = self._writers[report.name]
        self._times[report.name, report.epoch] = time.time()
        writer.add_scalar(_VALIDATION, report.validation_loss, report.epoch)
        writer.flush()

    def end(self, model_set: ModelSet, models: Path) -> None:
        """Write what is known once the networks are assembled and saved in the folder ``models``."""
        experts = {expert.name: expert for expert in [*model_set.experts.values(), model_set.all_regimes]}
        for name, writer in self._writers.items():
            self._end(writer, experts[name])
            writer.add_text("models", str(models.resolve()))

    def _begin(self, name: str) -> SummaryWriter:
        from torch.utils.tensorboard import SummaryWriter

        writer = SummaryWriter(str(self.folder / name))
        experiment, start, _ = _hyperparameters(self._settings, name)
        _write(writer, experiment, start)
        return writer

    def _end(self, writer: SummaryWriter, expert: Expert) -> None:
        for epoch, loss in enumerate(expert.training["train_losses"], start=1):
            writer.add_scalar(_TRAIN, loss, epoch, walltime=self._times[expert.name, epoch])
        test_loss = expert.training["relative_loss"]["test"]
        if test_loss is not None:
            writer.add_scalar(_TEST, test_loss, expert.training["best_epoch"])
        _, _, success = _hyperparameters(self._settings, expert.name)
        _write(writer, success)


def _write(writer: SummaryWriter, *summaries: Any) -> None:
    to_file: Any = writer.file_writer
    for summary in summaries:
        to_file.add_summary(summary)


def _hyperparameters(settings: TrainSettings, network: str) -> tuple[Any, Any, Any]:
    """A network's settings for TensorBoard's table of them: the columns, the row, and that it was finished.

    `SummaryWriter.add_hparams` would write all three at once, and as a run of its own.
    """
    from torch.utils.tensorboard.summary import hparams

    of_network = settings.of(network).model_dump()
    of_network["features"] = ",".join(of_network["features"])
    shared = settings.model_dump(include=set(SharedSettings.model_fields))
    return hparams({**of_network, **shared}, {_TEST: 0.0})
