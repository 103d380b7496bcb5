"""Training of model sets, their evaluation, the search for settings, and the statistics of results."""

from typing import TYPE_CHECKING

from data.lazy_names import lazy_names

if TYPE_CHECKING:
    from training.settings import TrainSettings as TrainSettings
    from training.trainer import train as train

# Torch is imported only when one of these is used.
__getattr__ = lazy_names(
    __name__,
    {
        "TrainSettings": "training.settings",
        "train": "training.trainer",
    },
)
