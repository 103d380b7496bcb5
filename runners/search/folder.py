"""A search's settings and the folder with its results."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from data.candles import fingerprint
from data.files import LATEST, new_run_id, regular, write_json, write_text
from data.splits import Split, chronological_split
from strategies.settings import AXES, TradingSettings
from training.search.settings import SearchSettings
from training.search.storage import without_password
from training.settings import SharedSettings, TrainSettings

if TYPE_CHECKING:
    from training.search.result import StudyResult

STUDIES = "studies"
_STUDY, _JOURNAL = "study.json", "journal.log"
_TRADED_BY = {*AXES, "cash"}


@dataclass(frozen=True)
class Search:
    """A search of one dataset.

    Attributes
    ----------
    candles
        All candles; the search does not use the test part.
    settings
        Training settings that the search starts from.
    options
        Search space, objective and limits.
    trading
        Settings for trading the validation part.
    """

    dataset: str
    candles: pd.DataFrame
    settings: TrainSettings
    options: SearchSettings
    trading: TradingSettings

    @property
    def split(self) -> Split:
        shares = self.settings.train_fraction, self.settings.validation_fraction
        return chronological_split(len(self.candles), *shares).for_search()

    @property
    def seen(self) -> pd.DataFrame:
        """The candles up to the end of the search's validation part."""
        return self.candles.iloc[: self.split.validation.stop]

    def to_dict(self) -> dict[str, Any]:
        """The content of ``study.json``, without results."""
        index = self.candles.index
        parts = {"train": self.split.train, "validation": self.split.validation}
        return {
            "dataset": self.dataset,
            "key": self.key,
            "fingerprint": fingerprint(self.seen),
            "validation_end": index[self.split.validation.stop - 1].isoformat(),
            "split": {
                name: {
                    "first_bar": index[part.start].isoformat(),
                    "last_bar": index[part.stop - 1].isoformat(),
                    "bars": part.stop - part.start,
                }
                for name, part in parts.items()
            },
            "storage": without_password(self.options.storage or _JOURNAL),
            "train": self.settings.model_dump(mode="json"),
            "optimize": self.options.model_dump(mode="json", exclude={"storage"}),
            "backtest": self.trading.model_dump(mode="json", include=_TRADED_BY),
        }

    @property
    def key(self) -> str:
        """A hash, equal for searches that can share a study: number of trials, pruning and members may differ."""
        identity = [
            fingerprint(self.seen),
            self.settings.model_dump(mode="json", include=set(SharedSettings.model_fields) - {"members"}),
            self.options.objective,
            self.options.choices,
            self.trading.model_dump(mode="json", include=_TRADED_BY),
        ]
        return hashlib.sha256(json.dumps(identity).encode()).hexdigest()[:16]

    def study(self, network: str) -> str:
        """Name of a network's study, equal on all machines that share it."""
        return f"{self.dataset} {self.key} {network}"


@dataclass(frozen=True)
class StudyFolder:
    """The folder of one search in the results."""

    path: Path
    search: Search

    @classmethod
    def open(cls, results: Path, search: Search) -> StudyFolder:
        """The newest folder of the same search with the same storage, or a new one."""
        parent = results / search.dataset / STUDIES
        content = search.to_dict()
        for path in sorted(parent.glob("[0-9]*"), reverse=True):
            existing = read_study(path)
            if all(existing.get(name) == content[name] for name in ("key", "storage")):
                return cls(path, search)
        folder = cls(parent / new_run_id(), search)
        folder.path.mkdir(parents=True)
        folder.write([], {})
        return folder

    @property
    def storage(self) -> str:
        """Address for `training.search.storage.open_storage`."""
        return self.search.options.storage or str(self.path / _JOURNAL)

    def write(self, results: Sequence[StudyResult], skipped: Mapping[str, str]) -> None:
        """Write the results, and why some networks were not searched; then ``latest`` names this folder."""
        content = {
            **self.search.to_dict(),
            "skipped": dict(skipped),
            "studies": {result.name: result.to_dict() for result in results},
        }
        write_json(self.path / _STUDY, content)
        if results:
            write_text(self.path.parent / LATEST, self.path.name + "\n")  # the last written, not the newest


def read_study(folder: Path) -> dict[str, Any]:
    """A folder's ``study.json``; empty if it is missing or damaged."""
    try:
        content = json.loads(regular(folder / _STUDY).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
