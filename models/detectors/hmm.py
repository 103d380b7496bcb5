"""Regimes from a Gaussian hidden Markov model of returns and volatility, filtered, never smoothed."""

from __future__ import annotations

import copy
import logging
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

import numpy as np

from data.errors import DataError, SettingsError
from models.regimes import Regime, register_detector

if TYPE_CHECKING:
    from hmmlearn.hmm import GaussianHMM

RETURN = "log_return"
_N_STATES = 2, 7  # numbers of states to choose from, without the last
# Lower bounds that keep each state reachable after an outlier.
_SMALLEST_TRANSITION = 1e-6
_SMALLEST_LOG_LIKELIHOOD = -50.0  # relative to the most likely state's
_STARTS = 5  # random starts of the EM fit
_RACE = 10  # steps of EM of each start; the one with the highest likelihood then goes on
_MOST_STEPS = 200
_TOLERANCE = 1e-2  # EM ends if a step gains less log likelihood


@register_detector
class HMMDetector:
    """Gaussian states over log return and further features, ordered by mean return.

    The state with the lowest mean return is bearish, the one with the highest bullish; of more than two, the others are
    sideways, ``regime3`` and so on by their mean return. ``n_states`` is 2 to 6, or ``auto`` for the number with the
    smallest Bayesian information criterion (Schwarz 1978) on the training part.

    The probabilities at t are those of the forward recursion (Rabiner 1989, eq. 19-20) over the last ``memory`` bars
    (a power of two), from the stationary distribution; they do not depend on earlier bars. The recursion is computed as
    an associative scan (Särkkä and García-Fernández 2021): products of ``memory`` transition-times-likelihood matrices,
    doubled in length ``log2(memory)`` times, for all bars at once.
    """

    name: ClassVar[str] = "hmm"

    def __init__(
        self,
        memory: int = 128,
        n_states: int | Literal["auto"] = 3,
        features: Sequence[str] = (RETURN, "volatility"),
    ) -> None:
        if features[0] != RETURN:
            raise SettingsError(f"regime_features begins with {features[0]}. Begin it with {RETURN}.")
        self.features: tuple[str, ...] = tuple(features)
        self.n_states = n_states
        self.regimes: tuple[int, ...] = _regimes(3 if n_states == "auto" else n_states)
        self.memory = memory

    def fit(self, features: np.ndarray, labels: np.ndarray | None, seed: int) -> Self:
        mean, scale = features.mean(axis=0), features.std(axis=0)
        if not (scale > 0).all():
            raise DataError("the training part's price hardly moves, so regimes cannot be estimated.")
        observed = (features - mean) / scale
        best = _best_of(observed, range(*_N_STATES) if self.n_states == "auto" else [self.n_states], seed)
        if best is None:
            raise DataError(
                "no hidden Markov model fits the training part. Check its prices for a jump, or train with "
                "--detector trend instead."
            )
        order = _by_regime(best.means_[:, 0])
        transitions = np.maximum(best.transmat_[np.ix_(order, order)], _SMALLEST_TRANSITION)
        transitions /= transitions.sum(axis=1, keepdims=True)
        self._learn(mean, scale, best.means_[order], best.covars_[order], transitions)
        return self

    def _learn(
        self,
        mean: np.ndarray,
        scale: np.ndarray,
        state_means: np.ndarray,
        state_covariances: np.ndarray,
        transitions: np.ndarray,
    ) -> None:
        self.regimes = _regimes(len(state_means))
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
            "features": list(self.features),
            "mean": self.mean_.tolist(),
            "scale": self.scale_.tolist(),
            "state_means": self.state_means_.tolist(),
            "state_covariances": self.state_covariances_.tolist(),
            "transitions": self.transitions_.tolist(),
        }

    @classmethod
    def from_parameters(cls, parameters: Mapping[str, Any]) -> Self:
        features = parameters.get("features", cls().features)  # earlier versions had no others
        detector = cls(parameters["memory"], len(parameters["state_means"]), features)
        names = ("mean", "scale", "state_means", "state_covariances", "transitions")
        detector._learn(*(np.array(parameters[name]) for name in names))
        return detector


def _regimes(n_states: int) -> tuple[int, ...]:
    """The regimes' numbers, in the order of the probabilities' columns."""
    return (int(Regime.BEARISH), int(Regime.BULLISH)) if n_states == 2 else tuple(range(n_states))


def _by_regime(mean_returns: np.ndarray) -> np.ndarray:
    """The states in the order of `_regimes`: lowest mean return, second lowest, highest, and those between."""
    order = np.argsort(mean_returns)
    return np.concatenate([order[:2], order[-1:], order[2:-1]]) if len(order) > 2 else order


def _best_of(observed: np.ndarray, numbers_of_states: Iterable[int], seed: int) -> GaussianHMM | None:
    """The model with the smallest Bayesian information criterion; None if none can be fitted."""
    models = [_best_model(observed, number, seed) for number in numbers_of_states]
    return min(filter(None, models), key=lambda model: float(model.bic(observed)), default=None)


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
