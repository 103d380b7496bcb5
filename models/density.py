"""The predictive density of the next log return: an ensemble of networks, and a correction per regime.

The mean of the next return is hardly predictable, but its scale is, and the regime says more about its tails (Shi and
Weigend 1997, "Taking time seriously: hidden Markov experts applied to financial engineering").
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from models.inference import EnsembleReader
from models.network import RegimeLSTM
from models.student import StudentMixture

DENSITY = "density"  # in the names of files
BASE = "log_volatility(20)"  # the feature that location and scale are relative to
_LOCATION, _LOG_SCALE = 0.1, -0.3  # of an output of 1, and of an output of 0
_LEAST_DF, _FIRST_DF = 2.0, 8.0  # above 2, so that the variance is finite


class DensityLSTM(RegimeLSTM):
    """An LSTM whose head reads its last state and the bar itself: location and log scale of a Student's t density.

    It begins with outputs of 0: a density around 0, in proportion to the volatility of the last 20 bars. ``tail`` is
    the logarithm of the degrees of freedom above 2. Parameters as in `RegimeLSTM`.
    """

    n_outputs = 2
    n_scalars = 1
    head_reads_bar = True

    def __init__(
        self,
        n_features: int,
        hidden_dim: int = 32,
        num_layers: int = 1,
        dropout: float = 0.0,
        draws: torch.Generator | None = None,
    ) -> None:
        super().__init__(n_features, hidden_dim, num_layers, dropout, draws)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)
        self.tail = nn.Parameter(torch.tensor(math.log(_FIRST_DF - _LEAST_DF)))

    def losses(self, output: Tensor, target: Tensor) -> Tensor:
        """Negative log densities of outputs ``(n_bars, 2)`` at targets ``(n_bars, 2)``: the log return and `BASE`."""
        log_return, base = target.unbind(1)
        df, log_scale = _LEAST_DF + self.tail.exp(), base + _LOG_SCALE + output[:, 1]
        deviation = (log_return - _LOCATION * output[:, 0] * base.exp()) * torch.exp(-log_scale)
        constant = torch.lgamma((df + 1) / 2) - torch.lgamma(df / 2) - 0.5 * torch.log(math.pi * df)
        return log_scale - constant + (df + 1) / 2 * torch.log1p(deviation**2 / df)

    def relative_loss(self, total: float, zero_total: float, n_bars: int) -> float:
        """Geometric mean, over the bars, of the first network's density relative to this one's: below 1 is better."""
        return math.exp((total - zero_total) / n_bars) if n_bars else float("nan")


class Correction(NamedTuple):
    """What a regime adds to the networks' location and log scale, and to the logarithm of the degrees of freedom."""

    location: float = 0.0
    log_scale: float = 0.0
    tail: float = 0.0


@dataclass(frozen=True)
class Density:
    """The predictive density of a model set.

    Attributes
    ----------
    features, mean, scale, window, stride
        As in `models.expert.Expert`.
    networks
        Float64 and in evaluation mode: one LSTM per member of the experts, and a linear model, whose head ignores its
        LSTM.
    corrections
        By regime; a regime that training has not seen has none.
    training
        Losses per epoch and member, and sample counts.
    """

    features: tuple[str, ...]
    mean: np.ndarray
    scale: np.ndarray
    networks: tuple[DensityLSTM, ...]
    window: int
    stride: int
    corrections: dict[int, Correction]
    training: dict[str, Any] = field(default_factory=dict)
    name: ClassVar[str] = DENSITY

    @cached_property
    def reader(self) -> EnsembleReader:
        return EnsembleReader(self.networks)

    @cached_property
    def _tails(self) -> np.ndarray:
        return np.array([network.tail.item() for network in self.networks])

    def components(self, outputs: np.ndarray, base: np.ndarray, correction: np.ndarray) -> StudentMixture:
        """The mixture of the members.

        Parameters
        ----------
        outputs
            ``(n_bars, n_members, 2)`` of the networks.
        base
            ``(n_bars,)``: `BASE`.
        correction
            `Correction` as an array: one ``(3,)``, or one per bar ``(n_bars, 3)``.
        """
        level = base[:, None]
        return StudentMixture(
            weights=np.full(outputs.shape[:2], 1 / len(self.networks)),
            location=_LOCATION * np.exp(level) * (outputs[:, :, 0] + correction[..., [0]]),
            scale=np.exp(level + _LOG_SCALE + outputs[:, :, 1] + correction[..., [1]]),
            df=_LEAST_DF + np.exp(self._tails + correction[..., [2]]),
        )

    def of_regime(self, outputs: np.ndarray, base: np.ndarray, regimes: np.ndarray) -> StudentMixture:
        """The density at each bar, corrected for its regime ``(n_bars,)``; of no correction for an unknown regime."""
        corrections = np.zeros((len(regimes), len(Correction._fields)))
        for regime, one in self.corrections.items():
            corrections[regimes == regime] = one
        return self.components(outputs, base, corrections)

    def blended(
        self, outputs: np.ndarray, base: np.ndarray, regimes: Sequence[int], probabilities: np.ndarray
    ) -> StudentMixture:
        """The densities of all regimes at each bar, weighted by their probabilities ``(n_bars, n_regimes)``."""
        parts = [self.of_regime(outputs, base, np.full(len(base), regime)) for regime in regimes]
        n_members = len(self.networks)
        return StudentMixture(
            weights=np.repeat(probabilities / n_members, n_members, axis=1),
            location=np.concatenate([part.location for part in parts], axis=1),
            scale=np.concatenate([part.scale for part in parts], axis=1),
            df=np.concatenate([part.df for part in parts], axis=1),
        )
