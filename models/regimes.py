"""Regimes, the interface of detectors, and the rule that holds a regime until another is confirmed."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Protocol, Self, TypeVar, runtime_checkable

import numpy as np

from data.candles import Regime as Regime
from data.errors import SettingsError, did_you_mean
from data.registry import Registry
from data.windows import windows


def regime_name(regime: int) -> str:
    """``bearish``, ``sideways`` or ``bullish``; ``regime3`` for the number 3, and so on."""
    return Regime(regime).name.lower() if regime in set(Regime) else f"regime{regime}"


def regime_number(name: str) -> int:
    """The inverse of `regime_name`."""
    return int(name.removeprefix("regime")) if name.startswith("regime") else Regime[name.upper()]


class RegimeDetector(Protocol):
    """Estimates regime probabilities at each bar from the bars up to it.

    Attributes
    ----------
    features
        Names of its input features.
    regimes
        Its regimes, in the order of the probabilities' columns.
    memory
        Number of rows of features, including the bar's own, that the probabilities at a bar depend on.
    """

    name: ClassVar[str]
    features: tuple[str, ...]
    regimes: tuple[int, ...]
    memory: int

    def fit(self, features: np.ndarray, labels: np.ndarray | None, seed: int) -> Self:
        """Fit to the training part: finite features ``(n_rows, n_features)`` and labels ``(n_rows,)``, if any."""
        ...

    def filter(self, features: np.ndarray) -> np.ndarray:
        """Probabilities ``(n_bars, n_regimes)``, each row from its last `memory` rows of features; NaN before."""
        ...

    def parameters(self) -> dict[str, Any]:
        """The fitted parameters as JSON."""
        ...

    @classmethod
    def from_parameters(cls, parameters: Mapping[str, Any]) -> Self:
        """The detector with these `parameters`."""
        ...


@runtime_checkable
class Reorderable(Protocol):
    """A detector whose states have no natural order, so that their numbers can be exchanged."""

    def reordered(self, order: Sequence[int]) -> Self:
        """The same detector with its state ``order[i]`` as regime ``i``."""
        ...


Fitted = TypeVar("Fitted", bound=RegimeDetector)


def match_states(detector: Fitted, reference: RegimeDetector, features: np.ndarray) -> Fitted:
    """Match the detector's states to the reference's on ``(n_bars, n_features)``, so that regimes keep their numbers.

    Chooses the order with the largest summed product of both detectors' probabilities (the assignment problem; Kuhn
    1955). A detector whose regimes come from labels or a rule is returned unchanged.
    """
    from scipy.optimize import linear_sum_assignment

    if not isinstance(detector, Reorderable) or detector.regimes != reference.regimes:
        return detector
    mine, theirs = detector.filter(features), reference.filter(features)
    known = np.isfinite(mine).all(axis=1) & np.isfinite(theirs).all(axis=1)
    agreement = theirs[known].T @ mine[known]  # (n_regimes of the reference, n_regimes)
    _, order = linear_sum_assignment(agreement, maximize=True)
    return detector.reordered(order.tolist()) if known.any() else detector


DETECTORS = Registry[type[RegimeDetector]]("detector")

Detector = TypeVar("Detector", bound=type[RegimeDetector])


def register_detector(detector: Detector) -> Detector:
    """Class decorator that registers a detector under its ``name``, for training, model sets and the command line.

    A `SettingsError` if the name is built in or another file's.
    """
    DETECTORS.register(detector.name, detector, sys._getframe(1).f_globals)
    return detector


def find_detector(name: str) -> type[RegimeDetector]:
    try:
        return DETECTORS[name]
    except KeyError:
        known = f"known: {', '.join(DETECTORS)}.{did_you_mean(name, DETECTORS)}"
        raise SettingsError(f"there is no detector {name!r}; {known}") from None


# A regime is held for at most this many bars after its confirmation, so that the lookback is finite.
HOLD_MEMORY = 64


def hold_lookback(min_confidence: float, min_dwell: int) -> int:
    """Number of earlier bars that a held regime depends on."""
    return HOLD_MEMORY + min_dwell - 2 if min_confidence > 0 or min_dwell > 1 else 0


def likeliest_regime(
    probabilities: np.ndarray, regimes: tuple[int, ...], min_confidence: float = 0.0, min_dwell: int = 1
) -> np.ndarray:
    """The regime to act on at each bar, from the bars up to it, held until another is confirmed.

    A regime is confirmed once it is the most likely one, with a probability of at least ``min_confidence``, for
    ``min_dwell`` bars in a row. The regime at t is the last confirmed one; without any in the last `HOLD_MEMORY` bars,
    the most likely one at t.

    Parameters
    ----------
    probabilities
        ``(n_bars, n_regimes)``, columns in the order of ``regimes``; rows may be NaN.

    Returns
    -------
    numpy.ndarray
        ``(n_bars,)`` float64, NaN where the probabilities are NaN.
    """
    known = np.isfinite(probabilities).all(axis=1)
    filled = np.where(known[:, None], probabilities, 0.0)
    likeliest = np.where(known, np.asarray(regimes, dtype=float)[filled.argmax(axis=1)], np.nan)
    if hold_lookback(min_confidence, min_dwell) == 0 or len(likeliest) < min_dwell:
        return likeliest
    sure = known & (filled.max(axis=1) >= min_confidence)
    run = windows(likeliest, min_dwell)
    confirmed = np.zeros(len(likeliest), dtype=bool)
    confirmed[min_dwell - 1 :] = (run == run[:, :1]).all(axis=1) & windows(sure, min_dwell).all(axis=1)
    bar = np.arange(len(likeliest))
    last_confirmed = np.maximum.accumulate(np.where(confirmed, bar, -HOLD_MEMORY))
    held = np.where(bar - last_confirmed < HOLD_MEMORY, likeliest[np.maximum(last_confirmed, 0)], likeliest)
    return np.where(known, held, np.nan)
