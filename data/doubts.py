"""What may be right in candles, and would cost money if it were not."""

from __future__ import annotations

import numpy as np
import pandas as pd

from data.candles import time_text

# A close that nearly doubles or halves within a bar is more often a split or a slip than a market.
_DOUBTFUL_JUMP = 1.9


def doubts(candles: pd.DataFrame) -> list[str]:
    """Sentences for whoever trains or trades on these candles, ``(n_bars, >= 5)``; none where all looks well."""
    close = candles["close"].to_numpy()
    jump = np.abs(np.diff(np.log(close))) > np.log(_DOUBTFUL_JUMP)
    told = []
    if jump.any():
        at = int(np.argmax(jump))
        more = f" ({jump.sum()} such jumps in all)" if jump.sum() > 1 else ""
        told.append(
            f"the close jumps from {close[at]:g} to {close[at + 1]:g} at {time_text(candles.index[at + 1])}{more}. "
            "If that is a split or another unit, adjust the prices: a jump is learnt and traded as a return."
        )
    if len(candles) and not candles["volume"].any():
        told.append("the volume is 0 in every bar; features of it hold nothing to learn from.")
    return told
