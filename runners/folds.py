"""The folds of a walk-forward: fitted, kept while it runs, and traded as one backtest."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from data.candles import fingerprint
from models.model_set import ModelSet
from models.recorded import RecordedForecasts
from runners.checkpoint import Checkpoint
from runners.cluster import workers
from runners.console import folds_progress, notice
from runners.settings import BacktestSettings
from runners.simulation import Backtest, Source, TradedFold, backtest_recorded
from training.settings import TrainSettings, WalkForwardSettings
from training.walk_forward import FoldId, fit_folds, folds_of, stitched_forecasts


def fit_all(
    series: Mapping[str, pd.DataFrame],
    settings: TrainSettings,
    schedule: WalkForwardSettings,
    checkpoints: Mapping[str, Checkpoint],
    *,
    cluster: str | None,
    jobs: int | None,
) -> dict[FoldId, ModelSet]:
    """Every fold's models: those that an interrupted run has left, and the others, each kept as soon as it is there."""

    model_sets = {
        FoldId(dataset, number): model_set
        for dataset, checkpoint in checkpoints.items()
        for number, model_set in checkpoint.load().items()
    }
    if model_sets:
        notice(f"{len(model_sets)} folds are there already, of a run that was interrupted.")
    totals = {dataset: len(folds_of(candles, schedule)) for dataset, candles in series.items()}
    with workers(cluster, jobs), folds_progress(totals) as advance:
        for fold in model_sets:
            advance(fold.dataset)
        for fold, model_set in fit_folds(series, settings, schedule, model_sets):
            checkpoints[fold.dataset].save(fold.number, model_set)
            model_sets[fold] = model_set
            advance(fold.dataset)
    return model_sets


def trade_folds(
    dataset: str,
    candles: pd.DataFrame,
    model_sets: list[ModelSet],
    settings: TrainSettings,
    schedule: WalkForwardSettings,
    trading: BacktestSettings,
) -> Backtest:
    """One backtest over the forecasts of all folds, each of its own test part."""

    folds, index = folds_of(candles, schedule), candles.index
    forecasts = stitched_forecasts(candles, folds, model_sets, blend=trading.blend, regime_source=trading.regime_source)
    newest = model_sets[-1]
    source = Source(
        dataset,
        newest.interval,
        {**newest.provenance, "fingerprint": fingerprint(candles), "settings": settings.model_dump(mode="json")},
        folds=tuple(
            TradedFold(index[one.fit.start], index[one.fit.stop - 1], index[one.test.start], index[one.test.stop - 1])
            for one in folds
        ),
    )
    return backtest_recorded(candles, RecordedForecasts(dataset, newest.interval, forecasts), trading, source)
