"""From a forecast and the position held to the position wanted: the same rule in a backtest and live."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from data.errors import SettingsError

Between = Literal["hold", "flat"]


@dataclass(frozen=True)
class ThresholdRule:
    """Long above one threshold, short below the other.

    Parameters
    ----------
    long_threshold, short_threshold
        Forecast log returns; a forecast must lie strictly beyond them.
    between
        What to do in between: ``hold`` the position, or go ``flat``.
    """

    long_threshold: float = 0.001
    short_threshold: float = -0.001
    between: Between = "hold"

    def __post_init__(self) -> None:
        if not self.short_threshold <= self.long_threshold:
            raise SettingsError(
                f"short_threshold {self.short_threshold:g} lies above long_threshold {self.long_threshold:g}."
            )
        if self.between not in ("hold", "flat"):
            raise SettingsError(f"between is {self.between!r}; it can be 'hold' or 'flat'.")

    def target(self, log_return: float, position: int) -> int:
        """The position wanted (1 long, -1 short, 0 none) given the forecast and the position held."""
        if log_return > self.long_threshold:
            return 1
        if log_return < self.short_threshold:
            return -1
        return position if self.between == "hold" else 0
