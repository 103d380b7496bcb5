"""Lists all features, for the command line."""

from __future__ import annotations

from data.features import talib_functions
from data.features.definitions import FAMILIES, FEATURES


def feature_rows() -> list[list[str]]:
    """Expression, lookback in bars and value of each built-in and each of the user's features."""
    rows = []
    for name, feature in FEATURES.items():
        family = FAMILIES.get(name)
        document = (family.compute if family else feature.compute).__doc__ or ""
        rows.append([family.example if family else name, str(feature.lookback), document.split("\n")[0].rstrip(".")])
    return rows


def talib_rows() -> list[list[str]]:
    """TA-Lib's groups, and the functions in each that are features."""
    return [[group, ", ".join(names)] for group, names in talib_functions.by_group().items()]
