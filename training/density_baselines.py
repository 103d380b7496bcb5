"""Predictive densities to compare with: a normal distribution, volatility models, the detector's own mixture."""

from __future__ import annotations

import warnings
from typing import Literal

import numpy as np
import pandas as pd

from data.features import compute_features
from models.detectors.hmm import HMMDetector
from models.model_set import ModelSet
from models.student import StudentMixture

CONSTANT, ROLLING, MIXTURE = "constant normal", "rolling normal", "HMM mixture"
GARCH_MODELS: dict[str, tuple[int, Literal["normal", "t"]]] = {
    "GARCH": (0, "normal"),
    "GARCH-t": (0, "t"),
    "GJR-GARCH-t": (1, "t"),
}
_NORMAL_DF = 1e6  # a Student's t that differs from a normal distribution by less than 1e-6
_ROLLING_BARS = 20
_PERCENT = 100  # arch fits returns of about 1 best


def simple_baselines(
    model_set: ModelSet, candles: pd.DataFrame, outcome: np.ndarray, n_fit: int
) -> dict[str, StudentMixture]:
    """The densities at all bars that cost no fit; ``n_fit`` bars from the start give the constant one.

    ``outcome`` are the log returns to the next close ``(n_bars,)``.
    """
    seen = outcome[: n_fit - 1]
    known = np.append(np.nan, outcome[:-1])  # each bar's own return
    deviation = pd.Series(known).rolling(_ROLLING_BARS).std().to_numpy()
    zero = np.zeros(len(outcome))
    baselines = {
        CONSTANT: _normal(zero + np.nanmean(seen), zero + np.nanstd(seen)),
        ROLLING: _normal(zero, np.maximum(deviation, 1e-9)),
    }
    detector = model_set.detector
    if isinstance(detector, HMMDetector):
        probabilities = detector.filter(compute_features(candles, detector.features).to_numpy())
        weights, location, scale = detector.next_returns(probabilities)
        baselines[MIXTURE] = StudentMixture(weights, location, scale, np.full(weights.shape, _NORMAL_DF))
    return baselines


def garch_baselines(outcome: np.ndarray, n_fit: int) -> dict[str, StudentMixture]:
    """GARCH(1,1) (Bollerslev 1986) and GJR-GARCH(1,1,1) (Glosten, Jagannathan and Runkle 1993) by the package arch.

    They are fitted to the first ``n_fit`` returns and filter the others; each fit takes about a second.
    """
    from arch import arch_model

    returns = _PERCENT * outcome[:-1]
    densities = {}
    for name, (asymmetric, distribution) in GARCH_MODELS.items():
        model = arch_model(returns, vol="GARCH", p=1, o=asymmetric, q=1, dist=distribution)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about a fit that has not converged to the last digit
            fitted = model.fit(last_obs=n_fit - 1, disp="off")
        variance = model.fix(fitted.params).conditional_volatility ** 2
        # The variance of bar t's return is known at the bar before it; the last bar has no outcome.
        deviation = np.append(np.sqrt(variance), np.nan) / _PERCENT
        location = np.full(len(outcome), fitted.params["mu"] / _PERCENT)
        df = float(fitted.params.get("nu", _NORMAL_DF))
        scale = deviation * np.sqrt((df - 2) / df)
        densities[name] = StudentMixture(
            np.ones((len(outcome), 1)), location[:, None], scale[:, None], np.full((len(outcome), 1), df)
        )
    return densities


def _normal(location: np.ndarray, deviation: np.ndarray) -> StudentMixture:
    return StudentMixture(
        np.ones((len(location), 1)), location[:, None], deviation[:, None], np.full((len(location), 1), _NORMAL_DF)
    )
