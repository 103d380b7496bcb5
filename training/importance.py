"""How much each feature matters to each expert: its error on validation bars if the feature's values are shuffled."""

from __future__ import annotations

import numpy as np
import pandas as pd

from data.features import columns_of
from data.windows import targets
from models.expert import Expert
from models.forecaster import Forecaster
from models.model_set import ModelSet
from models.network import Passes, one_thread

_SHUFFLES = 3
_FEWEST_BARS = 20


def permutation_importance(model_set: ModelSet, candles: pd.DataFrame, seed: int = 0) -> dict[str, dict[str, float]]:
    """Permutation importance (Breiman 2001; Fisher, Rudin and Dominici 2019) on the validation part.

    Parameters
    ----------
    candles
        Those of the training; bars after the validation part are not used.

    Returns
    -------
    dict
        By expert and feature: by how much the squared error of the members' mean forecast grows, relative to the error
        of the forecast 0, if the feature's values are exchanged between the validation bars; the mean of three
        shuffles. An expert with fewer than 20 validation bars is left out.
    """
    part, index = model_set.provenance.split["validation"], pd.DatetimeIndex(candles.index)
    rows = np.arange(index.searchsorted(part.first_bar), index.searchsorted(part.last_bar) + 1)
    seen = candles.iloc[: rows[-1] + 1]
    observed, outcome = Forecaster(model_set).observe(seen), targets(seen["close"].to_numpy())
    random = np.random.default_rng(seed)
    importance = {}
    for regime, expert in [*model_set.experts.items(), (None, model_set.all_regimes)]:
        passes, inputs = observed.passes(expert), observed.inputs(expert)
        bars = rows[passes.complete(inputs)[rows] & np.isfinite(outcome[rows])]
        bars = bars if regime is None else bars[observed.regimes[bars] == regime]
        if len(bars) < _FEWEST_BARS or not np.any(outcome[bars]):
            continue
        plain = _relative_error(expert, passes, inputs, bars, outcome)
        importance[expert.name] = {
            name: float(
                np.mean(
                    [
                        _relative_error(expert, passes, _shuffled(inputs, rows, columns, random), bars, outcome)
                        for _ in range(_SHUFFLES)
                    ]
                )
                - plain
            )
            for name, columns in _columns(expert).items()
        }
    return importance


def _columns(expert: Expert) -> dict[str, list[int]]:
    """The numbers of each feature's columns among the expert's inputs."""
    numbers: dict[str, list[int]] = {}
    for name in expert.features:
        first = sum(map(len, numbers.values()))
        numbers[name] = list(range(first, first + len(columns_of([name]))))
    return numbers


def _shuffled(inputs: np.ndarray, rows: np.ndarray, columns: list[int], random: np.random.Generator) -> np.ndarray:
    """The inputs with some columns exchanged between the rows."""
    mixed = inputs.copy()
    mixed[rows[:, None], columns] = inputs[random.permutation(rows)[:, None], columns]
    return mixed


def _relative_error(expert: Expert, passes: Passes, inputs: np.ndarray, bars: np.ndarray, outcome: np.ndarray) -> float:
    """Mean squared error of the members' mean forecast at the bars, relative to the forecast 0's."""
    with one_thread():
        forecast = expert.reader.outputs(passes, inputs, bars)[:, 0].mean(axis=0) * expert.target_scale
    return float(np.sum((forecast - outcome[bars]) ** 2) / np.sum(outcome[bars] ** 2))
