"""Scores of predictive densities: log score, CRPS, calibration and value at risk."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from models.conformal import INTERVALS
from models.student import StudentMixture
from training.scores import mean_test, relative_error

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
    r2_zero
        Reduction of the squared error by the density's mean, relative to the forecast 0; None if all outcomes are 0.
    crps
        Mean continuous ranked probability score, in log returns; lower is better. It is twice the mean quantile loss
        (Gneiting and Raftery 2007), here of 99 quantiles. The package scoringrules takes seconds to import.
    dm_statistic, dm_p
        `training.scores.mean_test` of the difference of the log scores: positive if the reference is better; None for
        the reference itself.
    coverage
        Share of the outcomes within each central interval, by its probability.
    adapted_coverage
        The same of the intervals that `models.conformal` has adapted; without any where there are none.
    pit
        Shares of the probability integral transforms in ten equal bins; 0.1 each if the densities are calibrated.
    risks
        By `RISK_LEVELS`.
    """

    bars: int
    log_score: float
    r2_zero: float | None
    crps: float
    dm_statistic: float | None
    dm_p: float | None
    coverage: dict[str, float]
    adapted_coverage: dict[str, float]
    pit: list[float]
    risks: list[ValueAtRisk]


class _Bars(NamedTuple):
    """One density's figures at each bar ``(n_bars, ...)``; a part of them can be scored."""

    outcome: np.ndarray
    log_score: np.ndarray
    mean: np.ndarray
    crps: np.ndarray
    transforms: np.ndarray
    shortfall: np.ndarray  # expected below each of `RISK_LEVELS`; NaN where the outcome is not below it

    @classmethod
    def of(cls, forecast: StudentMixture, outcome: np.ndarray) -> _Bars:
        transforms, above = forecast.cdf(outcome), outcome[:, None] - forecast.quantiles(_CRPS_LEVELS)
        losses = np.where(above > 0, _CRPS_LEVELS * above, (_CRPS_LEVELS - 1) * above)
        shortfall = np.full((len(outcome), len(RISK_LEVELS)), np.nan)
        for column, level in enumerate(RISK_LEVELS):
            below = transforms < level
            tail = level * (np.arange(_TAIL_POINTS) + 0.5) / _TAIL_POINTS
            shortfall[below, column] = forecast[below].quantiles(tail).mean(axis=1)
        log_score = forecast.log_density(outcome)
        return cls(outcome, log_score, forecast.mean(), 2 * losses.mean(axis=1), transforms, shortfall)

    def part(self, rows: np.ndarray) -> _Bars:
        return _Bars(*(values[rows] for values in self))


def score_densities(
    forecasts: Mapping[str, StudentMixture],
    outcome: np.ndarray,
    groups: Mapping[str, np.ndarray],
    reference: str,
    levels: np.ndarray | None = None,
) -> dict[str, dict[str, DensityScore]]:
    """Score densities of the same bars, by group and name.

    Parameters
    ----------
    forecasts
        One density per bar.
    outcome
        ``(n_bars,)`` in time order.
    groups
        The rows of each group's bars.
    reference
        Name of the density to compare the others with.
    levels
        ``(n_bars, n_levels)``: the nominal levels of the reference's adapted intervals.
    """
    figures = {name: _Bars.of(forecast, outcome) for name, forecast in forecasts.items()}
    scores: dict[str, dict[str, DensityScore]] = {}
    for group, rows in groups.items():
        best = figures[reference].log_score[rows]
        scores[group] = {
            name: _score(
                one.part(rows),
                None if name == reference else best,
                levels[rows] if name == reference and levels is not None else None,
            )
            for name, one in figures.items()
        }
    return scores


def _score(bars: _Bars, reference: np.ndarray | None, levels: np.ndarray | None) -> DensityScore:
    statistic, p_value = (None, None) if reference is None else mean_test(reference - bars.log_score)
    error = relative_error(bars.mean, bars.outcome)
    within = 2 * np.abs(bars.transforms - 0.5)[:, None]
    return DensityScore(
        bars=len(bars.outcome),
        log_score=float(bars.log_score.mean()),
        r2_zero=None if error is None else 1 - error,
        crps=float(bars.crps.mean()),
        dm_statistic=statistic,
        dm_p=p_value,
        coverage=_coverage(within, np.array(INTERVALS)),
        adapted_coverage={} if levels is None else _coverage(within, levels),
        pit=(np.histogram(bars.transforms, _PIT_BINS, (0, 1))[0] / len(bars.outcome)).tolist(),
        risks=[_value_at_risk(bars, column) for column in range(len(RISK_LEVELS))],
    )


def _coverage(within: np.ndarray, levels: np.ndarray) -> dict[str, float]:
    shares = np.mean(within <= levels, axis=0).tolist()
    return {f"{share:g}": held for share, held in zip(INTERVALS, shares, strict=True)}


def _value_at_risk(bars: _Bars, column: int) -> ValueAtRisk:
    level = RISK_LEVELS[column]
    breached = bars.transforms < level
    return ValueAtRisk(
        level=level,
        breaches=float(breached.mean()),
        coverage_p=_kupiec(breached, level),
        independence_p=_christoffersen(breached),
        shortfall=float(bars.outcome[breached].mean()) if breached.any() else None,
        expected_shortfall=float(bars.shortfall[breached, column].mean()) if breached.any() else None,
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
        if here.any()
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
