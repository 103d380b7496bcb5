"""Scores of forecasts, and the Diebold-Mariano test of their difference."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtr

from training.long_run import degrees_of_freedom, standard_error

SIGNIFICANCE = 0.05  # level of the p values below which a difference is called significant
_ROUNDING = 1e-9  # relative difference of two forecasts that one network made in other batches
_SMALLEST_P = 0.001  # smaller p values are written as < 0.001


@dataclass(frozen=True)
class Score:
    """Quality of one forecast over some bars, in log returns; None where a figure is undefined.

    Attributes
    ----------
    r2_zero, r2_mean
        Reduction of the squared error relative to the forecast 0, and to the training part's mean return.
    hit_rate, hit_low, hit_high
        Share of bars with the right direction, of those where forecast and outcome are not 0, and its 95 % interval
        (Wilson 1927).
    information_coefficient
        Spearman's rank correlation of forecast and outcome.
    dm_statistic, dm_p
        `diebold_mariano` against the forecast 0: positive if this one is better.
    """

    bars: int
    mse: float
    rmse: float
    mae: float
    r2_zero: float | None
    r2_mean: float | None
    hit_rate: float | None
    hit_low: float | None
    hit_high: float | None
    information_coefficient: float | None
    dm_statistic: float | None
    dm_p: float | None


def score(forecast: np.ndarray, outcome: np.ndarray, training_mean: float) -> Score:
    """Compare ``forecast`` with ``outcome``, both ``(n_bars,)`` finite log returns with at least one bar."""
    from scipy.stats import binomtest, spearmanr

    error = forecast - outcome
    mse = float(np.mean(error**2))
    decided = (forecast != 0) & (outcome != 0)
    hits = int(np.sum(np.sign(forecast[decided]) == np.sign(outcome[decided])))
    binomial = binomtest(hits, int(decided.sum())) if decided.any() else None
    interval = binomial.proportion_ci(0.95, method="wilson") if binomial else None
    varies = len(forecast) > 2 and bool(np.ptp(forecast) > 0) and bool(np.ptp(outcome) > 0)
    statistic, p_value = diebold_mariano(forecast, np.zeros_like(forecast), outcome)
    return Score(
        bars=len(forecast),
        mse=mse,
        rmse=math.sqrt(mse),
        mae=float(np.mean(np.abs(error))),
        r2_zero=_saved(mse, float(np.mean(outcome**2))),
        r2_mean=_saved(mse, float(np.mean((outcome - training_mean) ** 2))),
        hit_rate=hits / int(decided.sum()) if binomial else None,
        hit_low=float(interval.low) if interval else None,
        hit_high=float(interval.high) if interval else None,
        information_coefficient=float(spearmanr(forecast, outcome).statistic) if varies else None,
        dm_statistic=statistic,
        dm_p=p_value,
    )


def relative_error(forecast: np.ndarray, outcome: np.ndarray) -> float | None:
    """Mean squared error relative to the forecast 0's, over the bars ``(n_bars,)`` where both are known; or None."""
    known = np.isfinite(forecast) & np.isfinite(outcome)
    zero_error = float(np.sum(outcome[known] ** 2))
    return float(np.sum((forecast[known] - outcome[known]) ** 2)) / zero_error if zero_error > 0 else None


def diebold_mariano(
    forecast: np.ndarray, reference: np.ndarray, outcome: np.ndarray
) -> tuple[float | None, float | None]:
    """Test of equal squared error of two one-step forecasts (Diebold and Mariano 1995).

    Parameters
    ----------
    forecast, reference, outcome
        ``(n_bars,)`` in time order.

    Returns
    -------
    tuple
        `mean_test` of the difference of the losses: the statistic is positive if ``forecast`` is better than
        ``reference``. None, None if the forecasts are the same but for rounding.
    """
    if np.allclose(forecast, reference, rtol=_ROUNDING, atol=0):
        return None, None
    return mean_test((reference - outcome) ** 2 - (forecast - outcome) ** 2)


def mean_test(values: np.ndarray) -> tuple[float | None, float | None]:
    """Test of a mean of 0.

    Parameters
    ----------
    values
        ``(n_bars,)`` in time order; they may be autocorrelated.

    Returns
    -------
    tuple
        The mean divided by its standard error (`training.long_run`), and its two-sided p value. None, None if the
        values do not vary, or with fewer than ten bars.
    """
    n_bars = len(values)
    if n_bars < 10 or np.ptp(values) == 0:
        return None, None
    statistic = float(values.mean() / standard_error(values))
    return statistic, float(2 * stdtr(degrees_of_freedom(n_bars), -abs(statistic)))


def _saved(mse: float, reference_mse: float) -> float | None:
    return 1 - mse / reference_mse if reference_mse > 0 else None


def format_p_value(p: float) -> str:
    """A p value with enough digits to show whether it is below `SIGNIFICANCE`."""
    if p < _SMALLEST_P:
        return f"< {_SMALLEST_P}"
    return rounded(p, 2 if p >= 0.1 else 3, lambda value: value < SIGNIFICANCE)


def rounded(number: float, digits: int, condition: Callable[[float], bool]) -> str:
    """A number with so many digits, or as many more as it takes to meet ``condition`` if the number itself does."""
    while condition(float(f"{number:.{digits}f}")) != condition(number):
        digits += 1
    return f"{number:.{digits}f}"


def format_p(p: float) -> str:
    """A p value for a sentence: ``p = 0.03``, ``p < 0.001``."""
    return f"p {format_p_value(p)}" if p < _SMALLEST_P else f"p = {format_p_value(p)}"
