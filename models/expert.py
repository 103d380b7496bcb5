"""The expert of one regime: a trained network with its features and scalers."""

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
    """A trained network with its features and scalers.

    Attributes
    ----------
    name
        The regime's name, or ``all`` for the network trained on every regime.
    features
        Names in the order of the network's inputs; a feature may have several columns.
    mean, scale
        ``(n_columns,)`` of the training part: inputs are ``(feature - mean) / scale``.
    target_scale
        Log return per unit of the network's output.
    network
        In evaluation mode, float64, so that a forecast does not depend on the batch size.
    window, stride
        Context bars of a pass, and the bars that it forecasts (see `models.network.Passes`).
    training
        Losses per epoch, sample counts, and why the all-regimes network is used instead, if it is (``fallback``).
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
