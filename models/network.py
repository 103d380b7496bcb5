"""The LSTM of one regime, and the passes by which it reads a series."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar, NamedTuple

import numpy as np
import pandas as pd
import torch
from threadpoolctl import threadpool_limits
from torch import Tensor, nn

# Bars per call of the network: few enough for the state to stay in the processor's cache.
_BARS_AT_ONCE = 2048

# Hidden and cell state of each layer.
State = list[tuple[Tensor, Tensor]]


@contextmanager
def one_thread() -> Iterator[None]:
    """One thread of torch and NumPy: faster on small networks, the same sums every time, safe in forked processes."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with threadpool_limits(1):
            yield
    finally:
        torch.set_num_threads(before)


# Without initial weights, which would be drawn from torch's own generator. torch's way to that, a network on the device
# "meta", imports a second's worth of its compiler.
class _EmptyLSTM(nn.LSTM):
    def reset_parameters(self) -> None:
        pass


class _EmptyLinear(nn.Linear):
    def reset_parameters(self) -> None:
        pass


class RegimeLSTM(nn.Module):
    """LSTM layers and a linear head: from bars of scaled features to the scaled next log return of each.

    A subclass may have more ``n_outputs``, and a head that reads the bar beside the hidden state (``head_reads_bar``).

    Parameters
    ----------
    n_features
        Columns of a bar.
    hidden_dim, num_layers
        Width and number of LSTM layers (Hochreiter and Schmidhuber 1997).
    dropout
        Fraction dropped after each layer, while training only.
    draws
        Random generator of the initial weights, uniform within ``1 / sqrt(hidden_dim)`` of 0; default: torch's.
    """

    n_outputs: ClassVar[int] = 1
    n_scalars: ClassVar[int] = 0  # parameters beside layers and head
    head_reads_bar: ClassVar[bool] = False

    def __init__(
        self,
        n_features: int,
        hidden_dim: int = 64,
        num_layers: int = 2,
        dropout: float = 0.0,
        draws: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        widths = [n_features, *[hidden_dim] * num_layers]
        self.layers = nn.ModuleList(_EmptyLSTM(width, hidden_dim, batch_first=True) for width in widths[:-1])
        self.hidden_dim, self.num_layers, self.dropout = hidden_dim, num_layers, dropout
        self.head = _EmptyLinear(self.head_inputs(n_features, hidden_dim), self.n_outputs)
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -(hidden_dim**-0.5), hidden_dim**-0.5, generator=draws)

    def forward(
        self, bars: Tensor, state: State | None = None, draws: torch.Generator | None = None
    ) -> tuple[Tensor, State]:
        """Outputs ``(B, L)`` at bars ``(B, L, F)``, and the state after the last bar; ``(B, L, n_outputs)`` if several.

        ``state`` is that after the previous bars; ``draws`` is the random generator of the dropout.
        """
        after: State = []
        hidden = bars
        for number, layer in enumerate(self.layers):
            hidden, layer_state = layer(hidden, state[number] if state else None)  # (B, L, H)
            after.append(layer_state)
            if self.training and self.dropout > 0:
                kept = torch.rand(hidden.shape, generator=draws) >= self.dropout
                hidden = hidden * kept.to(hidden.device) / (1 - self.dropout)
        read = torch.cat([hidden, bars], dim=-1) if self.head_reads_bar else hidden
        return self.head(read).squeeze(-1), after

    @classmethod
    def head_inputs(cls, n_features: int, hidden_dim: int) -> int:
        """Number of values that the head reads."""
        return hidden_dim + cls.head_reads_bar * n_features

    def losses(self, output: Tensor, target: Tensor) -> Tensor:
        """Squared errors of outputs ``(n_bars,)``."""
        return (output - target).square()

    def relative_loss(self, total: float, zero_total: float, n_bars: int) -> float:
        """A sum of losses relative to that of the forecast 0: below 1 is better; NaN if that is 0."""
        return total / zero_total if zero_total > 0 else float("nan")


def time_slots(index: pd.DatetimeIndex, interval: pd.Timedelta) -> np.ndarray:
    """Number of whole intervals since 1970 at each bar: ``(n_bars,)``."""
    return index.as_unit("us").asi8 // _microseconds(interval)


@lru_cache
def _microseconds(interval: pd.Timedelta) -> int:
    return interval // pd.Timedelta(microseconds=1)


def pass_length(window: int, stride: int) -> int:
    """Bars of a pass: ``window - 1`` bars of context, and ``stride`` bars with a forecast."""
    return window - 1 + stride


