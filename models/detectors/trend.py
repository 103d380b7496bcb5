"""Regimes from the sign and significance of the trend over the last 50 bars."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Self

import numpy as np

from models.regimes import Regime, register_detector


@register_detector
class TrendDetector:
    """Bullish where the t statistic of the last 50 log returns is above ``threshold``, bearish below its negative.

    It has no fitted parameters. The default threshold splits a random walk's bars about evenly (31, 38 and 31 %).
    """

    name: ClassVar[str] = "trend"

    def __init__(self, threshold: float = 0.5) -> None:
        self.threshold = threshold
        self.features: tuple[str, ...] = ("trend_strength",)
        self.regimes: tuple[int, ...] = tuple(Regime)
        self.memory = 1

    def fit(self, features: np.ndarray, labels: np.ndarray | None, seed: int) -> Self:
        return self

    def filter(self, features: np.ndarray) -> np.ndarray:
        strength = features[:, :1]
        bearish, bullish = strength < -self.threshold, strength > self.threshold
        certain = np.hstack([bearish, ~bearish & ~bullish, bullish]).astype(float)
        return np.where(np.isfinite(strength), certain, np.nan)

    def parameters(self) -> dict[str, Any]:
        return {"threshold": self.threshold}

    @classmethod
    def from_parameters(cls, parameters: Mapping[str, Any]) -> Self:
        return cls(parameters["threshold"])
