"""Your own feature, detector and strategy.

List the file in regimes.toml as ``code = ["own_code.py"]`` and train with
``regimes train --features log_return,close_to_mean --detector mean_reversion``; check it with
``regimes check own_code.py``.
"""

from collections.abc import Mapping
from typing import Any, ClassVar, Self

import backtrader as bt
import numpy as np
import pandas as pd

from data.features import feature
from models.regimes import Regime, register_detector


@feature("close_to_mean", lookback=9)
def close_to_mean(candles: pd.DataFrame) -> np.ndarray:
    close = candles["close"]
    return (close / close.rolling(10).mean() - 1).to_numpy()


@register_detector
class MeanReversion:
    """Bearish in the lowest third of the distances of the close to its mean, bullish in the highest third."""

    name: ClassVar[str] = "mean_reversion"

    def __init__(self) -> None:
        self.features: tuple[str, ...] = ("close_to_mean",)
        self.regimes: tuple[int, ...] = tuple(Regime)
        self.memory = 1

    def fit(self, features: np.ndarray, labels: np.ndarray | None, seed: int) -> Self:
        self.low_, self.high_ = np.quantile(features[:, 0], [1 / 3, 2 / 3])
        return self

    def filter(self, features: np.ndarray) -> np.ndarray:
        value = features[:, :1]
        low, high = value < self.low_, value > self.high_
        certain = np.hstack([low, ~low & ~high, high]).astype(float)
        return np.where(np.isfinite(value), certain, np.nan)

    def parameters(self) -> dict[str, Any]:
        return {"low": float(self.low_), "high": float(self.high_)}

    @classmethod
    def from_parameters(cls, parameters: Mapping[str, Any]) -> Self:
        detector = cls()
        detector.low_, detector.high_ = parameters["low"], parameters["high"]
        return detector


class Crossing(bt.Strategy):
    """Long above the ten-bar average, short below."""

    def __init__(self) -> None:
        self.average = bt.indicators.SMA(period=10)

    def next(self) -> None:
        self.order_target_size(target=100 if self.data.close[0] > self.average[0] else -100)
