"""The folds that a walk-forward has finished, kept until all are, so that an interrupted one goes on where it was."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import pandas as pd

from data.candles import fingerprint
from data.errors import ModelSetError, StorageError
from data.files import sha256_of
from models.model_set import ModelSet
from training.settings import TrainSettings, WalkForwardSettings
from training.trainer import software


class Checkpoint:
    """A folder with a model set a fold: the same candles, settings, versions and code of the user's find it again."""

    def __init__(
        self,
        results: Path,
        dataset: str,
        candles: pd.DataFrame,
        settings: TrainSettings,
        schedule: WalkForwardSettings,
        code: Sequence[Path],
    ) -> None:
        told = [
            fingerprint(candles),
            settings.model_dump(mode="json"),
            schedule.model_dump(mode="json"),
            [sha256_of(file) for file in code],
            software(),
        ]
        key = hashlib.sha256(json.dumps(told).encode()).hexdigest()[:16]
        self.folder = results / dataset / ".walk-forward" / key

    def load(self) -> dict[int, ModelSet]:
        """The finished folds by number; one that cannot be read counts as unfinished and is removed."""
        found = {}
        for path in sorted(self.folder.glob("[0-9]*")):
            try:
                found[int(path.name) - 1] = ModelSet.load(path)
            except ModelSetError:
                shutil.rmtree(path, ignore_errors=True)
        return found

    def save(self, number: int, model_set: ModelSet) -> None:
        folder = fold_folder(self.folder, number)
        try:
            model_set.write(folder)
        except StorageError:
            if not folder.exists():  # else the same walk-forward runs twice, and the other has been faster
                raise

    def remove(self) -> None:
        """The walk-forward has been written."""
        shutil.rmtree(self.folder, ignore_errors=True)
        with suppress(OSError):  # there are others'
            self.folder.parent.rmdir()


def fold_folder(parent: Path, number: int) -> Path:
    """Where a fold's models lie; its name counts from 1, as people do."""
    return parent / f"{number + 1:04d}"
