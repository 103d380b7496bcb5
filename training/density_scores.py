"""Scores of predictive densities: log score, CRPS, calibration and value at risk."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from models.student import StudentMixture
from training.scores import mean_test

INTERVALS = (0.5, 0.8, 0.95)
RISK_LEVELS = (0.01, 0.05)
_PIT_BINS = 10
_CRPS_LEVELS = np.arange(1, 100) / 100
_TAIL_POINTS = 20  # quantiles whose mean is an expected shortfall


@dataclass(frozen=True)
class ValueAtRisk:
    """How often, and how far, returns fell below a quantile.

    Attributes
    ----------
    level
        The quantile's probability.
    breaches
        Share of the bars with a return below it.
    coverage_p
        p value of a share of ``level`` (Kupiec 1995).
    independence_p
        p value of breaches that do not follow each other more often than others (Christoffersen 1998); None without
        any breach.
    shortfall, expected_shortfall
        Mean log return of the breaches, None without any, and the densities' expected shortfall at these bars.
    """

    level: float
    breaches: float
    coverage_p: float
    independence_p: float | None
    shortfall: float | None
    expected_shortfall: float | None


@dataclass(frozen=True)
class DensityScore:
    """Quality of predictive densities over some bars.

    Attributes
    ----------
    log_score
        Mean log density of the outcomes; higher is better.
    crps
        Mean continuous ranked probability score, in log returns; lower is better. It is twice the mean quantile loss
        (Gneiting and Raftery 2007), here of 99 quantiles. The package scoringrules takes seconds to import.
    dm_statistic, dm_p
        `training.scores.mean_test` of the difference of the log scores: positive if the reference is better; None for
        the reference itself.
    coverage
        Share of the outcomes within each central interval, by its probability.
    pit
        Shares of the probability integral transforms in ten equal bins; 0.1 each if the densities are calibrated.
    risks
        By `RISK_LEVELS`.
    """

    bars: int
    log_score: float
    crps: float
    dm_statistic: float | None
    dm_p: float | None
    coverage: dict[str, float]
    pit: list[float]
    risks: list[ValueAtRisk]


def score_densities(
    forecasts: Mapping[str, StudentMixture], outcome: np.ndarray, reference: str
) -> dict[str, DensityScore]:
    """Score densities of the same bars, by name, on the outcomes ``(n_bars,)`` in time order."""
    log_scores = {name: forecast.log_density(outcome) for name, forecast in forecasts.items()}
    return {
        name: _score(forecast, outcome, log_scores[name], log_scores[reference] if name != reference else None)
        for name, forecast in forecasts.items()
    }


def _score(
    forecast: StudentMixture, outcome: np.ndarray, log_score: np.ndarray, reference: np.ndarray | None
) -> DensityScore:
    transforms = forecast.cdf(outcome)
    statistic, p_value = (None, None) if reference is None else mean_test(reference - log_score)
    above = outcome[:, None] - forecast.quantiles(_CRPS_LEVELS)
    return DensityScore(
        bars=len(outcome),
        log_score=float(log_score.mean()),
        crps=float(2 * np.mean(np.where(above > 0, _CRPS_LEVELS * above, (_CRPS_LEVELS - 1) * above))),
        dm_statistic=statistic,
        dm_p=p_value,
        coverage={f"{level:g}": float(np.mean(np.abs(transforms - 0.5) <= level / 2)) for level in INTERVALS},
        pit=(np.histogram(transforms, _PIT_BINS, (0, 1))[0] / len(outcome)).tolist(),
        risks=[_value_at_risk(forecast, outcome, transforms < level, level) for level in RISK_LEVELS],
    )


def _value_at_risk(forecast: StudentMixture, outcome: np.ndarray, breached: np.ndarray, level: float) -> ValueAtRisk:
    expected = None
    if breached.any():
        tail = level * (np.arange(_TAIL_POINTS) + 0.5) / _TAIL_POINTS
        expected = float(forecast[breached].quantiles(tail).mean())
    return ValueAtRisk(
        level=level,
        breaches=float(breached.mean()),
        coverage_p=_kupiec(breached, level),
        independence_p=_christoffersen(breached),
        shortfall=float(outcome[breached].mean()) if breached.any() else None,
        expected_shortfall=expected,
    )


def _kupiec(breached: np.ndarray, level: float) -> float:
    """p value of the likelihood ratio test that the breaches' share is ``level``."""
    n_breaches, n_bars = int(breached.sum()), len(breached)
    return _p_value(
        _log_likelihood(n_breaches, n_bars, n_breaches / n_bars) - _log_likelihood(n_breaches, n_bars, level)
    )


def _christoffersen(breached: np.ndarray) -> float | None:
    """p value of the likelihood ratio test that a breach is as likely after a breach as after another bar."""
    before, now = breached[:-1], breached[1:]
    if not before.any():
        return None
    pooled = now.mean()
    gained = sum(
        _log_likelihood(int(now[here].sum()), int(here.sum()), float(now[here].mean()))
        - _log_likelihood(int(now[here].sum()), int(here.sum()), float(pooled))
        for here in (before, ~before)
    )
    return _p_value(gained)


def _log_likelihood(successes: int, trials: int, probability: float) -> float:
    return sum(
        count * math.log(share)
        for count, share in ((successes, probability), (trials - successes, 1 - probability))
        if count
    )


def _p_value(gained: float) -> float:
    """Of a likelihood ratio test with one degree of freedom, by the log likelihood that the alternative gains."""
    return math.erfc(math.sqrt(max(gained, 0.0)))
