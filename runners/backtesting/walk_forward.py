"""The folds of a walk-forward: fitted, kept while it runs, and traded as one backtest."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from data.candles import REGIME, fingerprint
from data.errors import DataError
from data.features import compute_features
from models.model_set import ModelSet
from models.recorded import RecordedForecasts
from models.regimes import Reorderable, likeliest_regime
from runners.backtesting.checkpoint import Checkpoint
from runners.backtesting.cluster import workers
from runners.backtesting.engine import Backtest, Source, TradedFold, backtest_recorded
from runners.backtesting.settings import BacktestSettings
from runners.report.backtest_tables import expert_notes
from runners.terminal import folds_progress, notice
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
    totals = {dataset: len(folds_of(dataset, candles, schedule)) for dataset, candles in series.items()}
    model_sets = {
        FoldId(dataset, number): model_set
        for dataset, checkpoint in checkpoints.items()
        for number, model_set in checkpoint.load().items()
    }
    if model_sets:
        notice(f"{len(model_sets)} of {sum(totals.values())} folds are there already, of a run that was interrupted.")
    if len(model_sets) == sum(totals.values()):
        return model_sets
    with workers(cluster, jobs), folds_progress(totals) as advance:
        for fold in model_sets:
            advance(fold.dataset)
        try:
            for fold, model_set in fit_folds(series, settings, schedule, model_sets):
                checkpoints[fold.dataset].save(fold.number, model_set)
                model_sets[fold] = model_set
                advance(fold.dataset)
        except KeyboardInterrupt:
            notice(f"{len(model_sets)} of {sum(totals.values())} folds are kept; the same command goes on after them.")
            raise
    return model_sets


def require_regime_source(series: Mapping[str, pd.DataFrame], trading: BacktestSettings) -> None:
    """Refuse, before anything is trained, to trade on a column of regimes that is not there."""
    for dataset, candles in series.items():
        if trading.regime_source == "column" and REGIME not in candles:
            raise DataError(f"{dataset}: has no column {REGIME!r}, on which --regime-source column would trade.")


def trade_folds(
    dataset: str,
    candles: pd.DataFrame,
    model_sets: list[ModelSet],
    settings: TrainSettings,
    schedule: WalkForwardSettings,
    trading: BacktestSettings,
) -> Backtest:
    """One backtest over the forecasts of all folds, each of its own test part."""
    folds, index = folds_of(dataset, candles, schedule), candles.index
    forecasts = stitched_forecasts(candles, folds, model_sets, blend=trading.blend, regime_source=trading.regime_source)
    newest = model_sets[-1]
    source = Source(
        dataset,
        newest.interval,
        {**newest.provenance, "fingerprint": fingerprint(candles), "settings": settings.model_dump(mode="json")},
        folds=tuple(
            TradedFold(
                index[one.fit.start],
                index[one.fit.stop - 1],
                index[one.test.start],
                index[one.test.stop - 1],
                tuple(expert_notes(model_set)),
                _names_fit(model_set, candles.iloc[one.fit]),
            )
            for one, model_set in zip(folds, model_sets, strict=True)
        ),
    )
    return backtest_recorded(candles, RecordedForecasts(dataset, newest.interval, forecasts), trading, source)


def _names_fit(model_set: ModelSet, learnt: pd.DataFrame) -> bool:
    """Whether the regimes' mean returns stand in the order of their names, where the names are ours to give."""
    detector = model_set.detector
    if not isinstance(detector, Reorderable):
        return True
    probabilities = detector.filter(compute_features(learnt, detector.features).to_numpy())
    regimes = likeliest_regime(probabilities, detector.regimes)
    by_regime = np.log(learnt["close"]).diff().groupby(regimes).mean()
    return bool(by_regime.is_monotonic_increasing)
