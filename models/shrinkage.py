"""The weights that combine a regime's expert and the all-regimes network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import pandas as pd

from data.files import EXACTLY

_SIGNIFICANT = 1.96  # standard errors

Forecasts = TypeVar("Forecasts", np.ndarray, pd.Series)


@dataclass(frozen=True)
class Shrinkage:
    """Weights of a shrunk forecast ``experts * expert + all_regimes * all-regimes network``.

    Attributes
    ----------
    experts, all_regimes
        At least 0; their sum is at most 1.
    experts_error, all_regimes_error
        Standard errors, of the estimate before it is cut to these bounds.
    n_bars
        Number of held-out forecasts that they were learnt on.
    """

    __pydantic_config__ = EXACTLY

    experts: float
    all_regimes: float
    experts_error: float
    all_regimes_error: float
    n_bars: int

    def combine(self, experts: Forecasts, all_regimes: Forecasts) -> Forecasts:
        """The shrunk forecast of the experts' and the all-regimes network's."""
        return self.experts * experts + self.all_regimes * all_regimes

    def __str__(self) -> str:
        """The weights with their standard errors."""
        return (
            f"experts {self.experts:.2f} ± {self.experts_error:.2f}, "
            f"one LSTM {self.all_regimes:.2f} ± {self.all_regimes_error:.2f}"
        )

    @property
    def meaning(self) -> str:
        """What the weights say, in words: which of them differ from 0 at the 5 % level."""
        weights = (
            ("the experts", self.experts, self.experts_error),
            ("one LSTM", self.all_regimes, self.all_regimes_error),
        )
        useful = [name for name, weight, error in weights if weight > _SIGNIFICANT * error]
        return "validation shows " + (f"an edge of {' and '.join(useful)}" if useful else "no edge")
