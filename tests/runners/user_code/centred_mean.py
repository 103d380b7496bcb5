"""Broken: the average at a bar is centred on it, so half of it lies in the future."""

from data.features import feature


@feature("centred_mean", lookback=10)
def centred_mean(candles):
    close = candles["close"]
    return (close / close.rolling(11, center=True, min_periods=1).mean()).to_numpy()
