"""Loads a dataset's newest model set, and reloads when a newer one appears."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from data.candles import interval_text
from data.errors import ModelSetError
from models.forecaster import Forecaster
from models.model_set import ModelSet, find_model_set
from models.settings import ForecastSettings


class LoadedModels(NamedTuple):
    """A forecaster and the id of its training."""

    forecaster: Forecaster
    run: str


class ModelReloader:
    """A dataset's newest model set, updated by `refresh`; with the folder of one training, always that one.

    Attributes
    ----------
    loaded
        The set in use. Read it once where its parts must belong together: another thread may `refresh`.
    rejection
        Why a newer set was rejected, or None.

    Raises
    ------
    ModelSetError
        If there is no set, or it cannot be loaded.
    """

    def __init__(self, path: Path, settings: ForecastSettings | None = None) -> None:
        self._path, self._settings = path, settings
        self.rejection: str | None = None
        self._rejected_files: object = None
        folder = find_model_set(path)
        self.loaded = LoadedModels(self._load(folder), folder.name)

    @property
    def forecaster(self) -> Forecaster:
        return self.loaded.forecaster

    @property
    def run(self) -> str:
        return self.loaded.run

    def refresh(self) -> bool:
        """Load a newer set if there is one. A rejected set is not tried again until its files change."""
        try:
            folder = find_model_set(self._path)
        except ModelSetError:  # the folder is being moved or is gone: keep what is loaded
            return False
        if folder.name == self.run:
            self.rejection = None  # the rejected set was removed
            return False
        files = _file_stats(folder)
        if files == self._rejected_files:
            return False
        try:
            forecaster = self._load(folder)
            if forecaster.interval != self.forecaster.interval:
                raise ModelSetError(
                    f"{folder}: is of bars {interval_text(forecaster.interval)} apart, those before of "
                    f"{interval_text(self.forecaster.interval)}. Stop the services before you change the interval."
                )
        except ModelSetError as error:
            self.rejection, self._rejected_files = str(error), files
            return False
        self.loaded, self.rejection = LoadedModels(forecaster, folder.name), None
        return True

    def _load(self, folder: Path) -> Forecaster:
        return Forecaster(ModelSet.load(folder), self._settings)


def _file_stats(folder: Path) -> list[tuple[str, int, int]]:
    """Name, time and size of each file, to notice changes."""
    stats = {path.name: path.stat() for path in sorted(folder.iterdir())}
    return [(name, stat.st_mtime_ns, stat.st_size) for name, stat in stats.items()]
