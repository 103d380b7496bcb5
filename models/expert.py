"""The expert of one regime: its trained network, and all that a forecast needs beside it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from models.network import RegimeLSTM
from models.regimes import regime_name

ALL_REGIMES = "all"


def expert_name(regime: int | None) -> str:
    """The regime's name, or ``all`` for the network trained on every regime (None)."""
    return ALL_REGIMES if regime is None else regime_name(regime)


@dataclass(frozen=True)
class Expert:
    """A trained network with all that its forecast needs.

    Attributes
    ----------
    name
        The regime's name, or ``all`` for the network trained on every regime.
    features
        Feature names, in the order of the network's inputs (a feature may have several columns).
    mean, scale
        ``(n_columns,)`` of the training part: inputs are ``(feature - mean) / scale``.
    target_scale
        Log return per unit of the network's output.
    network
        In evaluation mode, float64, so that one bar alone and a thousand at once give the same forecast.
    window, stride
        Bars that a pass reads before its first forecast, and bars that it forecasts (see `models.network.Passes`).
    training
        Losses per epoch, sample counts, and why the all-regimes network stands in, where it does (``fallback``).
    """

    name: str
    features: tuple[str, ...]
    mean: np.ndarray
    scale: np.ndarray
    target_scale: float
    network: RegimeLSTM
    window: int
    stride: int
    training: dict[str, Any] = field(default_factory=dict)
