"""What must hold of a model set that was read from disk before anything may be forecast with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch

from data.features import columns_of

if TYPE_CHECKING:
    from models.model_set import Expert, ModelSet
    from models.regimes import RegimeDetector

_MOST = 1_000_000  # bars that a window, a block, a regime's dwell or a detector's memory may have
_LARGEST = 1e100  # of what a number is scaled by, so that no product overflows


def require_sound(model_set: ModelSet) -> None:
    """Refuse numbers that no training writes, from which forecasts would be wrong or not come at all.

    Raises
    ------
    ValueError
        Naming the first such number.
    """
    _require(model_set.interval > pd.Timedelta(0), "interval", model_set.interval)
    _require(model_set.validation_end.tz is not None, "validation_end", model_set.validation_end)
    _require(0 <= model_set.min_confidence <= 1, "min_confidence", model_set.min_confidence)
    _require(_is_count(model_set.min_dwell), "min_dwell", model_set.min_dwell)
    _require(isinstance(model_set.provenance, dict), "provenance", model_set.provenance)
    for expert in [*model_set.experts.values(), model_set.all_regimes]:
        _require_sound_expert(expert)
    _require_sound_detector(model_set.detector)


def require_weights_of(hyperparameters: Mapping[str, Any], state: Mapping[str, torch.Tensor]) -> None:
    """Refuse weights of another shape before a network is made, which might be larger than the memory.

    Raises
    ------
    ValueError
        If they do not fit.
    """
    hidden_dim, num_layers = hyperparameters["hidden_dim"], hyperparameters["num_layers"]
    of_layer = 4  # weights and biases, of the input and of the state
    if tuple(state["head.weight"].shape) != (1, hidden_dim) or len(state) != of_layer * num_layers + 2:
        raise ValueError(f"they are not of {num_layers} layers of width {hidden_dim}")


def _require_sound_expert(expert: Expert) -> None:
    for name in ("window", "stride"):
        _require(_is_count(expert.hyperparameters[name]), f"{expert.name}: {name}", expert.hyperparameters[name])
    _require_names(expert.features, f"{expert.name}: features")
    n_columns = len(columns_of(expert.features))
    for name, values in (("mean", expert.mean), ("scale", expert.scale)):
        whole = values.shape == (n_columns,) and (np.abs(values) < _LARGEST).all()
        _require(bool(whole), f"{expert.name}: {name}", values)
    scales = [*expert.scale, expert.target_scale]
    _require(all(1 / _LARGEST < scale < _LARGEST for scale in scales), f"{expert.name}: scale", scales)
    finite = all(bool(torch.isfinite(weight).all()) for weight in expert.network.parameters())
    _require(finite, f"{expert.name}: weights", "not finite")


def _require_sound_detector(detector: RegimeDetector) -> None:
    """Ask it about a made-up stretch: it must give a probability for each of its regimes, or know none."""
    _require_names(detector.features, f"detector {detector.name}: features")
    _require(_is_count(detector.memory), f"detector {detector.name}: memory", detector.memory)
    rows = detector.memory + 5
    with np.errstate(all="raise", under="ignore"):
        told = detector.filter(np.random.default_rng(0).standard_normal((rows, len(columns_of(detector.features)))))
    known = told[np.isfinite(told).all(axis=1)]
    sound = told.shape == (rows, len(detector.regimes)) and bool((np.abs(known.sum(axis=1) - 1) < 1e-6).all())
    _require(sound, f"detector {detector.name}", detector.parameters())


def _require(holds: bool, name: str, value: object) -> None:
    if not holds:
        raise ValueError(f"{name} is {value}")


def _require_names(features: Sequence[object], name: str) -> None:
    _require(all(isinstance(feature, str) for feature in features), name, features)


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= _MOST
