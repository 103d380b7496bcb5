"""What a dataset's last search has found, to train with."""

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
class FoundSettings:
    """The best settings of each network that was searched, and what they came from.

    Attributes
    ----------
    table
        As in a TOML file's ``[train]``: what the search began from, and what it found for each network.
    study
        What a model set keeps of the search.
    """

    table: dict[str, Any]
    study: Study

    @classmethod
    def newest(cls, results: Path, dataset: str) -> FoundSettings:
        """Of the search that was worked on last.

        Raises
        ------
        SettingsError
            If there is none, or it has not finished a trial.
        """
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
                sharpes={name: [one["sharpe"] for one in study["trials"]] for name, study in studies.items()},
            ),
        )

    @classmethod
    def of(cls, model_set: ModelSet) -> FoundSettings | None:
        """What a model set was trained with, if that came from a search."""
        known = model_set.provenance
        return cls(known.settings, known.study) if known.study else None

    def require_seen(self, candles: pd.DataFrame, settings: TrainSettings, source: str) -> None:
        """Refuse a training that would have bars traded as unseen which the search has seen.

        Raises
        ------
        SettingsError
            Naming both bars.
        """
        split = chronological_split(len(candles), settings.train_fraction, settings.validation_fraction)
        end = candles.index[split.validation.stop - 1]
        if self.study.validation_end > end:
            raise SettingsError(
                f"{source}: study {self.study.id} has seen the bars up to {self.study.validation_end}, but validation "
                f"would end at {end} here, and the bars between would be traded as unseen. Search again on these."
            )
