"""The files of results that count as trials: finds them in a workspace, and reads their records."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
import pandas as pd

from data.candles import month_hashes
from data.errors import DataError
from data.files import regular, write_json
from models.model_set import ModelSet
from models.provenance import Training
from runners.backtesting.runs import DAMAGE, LARGEST_TABLE, METRICS, NOT_COUNTED, REMOVED, read_figures
from runners.backtesting.trial_records import (
    BACKTEST,
    EVALUATION,
    OVERFIT,
    SWEEP,
    Choice,
    TradedBars,
    TrialRecord,
    as_numbers,
    hash_of_figure,
    training_key,
)

SWEEPS, OVERFITTING, EVALUATIONS, RECORDED = "sweeps", "overfitting", "evaluations", "recorded"
GRID_TABLE, GRID_SUMMARY, EVALUATION_FILE = "settings.csv", "grid.json", "evaluation.json"
_KINDS = {  # folder in a dataset's folder, kind, and the file by whose change a result is read again
    "": (BACKTEST, METRICS),
    REMOVED: (BACKTEST, METRICS),
    RECORDED: (BACKTEST, METRICS),
    SWEEPS: (SWEEP, GRID_TABLE),
    OVERFITTING: (OVERFIT, GRID_TABLE),
    EVALUATIONS: (EVALUATION, EVALUATION_FILE),
}
_ID = re.compile(r"\d{8}T")


@dataclass(frozen=True)
class GridSummary:
    """What a sweep or an overfitting analysis writes beside its table, in ``grid.json``.

    Attributes
    ----------
    mean_correlation
        Of the returns of the different trials in the table.
    training
        Of the models whose forecasts are traded.
    """

    bars: TradedBars
    training: Training
    mean_correlation: float
    choice: Choice

    @classmethod
    def from_dict(cls, dataset: str, content: Mapping[str, Any]) -> Self:
        first, last = pd.Timestamp(content["first_bar"]), pd.Timestamp(content["last_bar"])
        return cls(
            TradedBars(dataset, first, last, tuple(content["months"])),
            Training.from_dict(content["training"]),
            float(content["mean_correlation"]),
            Choice.from_dict(content),
        )

    def to_dict(self) -> dict[str, Any]:
        return {
            "first_bar": self.bars.first_bar.isoformat(),
            "last_bar": self.bars.last_bar.isoformat(),
            "months": list(self.bars.months),
            "mean_correlation": self.mean_correlation,
            **self.choice.to_dict(),
            "training": Training.to_dict(self.training),
        }


def write_grid(folder: Path, table: pd.DataFrame, summary: GridSummary) -> None:
    """Write the table and the summary of a grid."""
    table.to_csv(folder / GRID_TABLE, index=False)
    write_json(folder / GRID_SUMMARY, summary.to_dict())


class ResultFolder(NamedTuple):
    """The folder of a result, relative to the workspace's results, and a stamp that changes with its content."""

    path: str
    kind: str
    stamp: str


def result_folders(results: Path) -> Iterator[ResultFolder]:
    """All results of a workspace, dataset by dataset."""
    for dataset in _folders(str(results)):
        if not os.access(results / dataset, os.R_OK | os.X_OK):
            yield ResultFolder(dataset, BACKTEST, "unreadable")
            continue
        for name, (kind, file) in _KINDS.items():
            parent = f"{dataset}/{name}".removesuffix("/")
            for result in _folders(f"{results}/{parent}"):
                if _ID.match(result):
                    yield ResultFolder(f"{parent}/{result}", kind, _stamp(f"{results}/{parent}/{result}/{file}"))


def _folders(parent: str) -> list[str]:
    """Names of the folders in a folder, sorted; without hidden ones, such as unfinished results."""
    try:
        with os.scandir(parent) as entries:
            return sorted(entry.name for entry in entries if not entry.name.startswith(".") and entry.is_dir())
    except OSError:
        return []


def _stamp(file: str) -> str:
    try:
        status = os.stat(file)
    except OSError:
        return "unreadable"
    return f"{status.st_mtime_ns} {status.st_size}"


