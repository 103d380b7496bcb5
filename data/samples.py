"""Loads a sample series that ships with a dependency, so a first run needs no download."""

from __future__ import annotations

import pandas as pd

SP500 = "SP500_1d_19990104_20181231"


def sp500_candles() -> pd.DataFrame:
    """Daily S&P 500 candles from the package `arch`, 1999-01-04 to 2018-12-31 (5,031 bars); a price index."""
    from arch.data import sp500

    table = sp500.load()
    table.columns = table.columns.str.lower()
    table.index = pd.DatetimeIndex(table.index).tz_localize("UTC").as_unit("us")
    table.index.name = "timestamp"
    return table[["open", "high", "low", "close", "volume"]].astype(float)
