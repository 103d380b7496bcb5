"""The expert of one regime: an ensemble of trained networks with their features and scalers."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from models.inference import EnsembleReader
from models.network import RegimeLSTM
from models.regimes import regime_name

ALL_REGIMES = "all"


def expert_name(regime: int | None) -> str:
    """The regime's name, or ``all`` for the network trained on every regime (None)."""
    return ALL_REGIMES if regime is None else regime_name(regime)


def member_names(n_members: int) -> list[str]:
    """Names of the members in tables and files: ``member_1`` to ``member_n``."""
    return [f"member_{number}" for number in range(1, n_members + 1)]


@dataclass(frozen=True)
class Expert:
    """An ensemble of trained networks with their features and scalers.

    Attributes
    ----------
    name
        The regime's name, or ``all`` for the network trained on every regime.
    features
        Names in the order of the networks' inputs; a feature may have several columns.
    mean, scale
        ``(n_columns,)`` of the training part: inputs are ``(feature - mean) / scale``.
    target_scale
        Log return per unit of a network's output.
    networks
        The members, of one shape and trained from different seeds, in evaluation mode. They are float64, so that a
        forecast does not depend on the batch size.
    window, stride
        Context bars of a pass, and the bars that it forecasts (see `models.network.Passes`).
    training
        Losses per epoch and member, sample counts, and why the all-regimes network is used instead, if it is
        (``fallback``).
    """

    name: str
    features: tuple[str, ...]
    mean: np.ndarray
    scale: np.ndarray
    target_scale: float
    networks: tuple[RegimeLSTM, ...]
    window: int
    stride: int
    training: dict[str, Any] = field(default_factory=dict)

    @cached_property
    def reader(self) -> EnsembleReader:
        return EnsembleReader(self.networks)
