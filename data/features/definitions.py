"""Features by name: what a feature is, and how one is registered."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from data.registry import Registry

Compute = Callable[[pd.DataFrame], np.ndarray]


@dataclass(frozen=True)
class Feature:
    """A causal function of candles.

    Attributes
    ----------
    lookback
        Number of earlier bars that a value depends on; of the timeframe's bars if there is one.
    columns
        Names of the columns that `compute` returns.
    compute
        Maps candles to ``(n_bars,)`` or ``(n_bars, n_columns)``, one row per bar.
    built_in
        Whether `compute` only reads the index and arrays of the columns.
    timeframe
        Length of the closed bars that the feature is computed from; None for the candles' own bars.
    """

    name: str
    lookback: int
    columns: tuple[str, ...]
    compute: Compute
    built_in: bool = False
    timeframe: pd.Timedelta | None = None

    def bars_back(self, interval: pd.Timedelta) -> int:
        """Number of earlier candles of this interval that a value depends on.

        A timeframe needs two bars more: the one in progress, and the first one, which may be cut.
        """
        if self.timeframe is None:
            return self.lookback
        return math.ceil((self.lookback + 2) * (self.timeframe / interval))


@dataclass(frozen=True)
class Family:
    """A built-in feature for any periods.

    Attributes
    ----------
    defaults
        The periods of the feature's plain name.
    least
        The smallest period.
    lookback, compute
        Functions of the periods, and of candles and periods.
    """

    name: str
    defaults: tuple[int, ...]
    least: int
    lookback: Callable[..., int]
    compute: Callable[..., np.ndarray]

    @property
    def example(self) -> str:
        """The expression with the default periods."""
        return f"{self.name}({','.join(map(str, self.defaults))})"

    def feature(self, name: str, periods: Sequence[int]) -> Feature:
        """The feature with these periods."""
        fixed = tuple(periods)
        return Feature(
            name, self.lookback(*fixed), (name,), lambda candles: self.compute(candles, *fixed), built_in=True
        )


class FeatureRegistry(Registry[Feature]):
    """Features by name, and by each expression that `data.features.grammar` reads, such as ``rsi(28)[1]``."""

    def __contains__(self, name: object) -> bool:
        return super().__contains__(name) or self._of_expression(name) is not None

    def __missing__(self, name: str) -> Feature:
        found = self._of_expression(name)
        if found is None:
            raise KeyError(name)
        return found

    def _of_expression(self, name: object) -> Feature | None:
        from data.errors import DataError
        from data.features.grammar import parsed  # it reads this registry

        try:
            return parsed(name) if isinstance(name, str) else None
        except DataError:
            return None


FEATURES = FeatureRegistry("feature")
FAMILIES: dict[str, Family] = {}


def feature(name: str, *, lookback: int, columns: Sequence[str] = ()) -> Callable[[Compute], Compute]:
    """Decorator that registers a function of candles as the feature ``name``, for training, backtest and live.

    The function may look back at most ``lookback`` bars and never ahead. It is called with more than ``lookback`` bars;
    its first ``lookback`` rows are ignored. A `SettingsError` if the name is built in or another file's.

    Examples
    --------
    >>> @feature("close_to_high", lookback=0)
    ... def close_to_high(candles):
    ...     return (candles["close"] / candles["high"]).to_numpy()
    """
    return register(name, lookback, columns, sys._getframe(1).f_globals)


def register(
    name: str, lookback: int, columns: Sequence[str], module: Mapping[str, Any], *, built_in: bool = False
) -> Callable[[Compute], Compute]:
    """`feature` for a function of a module with these globals."""

    def registered(compute: Compute) -> Compute:
        FEATURES.register(name, Feature(name, lookback, tuple(columns) or (name,), compute, built_in), module)
        return compute

    return registered
