"""Next-bar returns by regime in the training part: whether the names of regimes hold, and how regimes are shown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import mode
from typing import Any

from pydantic import TypeAdapter

from data.files import EXACTLY
from models.regimes import Regime, regime_name

_BEARISH, _BULLISH = regime_name(Regime.BEARISH), regime_name(Regime.BULLISH)
_LEVEL = 0.05  # of the test of the means


@dataclass(frozen=True)
class NextReturn:
    """Mean and standard deviation of the next bar's log return, over the ``n_bars`` bars of one regime."""

    __pydantic_config__ = EXACTLY

    n_bars: int
    mean: float
    volatility: float


@dataclass(frozen=True)
class RegimeReturns:
    """Next-bar log returns by regime in the training part, and the test of bullish against bearish.

    The names hold if the mean return after a bullish bar is significantly above that after a bearish bar.

    Attributes
    ----------
    by_regime
        By the regime's name.
    t_statistic, p_value
        Of the mean of bullish minus that of bearish; the p value is two-sided. None if it cannot be tested.
    """

    __pydantic_config__ = EXACTLY

    by_regime: dict[str, NextReturn] = field(default_factory=dict)
    t_statistic: float | None = None
    p_value: float | None = None

    def __post_init__(self) -> None:
        if self.t_statistic is not None and not {_BEARISH, _BULLISH} <= self.by_regime.keys():
            raise ValueError(f"a test of {_BULLISH} against {_BEARISH} needs the returns of both")

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> RegimeReturns:
        """The inverse of `dataclasses.asdict`; raises a ValueError if a value is missing or of another type."""
        return _ADAPTER.validate_python(content)

    @property
    def names_fail(self) -> bool:
        """Whether the test was possible, and the names do not hold."""
        if self.t_statistic is None or self.p_value is None:
            return False
        return self.p_value >= _LEVEL or self.t_statistic < 0

    def label(self, name: str) -> str:
        """The name of a regime as it is shown to a user.

        If the names fail, "calm" or "volatile" stands beside the extremes of volatility. Other names, such as that of
        the all-regimes network, are returned unchanged.
        """
        if not self.names_fail:
            return name
        by_volatility = sorted(self.by_regime, key=lambda one: self.by_regime[one].volatility)
        extremes = {by_volatility[0]: "calm", by_volatility[-1]: "volatile"}
        return f"{name} ({extremes[name]})" if name in extremes else name

    def notes(self) -> list[str]:
        """One note with the result of the test, if it was possible."""
        if self.t_statistic is None or self.p_value is None:
            return []
        bullish, bearish = self.by_regime[_BULLISH], self.by_regime[_BEARISH]
        figures = (
            f"In the training part, {_BULLISH} and {_BEARISH} differ in the next bar's mean by "
            f"{1e4 * (bullish.mean - bearish.mean):+.1f} bp (t = {self.t_statistic:.1f}), in volatility by "
            f"{1e4 * (bullish.volatility - bearish.volatility):+.1f} bp "
            f"({1e4 * bullish.volatility:.1f} and {1e4 * bearish.volatility:.1f} bp)."
        )
        if not self.names_fail:
            return [f"{figures} The difference of the means is significant, so the names hold."]
        reason = "is not significant" if self.p_value >= _LEVEL else "has the wrong sign"
        return [
            f"{figures} The difference of the means {reason}, so the names do not hold: calm and volatile are the "
            "regimes with the lowest and the highest volatility."
        ]


_ADAPTER = TypeAdapter(RegimeReturns)

UNKNOWN_RETURNS = RegimeReturns()  # of a model set of an earlier version


def regime_label(name: str, folds: Sequence[RegimeReturns]) -> str:
    """The `RegimeReturns.label` that most folds of a walk-forward give to a regime; without folds its name."""
    return mode(one.label(name) for one in folds) if folds else name
