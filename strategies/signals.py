"""What the trading rule reads of forecasts and candles, at one close or for a whole range of bars."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import reduce
from operator import add
from typing import NamedTuple

import numpy as np
import pandas as pd

from data.errors import SettingsError
from data.intervals import bars_per_year
from models.forecaster import Forecast, densities
from models.student import StudentMixture
from strategies.rule_settings import RuleSettings

VOLATILITY_BARS = 20  # of the past volatility, the scale of models without densities


class Signal(NamedTuple):
    """A bar's forecast, as the rule reads it.

    Attributes
    ----------
    members, log_return
        The members' forecast log returns, and their mean.
    scale
        Predicted standard deviation of the next log return; NaN if unknown.
    above, below
        Probabilities of a log return above the round trip's cost, and below minus this cost; 0 if unknown.
    """

    members: Sequence[float]
    log_return: float
    scale: float
    above: float
    below: float

    @classmethod
    def of(cls, forecast: Forecast, past_volatility: float, cost: float, rule: RuleSettings) -> Signal:
        """The parts that the rule reads.

        ``past_volatility`` is the scale of models without densities, ``cost`` the round trip's.
        """
        density, scale, above, below = forecast.density, past_volatility, 0.0, 0.0
        if density is not None and rule.needs_scale:
            scale = float(density.deviation())
        if density is not None and rule.min_probability:
            above, below = 1 - float(density.cdf(cost)), float(density.cdf(-cost))
        return cls(forecast.members, forecast.log_return, scale, above, below)


def past_volatility(close: np.ndarray) -> np.ndarray:
    """Standard deviation of the last `VOLATILITY_BARS` log returns ``(n_bars,)``; NaN for as many bars.

    Added in the same order whatever the number of bars, so that one bar and a whole series agree to the last bit.
    """
    log_returns = np.diff(np.log(close))
    n_known = len(log_returns) - VOLATILITY_BARS + 1
    if n_known < 1:
        return np.full(len(close), np.nan)
    lagged = [log_returns[lag : lag + n_known] for lag in range(VOLATILITY_BARS)]
    mean = reduce(add, lagged) / VOLATILITY_BARS
    squares = reduce(add, [(each - mean) ** 2 for each in lagged])
    return np.concatenate([np.full(VOLATILITY_BARS, np.nan), np.sqrt(squares / (VOLATILITY_BARS - 1))])


def require_densities(min_probability: float, *, has_density: bool) -> None:
    """Raise a `SettingsError` if the rule needs probabilities that the models do not forecast."""
    if min_probability and not has_density:
        raise SettingsError(
            f"min_probability is {min_probability:g}, but these forecasts have no densities. Train models with "
            "--density, or leave out min_probability."
        )


@dataclass(frozen=True)
class Market:
    """Bars and densities of a range to trade.

    Attributes
    ----------
    high, low
        ``(n_bars,)``.
    volatility
        ``(n_bars,)`` `past_volatility`.
    density
        ``(n_bars,)`` densities; None if the models have none.
    index
        Open times in UTC.
    """

    high: np.ndarray
    low: np.ndarray
    volatility: np.ndarray
    density: StudentMixture | None
    index: pd.DatetimeIndex

    @classmethod
    def of(cls, candles: pd.DataFrame, forecasts: pd.DataFrame) -> Market:
        """The bars of the forecasts; ``candles`` are these and earlier ones, and perhaps later ones."""
        end = int(candles.index.searchsorted(forecasts.index[-1], side="right"))
        bars = cls.without_densities(candles.iloc[:end]).part(slice(-len(forecasts), None))
        return replace(bars, density=densities(forecasts))

    @classmethod
    def without_densities(cls, candles: pd.DataFrame) -> Market:
        """The candles' bars."""
        index = pd.DatetimeIndex(candles.index)
        return cls(
            high=candles["high"].to_numpy(dtype=float),
            low=candles["low"].to_numpy(dtype=float),
            volatility=past_volatility(candles["close"].to_numpy(dtype=float)),
            density=None,
            index=index,
        )

    def part(self, bars: slice) -> Market:
        """Some of the bars."""
        density = None if self.density is None else self.density[bars]
        return Market(self.high[bars], self.low[bars], self.volatility[bars], density, self.index[bars])

    @property
    def scale(self) -> np.ndarray:
        """Predicted standard deviation of the next log return ``(n_bars,)``; NaN if unknown."""
        return self.volatility if self.density is None else self.density.deviation()

    @property
    def day(self) -> np.ndarray:
        """Number of the UTC day in which each bar opens ``(n_bars,)``."""
        return day_numbers(self.index)

    @property
    def bars_per_year(self) -> float:
        """Of these bars."""
        return bars_per_year(self.index)

    def probabilities(self, cost: float) -> tuple[np.ndarray, np.ndarray]:
        """``(n_bars,)`` of a log return above the round trip's cost, and below minus this cost; 0 where unknown."""
        if self.density is None:
            return np.zeros(len(self.high)), np.zeros(len(self.high))
        return np.nan_to_num(1 - self.density.cdf(cost)), np.nan_to_num(self.density.cdf(-cost))


def day_numbers(index: pd.DatetimeIndex) -> np.ndarray:
    """Number of the UTC day since 1970 in which each bar opens ``(n_bars,)``."""
    return index.tz_convert(None).to_numpy().astype("datetime64[D]").astype(np.int64)


def mean_forecasts(members: np.ndarray) -> np.ndarray:
    """The mean of each bar's members ``(n_bars,)``, added in the order of `models.forecaster.Forecast.log_return`."""
    return np.asarray(reduce(add, members.T) / members.shape[1])
