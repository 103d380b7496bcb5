"""Training of model sets, their evaluation, the search for settings, and the statistics of results."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from training.settings import TrainSettings as TrainSettings
    from training.trainer import train as train


def __getattr__(name: str) -> Any:
    """Import torch only when `train` is used."""
    if name == "train":
        from training.trainer import train

        return train
    if name == "TrainSettings":
        from training.settings import TrainSettings

        return TrainSettings
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
