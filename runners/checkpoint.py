"""The folds that a walk-forward has finished, kept until all are, so that an interrupted one goes on where it was."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import pandas as pd

from data.candles import fingerprint
from data.errors import ModelSetError
from models.model_set import ModelSet
from training.settings import TrainSettings, WalkForwardSettings


class Checkpoint:
    """A folder with a model set a fold, of one walk-forward: the same candles and settings find it again."""

    def __init__(
        self, results: Path, dataset: str, candles: pd.DataFrame, settings: TrainSettings, schedule: WalkForwardSettings
    ) -> None:
        told = [fingerprint(candles), settings.model_dump(mode="json"), schedule.model_dump(mode="json")]
        key = hashlib.sha256(json.dumps(told).encode()).hexdigest()[:16]
        self.folder = results / dataset / ".walk-forward" / key

    def load(self) -> dict[int, ModelSet]:
        """The finished folds by number; one that cannot be read counts as unfinished and is removed."""
        found = {}
        for path in sorted(self.folder.glob("[0-9]*")):
            try:
                found[int(path.name)] = ModelSet.load(path)
            except ModelSetError:
                shutil.rmtree(path)
        return found

    def save(self, number: int, model_set: ModelSet) -> None:
        model_set.write(self.folder / f"{number:04d}")

    def close(self, keep: Path | None) -> None:
        """The walk-forward has been written; its models go to the folder ``keep``, or away."""
        if keep is None:
            shutil.rmtree(self.folder)
        else:
            keep.parent.mkdir(parents=True, exist_ok=True)
            shutil.move(self.folder, keep)
        if not any(self.folder.parent.iterdir()):
            self.folder.parent.rmdir()