def read_record(results: Path, path: str, kind: str) -> TrialRecord:
    """The record of a result.

    Raises
    ------
    DataError
        If its files cannot be read, or are of a newer version.
    """
    folder, dataset = results / path, path.split("/")[0]
    if kind == BACKTEST:
        return _read_backtest(folder, dataset)
    reader, file = (_read_evaluation, EVALUATION_FILE) if kind == EVALUATION else (_read_grid, GRID_TABLE)
    try:
        return reader(folder, dataset, kind)
    except DAMAGE as error:
        reason = f"{file} cannot be read ({type(error).__name__}: {error})"
        raise DataError(f"{folder}: {reason}. {NOT_COUNTED}. Repeat it, or remove the folder.") from error


def _read_backtest(folder: Path, dataset: str) -> TrialRecord:
    """A run, also a removed one, or a backtest that Python recorded."""
    figures = read_figures(folder)
    bars = TradedBars(dataset, figures.first_bar, figures.last_bar, figures.months)
    if figures.in_sample:
        return TrialRecord(BACKTEST, folder.name, bars)
    try:
        equity = pd.read_csv(regular(folder / "equity.csv", LARGEST_TABLE), usecols=["equity"])["equity"].to_numpy(
            dtype=float
        )
    except DAMAGE:  # of a removed run, or damaged: its figures count
        equity = None
    return TrialRecord.of_backtest(
        folder.name, bars, figures.training, figures.metrics, returns=figures.returns, equity=equity
    )


def _read_grid(folder: Path, dataset: str, kind: str) -> TrialRecord:
    """A sweep or an overfitting analysis; those of earlier versions have no summary, and no hashes."""
    table = pd.read_csv(
        regular(folder / GRID_TABLE, LARGEST_TABLE), parse_dates=["first_bar", "last_bar"], dtype={"returns": str}
    )
    file = folder / GRID_SUMMARY
    summary = GridSummary.from_dict(dataset, _read_json(file)) if file.exists() else None
    return grid_record(kind, folder.name, dataset, table, summary)


def grid_record(kind: str, made: str, dataset: str, table: pd.DataFrame, summary: GridSummary | None) -> TrialRecord:
    """The record of a grid; its trials are the ``tried`` settings of its table (`GridRun.figures`)."""
    tried = table[table["tried"]]
    sharpes, n_bars = tried["sharpe_per_bar"].to_numpy(dtype=float), tried["bars"].to_numpy()
    if summary is None:
        hashes = as_numbers(hash_of_figure(*figures) for figures in zip(n_bars, sharpes, strict=True))
        bars = TradedBars(dataset, table["first_bar"].iloc[0], table["last_bar"].iloc[0], ())
        about: dict[str, Any] = {}
    else:
        hashes, bars = as_numbers(tried["returns"]), summary.bars
        about = {"correlation": summary.mean_correlation, "choice": summary.choice}
        about["training"] = training_key(summary.training)
    hashes, first = np.unique(hashes, return_index=True)
    return TrialRecord(kind, made, bars, hashes=hashes, sharpes=(sharpes * np.sqrt(n_bars))[first], **about)


def look_at(candles: pd.DataFrame, model_set: ModelSet) -> dict[str, Any]:
    """What an evaluation of these unseen candles adds to its file, so that it counts as a look at them."""
    return {"months": month_hashes(candles), "training": Training.to_dict(model_set.provenance)}


def _read_evaluation(folder: Path, dataset: str, kind: str) -> TrialRecord:
    """An evaluation; one of an earlier version does not name its training, and does not count."""
    content = _read_json(folder / EVALUATION_FILE)
    first, last = pd.Timestamp(content["first_bar"]), pd.Timestamp(content["last_bar"])
    bars = TradedBars(dataset, first, last, tuple(content.get("months", ())))
    training = training_key(Training.from_dict(content["training"])) if "training" in content else ""
    return TrialRecord(kind, folder.name, bars, training)


def _read_json(file: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(regular(file).read_text(encoding="utf-8"))
    return content
