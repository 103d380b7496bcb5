"""The LSTM of one regime, and the passes by which it reads a series."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

# Bars per call of the network: few enough for the state to stay in the processor's cache.
_BARS_AT_ONCE = 2048

# Hidden and cell state of each layer.
State = list[tuple[Tensor, Tensor]]


@contextmanager
def one_thread() -> Iterator[None]:
    """One torch thread: faster on networks this small, the same sums every time, and safe in forked processes."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
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
        self.head = _EmptyLinear(hidden_dim, 1)
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -(hidden_dim**-0.5), hidden_dim**-0.5, generator=draws)

    def forward(
        self, bars: Tensor, state: State | None = None, draws: torch.Generator | None = None
    ) -> tuple[Tensor, State]:
        """Outputs ``(B, L)`` at bars ``(B, L, F)``, and the state after the last bar.

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
        return self.head(hidden).squeeze(-1), after


# Hidden and cell state of each layer, ``(n_members, hidden_dim)``, in NumPy.
StepState = list[tuple[np.ndarray, np.ndarray]]


class EnsembleStep:
    """The networks of an ensemble, which read one bar at a time.

    It computes what `RegimeLSTM` does in NumPy and for all members at once, because a call of torch for one bar spends
    most of its time outside its arithmetic.

    Parameters
    ----------
    networks
        Float64 networks of one shape.
    """

    def __init__(self, networks: Sequence[RegimeLSTM]) -> None:
        width = networks[0].hidden_dim
        # The sigmoid of x is (1 + tanh(x / 2)) / 2, so that one tanh serves all four gates: i, f, g and o.
        half = np.repeat([0.5, 0.5, 1.0, 0.5], width)[:, None]
        self._layers = [
            tuple(half * part for part in _stacked_layer(networks, number)) for number in range(networks[0].num_layers)
        ]
        self._head = np.stack([network.head.weight.numpy(force=True)[0] for network in networks])
        self._bias = np.array([network.head.bias.item() for network in networks])
        self._start = [(np.zeros_like(self._head),) * 2 for _ in self._layers]

    def read(self, bar: np.ndarray, state: StepState | None) -> tuple[np.ndarray, StepState]:
        """Outputs ``(n_members,)`` at a bar ``(F,)``, and the state after it; ``state`` None at the start of a pass."""
        after: StepState = []
        hidden = np.broadcast_to(bar, (len(self._bias), len(bar)))
        for (weights, bias), (before, cell) in zip(self._layers, state or self._start, strict=True):
            inputs = np.concatenate([hidden, before], axis=1)[:, :, None]
            gates = np.tanh(weights @ inputs + bias)[:, :, 0].reshape(len(hidden), 4, -1)
            input_, forget, output = (0.5 + 0.5 * gates[:, number] for number in (0, 1, 3))
            cell = forget * cell + input_ * gates[:, 2]
            hidden = output * np.tanh(cell)
            after.append((hidden, cell))
        return (hidden * self._head).sum(axis=1) + self._bias, after


def _stacked_layer(networks: Sequence[RegimeLSTM], number: int) -> tuple[np.ndarray, np.ndarray]:
    """A layer's weights ``(n_members, 4 * H, inputs + H)`` and biases ``(n_members, 4 * H, 1)``."""
    layers = [{name: value.numpy(force=True) for name, value in n.layers[number].named_parameters()} for n in networks]
    weights = [np.concatenate([one["weight_ih_l0"], one["weight_hh_l0"]], axis=1) for one in layers]
    return np.stack(weights), np.stack([one["bias_ih_l0"] + one["bias_hh_l0"] for one in layers])[:, :, None]


def time_slots(index: pd.DatetimeIndex, interval: pd.Timedelta) -> np.ndarray:
    """Number of whole intervals since 1970 at each bar: ``(n_bars,)``."""
    return index.as_unit("us").asi8 // (interval // pd.Timedelta(microseconds=1))


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

    def pad(self, scaled: np.ndarray) -> Tensor:
        """Scaled features ``(n_bars, F)`` as a tensor, NaN replaced by 0, with ``stride - 1`` rows of 0 at the end."""
        return torch.from_numpy(np.pad(np.nan_to_num(scaled), ((0, self.stride - 1), (0, 0))))

    def read(self, padded: Tensor, first: Tensor) -> Tensor:
        """The bars of the passes that begin at ``first`` ``(B,)``: ``(B, length, F)``."""
        return padded.unfold(0, self.length, 1)[first].transpose(1, 2)

    def outputs(self, network: RegimeLSTM, padded: Tensor, bars: np.ndarray) -> Iterator[tuple[np.ndarray, Tensor]]:
        """Yield batches of the ascending ``bars`` with the network's outputs at them.

        A pass is read up to the last of its ``bars``; passes of similar length share a batch.
        """
        first, row, step = self.places(bars)
        n_steps = np.zeros(len(first), dtype=int)
        np.maximum.at(n_steps, row, step + 1)
        order = np.argsort(n_steps, kind="stable")
        place = np.argsort(order)[row]  # of each bar's pass in that order
        by_place = np.argsort(place, kind="stable")
        first, n_steps = first[order], n_steps[order]
        place, step, bars = place[by_place], step[by_place], bars[by_place]
        at_once = max(1, _BARS_AT_ONCE // self.length)
        network.eval()
        for begin in range(0, len(first), at_once):
            end = min(begin + at_once, len(first))
            here = slice(*np.searchsorted(place, [begin, end]))
            with torch.inference_mode():
                batch = self.read(padded, torch.from_numpy(first[begin:end]))[:, : n_steps[end - 1]]
                output, _ = network(batch)
            yield bars[here], output[torch.from_numpy(place[here] - begin), torch.from_numpy(step[here])]