class Places(NamedTuple):
    """Positions of bars: the ``first`` bar of each pass, and for each bar its pass (``row``) and ``step`` in it."""

    first: np.ndarray
    row: np.ndarray
    step: np.ndarray


@dataclass(frozen=True)
class Passes:
    """The passes by which a network reads a series, and the block of bars that each pass forecasts.

    A pass reads ``window - 1`` bars of context and then forecasts at up to ``stride`` bars. Time is divided into blocks
    of ``stride`` intervals at fixed dates, and a pass forecasts the bars of one block. So a forecast depends on at
    least ``window`` and at most ``window + stride - 1`` bars, which its date determines: a series that begins later,
    or a live stream, gives the same forecast. With stride 1, every bar has its own pass: a sliding window.

    Attributes
    ----------
    block_start
        ``(n_bars,)`` first bar of each bar's block.
    """

    window: int
    stride: int
    block_start: np.ndarray

    @classmethod
    def over(cls, slots: np.ndarray, window: int, stride: int) -> Passes:
        """The passes over bars with these `time_slots`; a constant added to them moves the blocks' borders."""
        bar = np.arange(len(slots))
        begins = np.append(True, np.diff(slots // stride) != 0)[: len(slots)]
        block_start = np.maximum.accumulate(np.where(begins, bar, 0))
        # Two bars in one slot, as when clocks are set back, would make a block too long.
        return cls(window, stride, np.maximum(block_start, bar - stride + 1))

    @property
    def length(self) -> int:
        """Bars of a pass: the most that a forecast depends on."""
        return pass_length(self.window, self.stride)

    def complete(self, values: np.ndarray) -> np.ndarray:
        """Whether the last `length` rows of ``values`` ``(n_bars, F)`` are finite, at each bar: ``(n_bars,)``."""
        gaps = np.cumsum(~np.isfinite(values).all(axis=1))
        gaps[self.length :] -= gaps[: -self.length].copy()  # of the last `length` rows
        return (gaps == 0) & (np.arange(len(gaps)) >= self.length - 1)

    def places(self, bars: np.ndarray) -> Places:
        """Positions of ``bars``, all of which must be `complete`."""
        blocks, row = np.unique(self.block_start[bars], return_inverse=True)
        first = blocks - self.window + 1
        return Places(first, row, bars - first[row])

    def pad(self, scaled: np.ndarray) -> np.ndarray:
        """Scaled features ``(n_bars, F)`` with NaN replaced by 0, and ``stride - 1`` rows of 0 at the end."""
        return np.pad(np.nan_to_num(scaled), ((0, self.stride - 1), (0, 0)))

    def read(self, padded: Tensor, first: Tensor) -> Tensor:
        """The bars of the passes that begin at ``first`` ``(B,)``: ``(B, length, F)``."""
        return padded.unfold(0, self.length, 1)[first].transpose(1, 2)

    def outputs(self, network: RegimeLSTM, padded: Tensor, bars: np.ndarray) -> Iterator[tuple[np.ndarray, Tensor]]:
        """Yield batches of the ascending ``bars`` with the network's outputs at them."""
        network.eval()
        for some, first, row, step in self.batches(bars, _BARS_AT_ONCE):
            with torch.inference_mode():
                output, _ = network(self.read(padded, torch.from_numpy(first))[:, : step.max() + 1])
            yield some, output[torch.from_numpy(row), torch.from_numpy(step)]

    def batches(
        self, bars: np.ndarray, bars_at_once: int
    ) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]]:
        """Yield the ascending ``bars`` in batches of passes, together with the `places` of the batch's bars.

        A pass is read up to the last of its ``bars``; passes of similar length share a batch, of about
        ``bars_at_once`` bars to read.
        """
        first, row, step = self.places(bars)
        n_steps = np.zeros(len(first), dtype=int)
        np.maximum.at(n_steps, row, step + 1)
        order = np.argsort(n_steps, kind="stable")
        place = np.argsort(order)[row]  # of each bar's pass in that order
        by_place = np.argsort(place, kind="stable")
        first, place, step, bars = first[order], place[by_place], step[by_place], bars[by_place]
        at_once = max(1, bars_at_once // self.length)
        for begin in range(0, len(first), at_once):
            here = slice(*np.searchsorted(place, [begin, begin + at_once]))
            yield bars[here], first[begin : begin + at_once], place[here] - begin, step[here]
