"""Loads a dataset's newest model set, and reloads when a newer one appears."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

from data.candles import OHLCV
from data.errors import ModelSetError, RegimesError
from data.intervals import interval_text
from models.forecaster import Forecaster
from models.model_set import ModelSet, find_model_set
from models.settings import ForecastSettings
from strategies.signals import VOLATILITY_BARS


class LoadedModels(NamedTuple):
    """A forecaster and the id of its training."""

    forecaster: Forecaster
    run: str


class ModelReloader:
    """A dataset's newest model set, updated by `refresh`; with the folder of one training, always that one.

    Attributes
    ----------
    loaded
        The set in use. Another thread may replace it, so read it once if its parts must belong together.
    rejection
        Why a newer set was rejected, or None.

    Raises
    ------
    ModelSetError
        If there is no model set, or it cannot be loaded.
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
    def history(self) -> int:
        """Number of candles before a bar that its forecast and its past volatility depend on."""
        return max(self.forecaster.history, VOLATILITY_BARS)

    @property
    def run(self) -> str:
        return self.loaded.run

    def refresh(self, counted: Counter[str], log: Any) -> bool:
        """Load a newer set if there is one; counts and logs a new set, and a new rejection."""
        before = self.rejection
        is_new = self._load_newer()
        if is_new:
            counted["models_taken"] += 1
            log.info("newer models loaded", models=self.run)
        elif self.rejection not in (None, before):
            counted["models_refused"] += 1
            log.error("newer models refused", why=self.rejection, goes_on_with=self.run)
        return is_new

    def _load_newer(self) -> bool:
        """Load a newer set if there is one; a rejected set is loaded again only after its files have changed."""
        try:
            folder = find_model_set(self._path)
            files = _file_stats(folder)
        except (ModelSetError, OSError, ValueError):  # the folder is being moved or is gone, or `latest` is unreadable
            return False
        if folder.name == self.run:
            self.rejection = None  # the rejected set was removed
            return False
        if files == self._rejected_files:
            return False
        try:
            forecaster = self._load(folder)
            self._require_same_candles(forecaster, folder)
        except Exception as error:  # own features and detectors may raise any; no file may end a running service
            reason = str(error) if isinstance(error, RegimesError) else f"{folder}: {type(error).__name__}: {error}"
            self.rejection, self._rejected_files = reason, files
            return False
        self.loaded, self.rejection = LoadedModels(forecaster, folder.name), None
        return True

    def _require_same_candles(self, newer: Forecaster, folder: Path) -> None:
        """Raise a `ModelSetError` if a newer set reads other bars or columns than the services have."""
        if newer.interval != self.forecaster.interval:
            raise ModelSetError(
                f"{folder}: trained on bars {interval_text(newer.interval)} apart, the previous models on "
                f"{interval_text(self.forecaster.interval)}. Stop the services before you change the interval."
            )
        unknown = [column for column in newer.columns() if column not in {*OHLCV, *self.forecaster.columns()}]
        if unknown:
            raise ModelSetError(
                f"{folder}: reads {', '.join(unknown)}, which the candles of the running services do not have. Train "
                "without it, or stop the services before you change the columns."
            )

    def _load(self, folder: Path) -> Forecaster:
        return Forecaster(ModelSet.load(folder), self._settings)


def _file_stats(folder: Path) -> list[tuple[str, int, int]]:
    """Name, modification time and size of each file."""
    stats = {path.name: path.lstat() for path in sorted(folder.iterdir())}
    return [(name, stat.st_mtime_ns, stat.st_size) for name, stat in stats.items()]
