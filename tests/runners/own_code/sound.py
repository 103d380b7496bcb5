"""A feature, a detector and a strategy that know only the past."""

import backtrader as bt
import numpy as np

from data.features import feature
from models.regimes import register_detector


@feature("close_to_mean", lookback=9)
def close_to_mean(candles):
    close = candles["close"]
    return (close / close.rolling(10).mean() - 1).to_numpy()


@register_detector
class MeanReversion:
    name = "mean_reversion"

    def __init__(self):
        self.features = ("close_to_mean",)
        self.regimes = (0, 1, 2)
        self.memory = 1

    def fit(self, features, labels, seed):
        self.low_, self.high_ = np.quantile(features[:, 0], [1 / 3, 2 / 3])
        return self

    def filter(self, features):
        value = features[:, :1]
        certain = np.hstack([value < self.low_, (value >= self.low_) & (value <= self.high_), value > self.high_])
        return np.where(np.isfinite(value), certain.astype(float), np.nan)

    def parameters(self):
        return {"low": float(self.low_), "high": float(self.high_)}

    @classmethod
    def from_parameters(cls, parameters):
        detector = cls()
        detector.low_, detector.high_ = parameters["low"], parameters["high"]
        return detector


class Crossing(bt.Strategy):
    def __init__(self):
        self.average = bt.indicators.SMA(period=10)

    def next(self):
        self.order_target_size(target=100 if self.data.close[0] > self.average[0] else -100)
