"""Trains the folds of walk-forwards with checkpoints, and trades them as one backtest."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pandas as pd

from data.candles import REGIME, fingerprint
from data.errors import DataError, ModelSetError, StorageError
from data.files import sha256_of
from models.model_set import ModelSet
from models.recorded import RecordedForecasts
from runners.backtesting.engine import backtest_recorded
from runners.backtesting.result import Backtest, Source, TradedFold
from runners.backtesting.settings import BacktestSettings
from training.provenance import git_commit, package_versions
from training.settings import TrainSettings, WalkForwardSettings
from training.walk_forward import FoldId, fit_folds, folds_of, stitched_forecasts


class Checkpoint:
    """A folder with one model set per finished fold, named by candles, settings, versions and user code."""

    def __init__(
        self,
        results: Path,
        dataset: str,
        candles: pd.DataFrame,
        settings: TrainSettings,
        schedule: WalkForwardSettings,
        code: Sequence[Path],
    ) -> None:
        identity = [
            fingerprint(candles),
            settings.model_dump(mode="json"),
            schedule.model_dump(mode="json"),
            [sha256_of(file) for file in code],
            package_versions(),
            git_commit(),
        ]
        key = hashlib.sha256(json.dumps(identity).encode()).hexdigest()[:16]
        self.folder = results / dataset / ".walk-forward" / key

    def load(self) -> dict[int, ModelSet]:
        """The finished folds by number; unreadable ones are removed and count as unfinished."""
        finished = {}
        for path in sorted(self.folder.glob("[0-9]*")):
            try:
                finished[int(path.name) - 1] = ModelSet.load(path)
            except ModelSetError:
                shutil.rmtree(path, ignore_errors=True)
        return finished

    def save(self, number: int, model_set: ModelSet) -> None:
        folder = fold_folder(self.folder, number)
        try:
            model_set.write(folder)
        except StorageError:
            if not folder.exists():  # else the same walk-forward runs twice, and the other process was faster
                raise

    def remove(self) -> None:
        """Remove the folder after the run is written."""
        shutil.rmtree(self.folder, ignore_errors=True)
        with suppress(OSError):  # there are others
            self.folder.parent.rmdir()


def fold_folder(parent: Path, number: int) -> Path:
    """The folder of a fold's models, counted from 1."""
    return parent / f"{number + 1:04d}"


def finished_folds(checkpoints: Mapping[str, Checkpoint]) -> dict[FoldId, ModelSet]:
    """The folds that are finished from an interrupted run of the same walk-forwards."""
    return {
        FoldId(dataset, number): model_set
        for dataset, checkpoint in checkpoints.items()
        for number, model_set in checkpoint.load().items()
    }


def fit_missing(
    series: Mapping[str, pd.DataFrame],
    settings: TrainSettings,
    schedule: WalkForwardSettings,
    checkpoints: Mapping[str, Checkpoint],
    model_sets: dict[FoldId, ModelSet],
    on_fold: Callable[[str], None],
) -> None:
    """Train the folds that ``model_sets`` lacks; add each to it and to its checkpoint at once."""
    for fold, model_set in fit_folds(series, settings, schedule, dict(model_sets)):
        checkpoints[fold.dataset].save(fold.number, model_set)
        model_sets[fold] = model_set
        on_fold(fold.dataset)


def require_regime_source(series: Mapping[str, pd.DataFrame], trading: BacktestSettings) -> None:
    """Raise DataError before training if the candles lack the column of regimes to trade on."""
    for dataset, candles in series.items():
        if trading.regime_source == "column" and REGIME not in candles:
            raise DataError(f"{dataset}: has no column {REGIME!r}, but --regime-source column needs it.")


def trade_folds(
    dataset: str,
    candles: pd.DataFrame,
    model_sets: list[ModelSet],
    settings: TrainSettings,
    schedule: WalkForwardSettings,
    trading: BacktestSettings,
) -> Backtest:
    """One backtest over the test parts of all folds."""
    folds, index = folds_of(dataset, candles, schedule), candles.index
    forecasts = stitched_forecasts(candles, folds, model_sets, trading)
    newest = model_sets[-1]
    source = Source(
        dataset,
        newest.interval,
        replace(newest.provenance, fingerprint=fingerprint(candles), settings=settings.model_dump(mode="json")),
        folds=tuple(
            TradedFold(
                index[one.fit.start],
                index[one.fit.stop - 1],
                index[one.test.start],
                index[one.test.stop - 1],
                tuple(model_set.expert_notes()),
            )
            for one, model_set in zip(folds, model_sets, strict=True)
        ),
        regime_returns=tuple(one.regime_returns for one in model_sets),
    )
    return backtest_recorded(candles, RecordedForecasts(dataset, newest.interval, forecasts), trading, source)
