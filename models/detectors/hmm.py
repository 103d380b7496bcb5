"""Regimes from a Gaussian hidden Markov model of returns and volatility, filtered, never smoothed."""

from __future__ import annotations

import copy
import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np

from data.errors import DataError
from models.regimes import Regime, register_detector

if TYPE_CHECKING:
    from hmmlearn.hmm import GaussianHMM

# Lower bounds that keep each state reachable after an outlier.
_SMALLEST_TRANSITION = 1e-6
_SMALLEST_LOG_LIKELIHOOD = -50.0  # relative to the most likely state's
_STARTS = 5  # random starts of the EM fit
_RACE = 10  # steps of EM of each start; the one with the highest likelihood then goes on
_MOST_STEPS = 200
_TOLERANCE = 1e-2  # EM ends if a step gains less log likelihood


@register_detector
class HMMDetector:
    """Three Gaussian states over log return and volatility, ordered by mean return.

    The probabilities at t are those of the forward recursion (Rabiner 1989, eq. 19-20) over the last ``memory`` bars
    (a power of two), from the stationary distribution; they do not depend on earlier bars. The recursion is computed as
    an associative scan (Särkkä and García-Fernández 2021): products of ``memory`` transition-times-likelihood matrices,
    doubled in length ``log2(memory)`` times, for all bars at once.
    """

    name: ClassVar[str] = "hmm"

    def __init__(self, memory: int = 128) -> None:
        self.features: tuple[str, ...] = ("log_return", "volatility")
        self.regimes: tuple[int, ...] = tuple(Regime)
        self.memory = memory

    def fit(self, features: np.ndarray, labels: np.ndarray | None, seed: int) -> Self:
        mean, scale = features.mean(axis=0), features.std(axis=0)
        if not (scale > 0).all():
            raise DataError("the training part's price hardly moves, so regimes cannot be estimated.")
        observed = (features - mean) / scale
        best = _best_model(observed, len(self.regimes), seed)
        if best is None:
            raise DataError(
                "no hidden Markov model fits the training part. Check its prices for a jump, or train with "
                "--detector trend instead."
            )
        by_mean_return = np.argsort(best.means_[:, 0])
        transitions = np.maximum(best.transmat_[np.ix_(by_mean_return, by_mean_return)], _SMALLEST_TRANSITION)
        transitions /= transitions.sum(axis=1, keepdims=True)
        self._learn(mean, scale, best.means_[by_mean_return], best.covars_[by_mean_return], transitions)
        return self

    def _learn(
        self,
        mean: np.ndarray,
        scale: np.ndarray,
        state_means: np.ndarray,
        state_covariances: np.ndarray,
        transitions: np.ndarray,
    ) -> None:
        self.mean_, self.scale_ = mean, scale
        self.state_means_, self.state_covariances_, self.transitions_ = state_means, state_covariances, transitions
        self._precisions = np.linalg.inv(state_covariances)
        self._log_determinants = np.linalg.slogdet(state_covariances)[1]
        self._stationary = _stationary(transitions)

    def filter(self, features: np.ndarray) -> np.ndarray:
        probabilities = np.full((len(features), len(self.regimes)), np.nan)
        known = np.isfinite(features).all(axis=1)
        first = int(known.argmax())
        n_bars = len(features) - first
        if not known.any() or n_bars < self.memory:
            return probabilities
        product = self.transitions_ * self._likelihoods((features[first:] - self.mean_) / self.scale_)[:, None, :]
        for doubling in range(self.memory.bit_length() - 1):  # entry i: the product over bars i .. i + 2^doubling - 1
            if n_bars == self.memory:  # the newest bar of a stream: only every other product is needed
                product = product[::2] @ product[1::2]
            else:
                product = product[: -(2**doubling)] @ product[2**doubling :]
            product /= product.max(axis=(1, 2), keepdims=True)
        unnormalised = self._stationary @ product
        probabilities[first + self.memory - 1 :] = unnormalised / unnormalised.sum(axis=1, keepdims=True)
        return probabilities

    def next_returns(self, probabilities: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Each state's probability at the next bar, and the mean and standard deviation of its log return.

        ``(n_bars, n_states)`` each, from the filtered ``probabilities``: the model's own density of the next return.
        """
        means = self.mean_[0] + self.scale_[0] * self.state_means_[:, 0]
        deviations = self.scale_[0] * np.sqrt(self.state_covariances_[:, 0, 0])
        weights = probabilities @ self.transitions_
        return weights, np.broadcast_to(means, weights.shape), np.broadcast_to(deviations, weights.shape)

    def reordered(self, order: Sequence[int]) -> Self:
        again = copy.copy(self)
        states = self.state_means_[order], self.state_covariances_[order], self.transitions_[np.ix_(order, order)]
        again._learn(self.mean_, self.scale_, *states)
        return again

    def _likelihoods(self, observed: np.ndarray) -> np.ndarray:
        """Each state's Gaussian density at each bar ``(n_bars, n_states)``, relative to the bar's largest."""
        deviation = observed - self.state_means_[:, None]  # (n_states, n_bars, n_features)
        distance = ((deviation @ self._precisions) * deviation).sum(axis=2).T
        log_density = -0.5 * (distance + self._log_determinants)
        relative = log_density - log_density.max(axis=1, keepdims=True)
        return np.exp(np.maximum(relative, _SMALLEST_LOG_LIKELIHOOD))

    def parameters(self) -> dict[str, Any]:
        return {
            "memory": self.memory,
            "mean": self.mean_.tolist(),
            "scale": self.scale_.tolist(),
            "state_means": self.state_means_.tolist(),
            "state_covariances": self.state_covariances_.tolist(),
            "transitions": self.transitions_.tolist(),
        }

    @classmethod
    def from_parameters(cls, parameters: Mapping[str, Any]) -> Self:
        detector = cls(memory=parameters["memory"])
        names = ("mean", "scale", "state_means", "state_covariances", "transitions")
        detector._learn(*(np.array(parameters[name]) for name in names))
        return detector


def _best_model(observed: np.ndarray, n_states: int, seed: int) -> GaussianHMM | None:
    """The model of the start that leads after `_RACE` steps, fitted to the end; None if all starts degenerate."""
    with _hmmlearn_quiet():
        started = (_started(observed, n_states, seed + start) for start in range(_STARTS))
        for model, _ in sorted(filter(None, started), key=lambda one: -one[1]):
            model.n_iter = model.monitor_.n_iter = _MOST_STEPS
            model.init_params = ""  # go on from here
            if _fitted(model, observed) is not None:
                return model
    return None


def _started(observed: np.ndarray, n_states: int, seed: int) -> tuple[GaussianHMM, float] | None:
    """A model after the first steps of EM from one random start, and its log likelihood; None if it degenerates."""
    from hmmlearn.hmm import GaussianHMM
    from sklearn.cluster import KMeans

    means = KMeans(n_states, n_init=1, random_state=seed).fit(observed).cluster_centers_
    for implementation in ("scaling", "log"):  # the first is twice as fast, but fails where all densities underflow
        model = GaussianHMM(
            n_states, "full", n_iter=_RACE, tol=_TOLERANCE, random_state=seed, init_params="stc",
            implementation=implementation,
        )  # fmt: skip
        model.means_ = means.copy()
        score = _fitted(model, observed)
        if score is not None:
            return model, score
    return None


def _fitted(model: GaussianHMM, observed: np.ndarray) -> float | None:
    """Fit a model in place; its log likelihood, or None if a state has no spread or a density underflows."""
    try:
        score = model.fit(observed).score(observed)
    except ValueError:
        return None
    ranks = np.linalg.matrix_rank(model.covars_, hermitian=True)
    return float(score) if np.isfinite(score) and (ranks == observed.shape[1]).all() else None


def _stationary(transitions: np.ndarray) -> np.ndarray:
    """The stationary distribution: ``pi A = pi``, ``sum(pi) = 1``."""
    n_states = len(transitions)
    equations = np.vstack([transitions.T - np.eye(n_states), np.ones(n_states)])
    return np.linalg.lstsq(equations, np.append(np.zeros(n_states), 1.0))[0]


@contextmanager
def _hmmlearn_quiet() -> Iterator[None]:
    """Suppress two irrelevant warnings: EM lost a rounding error of likelihood, and fewer distinct rows than states."""
    from sklearn.exceptions import ConvergenceWarning

    logger = logging.getLogger("hmmlearn.base")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            yield
    finally:
        logger.setLevel(before)
