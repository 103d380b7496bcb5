"""Disguises candles, so that code that knows them by their dates or prices gives itself away."""

from __future__ import annotations

import numpy as np
import pandas as pd

from data.candles import PRICES
from data.features import log_returns

_WEEKS = 261  # about five years
_FACTOR = 1.3
_JITTER = 0.2  # in standard deviations of the log return


def disguised(candles: pd.DataFrame, seed: int) -> pd.DataFrame:
    """The candles five years later, with prices and volumes times 1.3 and times a random factor for each bar.

    The shift is of whole weeks, so that the hour of the day and the day of the week stay. Further columns stay, too.
    """
    spread = _JITTER * float(np.nanstd(log_returns(candles["close"].to_numpy())))
    factor = _FACTOR * np.exp(spread * np.random.default_rng(seed).standard_normal(len(candles)))
    changed = candles.assign(**{name: candles[name] * factor for name in (*PRICES, "volume")})
    return changed.set_axis(candles.index + pd.Timedelta(weeks=_WEEKS))
