"""Whether models and candles fit together, before one is asked about the other."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from data.candles import REGIME, interval_of, interval_text, time_text
from data.errors import DataError
from models.forecaster import Forecaster, RegimeSource
from models.model_set import ModelSet
from runners.terminal import notice


def require_fit(
    file: Path, candles: pd.DataFrame, model_set: ModelSet, *, regime_source: RegimeSource = "detector"
) -> None:
    """Refuse candles that these models cannot forecast, and say so if they are of another dataset than they know.

    Raises
    ------
    DataError
        If a column is missing that the models read, the bars are of another interval, or there is only one.
    """
    needed = Forecaster(model_set, regime_source=regime_source).columns()
    missing = [name for name in needed if name not in candles]
    if missing:
        raise DataError(
            f"{file}: has no column {', '.join(missing)}, which the models of {model_set.dataset} read. Bring candles "
            "that have it, or train without it."
        )
    index = pd.DatetimeIndex(candles.index)
    if len(index) < 2:
        raise DataError(f"{file}: holds a single bar, too few to tell its interval. Bring more history.")
    interval = interval_of(index)
    if abs(interval - model_set.interval) > 0.01 * model_set.interval:
        raise DataError(
            f"{file}: its bars are {interval_text(interval)} apart, but the models of {model_set.dataset} were trained "
            f"on bars {interval_text(model_set.interval)} apart. Bring such candles, or train on these."
        )
    if regime_source == "column":
        tell_unknown_regimes(file, candles, model_set)
    if file.stem != model_set.dataset:
        notice(
            f"The models were trained on {model_set.dataset}, not on {file.stem}: what they know of its prices, "
            "volatility and regimes may not hold here."
        )


def tell_unknown_regimes(file: Path, candles: pd.DataFrame, model_set: ModelSet) -> None:
    """Say which labels the models have not learnt, because none of them stands in their training part."""
    unknown = candles.loc[~candles[REGIME].isin(list(model_set.experts)), REGIME]
    if len(unknown):
        numbers = ", ".join(f"{label:g}" for label in sorted(unknown.unique()))
        notice(
            f"{file.name}: {len(unknown)} bars, the first at {time_text(unknown.index[0])}, have the regime {numbers}, "
            "which is not in the training part: no expert was trained for it, and the column gives no forecast there."
        )
