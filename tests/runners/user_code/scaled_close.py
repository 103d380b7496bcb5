"""Broken: the scaler is fitted on all rows, the test part's included."""

from sklearn.preprocessing import StandardScaler

from data.features import feature


@feature("scaled_close", lookback=0)
def scaled_close(candles):
    return StandardScaler().fit_transform(candles[["close"]]).ravel()
