"""The models that a live service asks: the newest of a dataset, and the next newer one as soon as it is there."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from data.candles import interval_text
from data.errors import ModelSetError
from models.forecaster import Forecaster, RegimeSource
from models.model_set import ModelSet, find_model_set


class Loaded(NamedTuple):
    """A forecaster and the id of the training that its models are of."""

    forecaster: Forecaster
    run: str


class NewestModels:
    """A dataset's newest model set, taken anew by `refresh`; that of one run, if its own folder is named, stays.

    Attributes
    ----------
    loaded
        The set that was loaded last; to be taken once where its parts must belong together, as another thread may
        `refresh` in between.
    trouble
        Why a newer set was not taken, or None.

    Raises
    ------
    ModelSetError
        If there is no set to begin with, or it cannot be loaded.
    """

    def __init__(self, path: Path, *, blend: bool = False, regime_source: RegimeSource = "detector") -> None:
        self._path, self._blend, self._regime_source = path, blend, regime_source
        self.trouble: str | None = None
        self._refused: object = None
        folder = find_model_set(path)
        self.loaded = Loaded(self._load(folder), folder.name)

    @property
    def forecaster(self) -> Forecaster:
        return self.loaded.forecaster

    @property
    def run(self) -> str:
        return self.loaded.run

    def refresh(self) -> bool:
        """Take a newer set, if there is one; one that cannot be loaded is left alone until its files change."""
        try:
            folder = find_model_set(self._path)
        except ModelSetError:  # the folder is being moved or is gone: what is loaded goes on
            return False
        if folder.name == self.run:
            self.trouble = None  # a newer one that was refused is gone
            return False
        if _files(folder) == self._refused:
            return False
        files = _files(folder)
        try:
            forecaster = self._load(folder)
            if forecaster.interval != self.forecaster.interval:
                raise ModelSetError(
                    f"{folder}: is of bars {interval_text(forecaster.interval)} apart, those before of "
                    f"{interval_text(self.forecaster.interval)}. Stop the services before you change the interval."
                )
        except ModelSetError as error:
            self.trouble, self._refused = str(error), files
            return False
        self.loaded, self.trouble = Loaded(forecaster, folder.name), None
        return True

    def _load(self, folder: Path) -> Forecaster:
        return Forecaster(ModelSet.load(folder), blend=self._blend, regime_source=self._regime_source)


def _files(folder: Path) -> list[tuple[str, int, int]]:
    """What changes when a file of the folder does."""
    stats = {path.name: path.stat() for path in sorted(folder.iterdir())}
    return [(name, stat.st_mtime_ns, stat.st_size) for name, stat in stats.items()]
