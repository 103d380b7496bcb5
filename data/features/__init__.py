"""Causal features of candles by name, each with the number of earlier bars that it depends on."""

from data.features.built_in import DEFAULT_FEATURES, SCALE_FEATURES
from data.features.candle_arrays import log_returns
from data.features.computing import columns_of, compute_features, feature_columns, find_feature, lookback_of
from data.features.definitions import FAMILIES, FEATURES, Feature, feature
from data.features.grammar import parsed
from data.features.summaries import feature_rows, talib_rows

__all__ = [
    "DEFAULT_FEATURES",
    "FAMILIES",
    "FEATURES",
    "SCALE_FEATURES",
    "Feature",
    "columns_of",
    "compute_features",
    "feature",
    "feature_columns",
    "feature_rows",
    "find_feature",
    "log_returns",
    "lookback_of",
    "parsed",
    "talib_rows",
]
