"""The best settings of a dataset's last search, to train with."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from data.errors import SettingsError
from data.files import latest_run
from data.splits import chronological_split
from models.model_set import ModelSet
from models.provenance import Study
from runners.search.folder import STUDIES, read_study
from training.settings import TrainSettings


@dataclass(frozen=True)
class BestSettings:
    """The best settings of each searched network, and the study that they come from.

    Attributes
    ----------
    table
        Content of a ``[train]`` table: the start of the search, with each network's best settings.
    study
        The record of the search for the model set.
    """

    table: dict[str, Any]
    study: Study

    @classmethod
    def newest(cls, results: Path, dataset: str) -> BestSettings:
        """The best settings of the latest search; raise a `SettingsError` if no trial has finished."""
        parent = results / dataset / STUDIES
        folder = latest_run(parent)
        content = read_study(folder) if folder else {}
        studies = content.get("studies", {})
        best = {name: study["best"]["settings"] for name, study in studies.items() if study["best"]}
        if folder is None or not best:
            raise SettingsError(f"{parent}: holds no finished trial. Search first: regimes optimize {dataset}")
        return cls(
            table={**content["train"], "networks": {**content["train"]["networks"], **best}},
            study=Study(
                id=folder.name,
                validation_end=pd.Timestamp(content["validation_end"]),
                bars=content["split"]["validation"]["bars"],
                trials={name: study["finished"] for name, study in studies.items()},
                sharpes={name: [trial["sharpe"] for trial in study["trials"]] for name, study in studies.items()},
            ),
        )

    @classmethod
    def from_model_set(cls, model_set: ModelSet) -> BestSettings | None:
        """The settings of a model set that was trained after a search; None for any other."""
        provenance = model_set.provenance
        return cls(provenance.settings, provenance.study) if provenance.study else None

    def require_unseen_test_part(self, candles: pd.DataFrame, settings: TrainSettings, source: str) -> None:
        """Raise a `SettingsError` if the study has seen bars of the training's test part."""
        split = chronological_split(len(candles), settings.train_fraction, settings.validation_fraction)
        end = candles.index[split.validation.stop - 1]
        if self.study.validation_end > end:
            raise SettingsError(
                f"{source}: study {self.study.id} has seen the bars up to {self.study.validation_end}, but validation "
                f"ends at {end} here, so the bars in between would be traded as unseen. Search again on these candles."
            )
