"""Measures the next bar's returns by regime, to test whether the regimes deserve their names."""

from __future__ import annotations

import numpy as np
import pandas as pd

from data.windows import targets
from models.forecaster import Forecaster
from models.model_set import ModelSet
from models.regime_returns import NextReturn, RegimeReturns
from models.regimes import Regime, regime_name
from training.scores import mean_test

_FEWEST_BARS = 10  # of a regime


def measure_regime_returns(model_set: ModelSet, candles: pd.DataFrame) -> RegimeReturns:
    """The returns after each regime of the detector, as forecasts use it, over the ``candles`` of the training part.

    Labels are not read: a set with the detector ``labels`` is tested by the regimes of its classifier.
    """
    outcome = targets(candles["close"].to_numpy())
    regimes = Forecaster(model_set).observe(candles).regimes
    known = np.isfinite(outcome) & np.isfinite(regimes)
    return regime_returns(regimes[known], outcome[known])


def regime_returns(regimes: np.ndarray, outcome: np.ndarray) -> RegimeReturns:
    """Describe the log returns ``outcome`` ``(n_bars,)`` by regime, and test bullish against bearish.

    The test is that of a regression on dummies of the regimes with the covariance of Newey and West (1987). Each bar's
    influence on the difference of the two means is its residual divided by the regime's share of the bars, negative for
    bearish; the standard error is that of the mean of these influences, `training.scores.mean_test`.
    """
    groups = {int(regime): regimes == regime for regime in np.unique(regimes)}
    groups = {regime: here for regime, here in groups.items() if here.sum() >= _FEWEST_BARS}
    by_regime = {
        regime_name(regime): NextReturn(int(here.sum()), float(outcome[here].mean()), float(outcome[here].std(ddof=1)))
        for regime, here in groups.items()
    }
    if Regime.BEARISH not in groups or Regime.BULLISH not in groups:
        return RegimeReturns(by_regime, None, None)
    influence = np.zeros(len(outcome))
    for regime, sign in ((Regime.BULLISH, 1), (Regime.BEARISH, -1)):
        here = groups[regime]
        influence[here] = sign * (outcome[here] - outcome[here].mean()) / here.mean()
    means = [by_regime[regime_name(regime)].mean for regime in (Regime.BULLISH, Regime.BEARISH)]
    return RegimeReturns(by_regime, *mean_test(influence + (means[0] - means[1])))
