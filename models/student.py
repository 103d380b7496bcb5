"""Mixtures of Student's t distributions: the predictive density of a log return."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import reduce
from operator import add

import numpy as np

_MOST_STEPS = 60  # towards a quantile; Newton's method takes about five
_PRECISION = 1e-10


@dataclass(frozen=True, eq=False)
class StudentMixture:
    """A mixture of Student's t distributions at each bar.

    Attributes
    ----------
    weights, location, scale, df
        ``(..., n_components)``: weights that sum to 1; location and scale in log returns; degrees of freedom above 2.
    """

    weights: np.ndarray
    location: np.ndarray
    scale: np.ndarray
    df: np.ndarray

    def mean(self) -> np.ndarray:
        """``(...)``."""
        return _total(self.weights * self.location)

    def deviation(self) -> np.ndarray:
        """Standard deviation ``(...)``."""
        squares = self.scale**2 * self.df / (self.df - 2) + self.location**2
        return np.sqrt(_total(self.weights * squares) - self.mean() ** 2)

    def log_density(self, value: np.ndarray | float) -> np.ndarray:
        """Logarithm of the density at ``value`` ``(...)``."""
        each = _log_student(self._standardised(value), self.df) - np.log(self.scale)
        largest = each.max(axis=-1, keepdims=True)
        return np.asarray(np.log((self.weights * np.exp(each - largest)).sum(axis=-1)) + largest[..., 0])

    def cdf(self, value: np.ndarray | float) -> np.ndarray:
        """Probability of at most ``value`` ``(...)``."""
        from scipy.special import stdtr

        return _total(self.weights * stdtr(self.df, self._standardised(value)))

    def quantiles(self, levels: Sequence[float] | np.ndarray) -> np.ndarray:
        """The values that are not exceeded with these probabilities: ``(..., n_levels)``.

        ``levels`` are ``(n_levels,)``, or ``(..., n_levels)`` if they differ between the bars.

        By Newton's method, with a bisection where it leaves the interval that holds the quantile.
        """
        from scipy.special import stdtrit

        shape = (*self.weights.shape[:-1], np.shape(levels)[-1], self.weights.shape[-1])
        parts = (getattr(self, name)[..., None, :] for name in ("weights", "location", "scale", "df"))
        each = StudentMixture(*(np.broadcast_to(part, shape).reshape(-1, shape[-1]) for part in parts))
        level = np.broadcast_to(levels, shape[:-1]).ravel()
        ends = each.location + each.scale * stdtrit(each.df, level[:, None])
        low, high = ends.min(axis=-1), ends.max(axis=-1)  # a mixture's quantile lies between its components'
        value, rows = (each.weights * ends).sum(axis=-1), np.flatnonzero(low < high)
        for _ in range(_MOST_STEPS):
            some, at = each[rows], value[rows]
            excess = some.cdf(at) - level[rows]
            low[rows], high[rows] = np.where(excess < 0, at, low[rows]), np.where(excess < 0, high[rows], at)
            step = at - excess / np.exp(some.log_density(at))
            inside = (low[rows] <= step) & (step <= high[rows])
            value[rows] = np.where(inside, step, (low[rows] + high[rows]) / 2)
            narrow = high[rows] - low[rows] < _PRECISION * some.scale.min(axis=-1)
            rows = rows[~narrow & (np.abs(excess) >= _PRECISION)]
            if not len(rows):
                break
        return value.reshape(shape[:-1])

    def to_dict(self) -> dict[str, list]:
        """The arrays by name, as lists."""
        return {field.name: getattr(self, field.name).tolist() for field in fields(self)}

    @classmethod
    def from_dict(cls, content: Mapping[str, list]) -> StudentMixture:
        """The inverse of `to_dict`."""
        return cls(**{name: np.array(values) for name, values in content.items()})

    def __getitem__(self, bar: int | slice | np.ndarray) -> StudentMixture:
        """The mixture at one bar, or at some, of several."""
        return StudentMixture(self.weights[bar], self.location[bar], self.scale[bar], self.df[bar])

    def _standardised(self, value: np.ndarray | float) -> np.ndarray:
        return (np.asarray(value)[..., None] - self.location) / self.scale


def _total(components: np.ndarray) -> np.ndarray:
    """The sum of the last axis, added one by one: NumPy's order depends on the layout, and so on the number of bars."""
    return np.asarray(reduce(add, np.moveaxis(components, -1, 0)))


def _log_student(value: np.ndarray, df: np.ndarray) -> np.ndarray:
    """Logarithm of the standard Student's t density."""
    from scipy.special import gammaln

    constant = gammaln((df + 1) / 2) - gammaln(df / 2) - 0.5 * np.log(np.pi * df)
    return np.asarray(constant - (df + 1) / 2 * np.log1p(value**2 / df))
