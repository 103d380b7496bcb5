"""Fitting: the training loop, whole model sets, and how well they forecast."""

from typing import TYPE_CHECKING

from data.lazy import give_on_first_use

if TYPE_CHECKING:
    from training.settings import TrainSettings as TrainSettings
    from training.train import train as train

give_on_first_use(__name__, {"train": "training.train", "TrainSettings": "training.settings"})
