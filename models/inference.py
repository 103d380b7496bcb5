"""Reads passes bar by bar with the networks of an ensemble, in NumPy: the arithmetic of every forecast."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from models.network import Passes, RegimeLSTM

# Bars to read per batch. Twice and half as many take a tenth longer.
_BARS_AT_ONCE = 8192

# Of each layer: its inputs, hidden state and a row of ones, (n_members, I + H + 1, n_passes); its cell state,
# (n_members, H, n_passes).
State = list[tuple[np.ndarray, np.ndarray]]


class EnsembleReader:
    """The networks of an ensemble, which read passes side by side, one bar at a time.

    It computes what `RegimeLSTM` does, for all members at once. torch's float64 LSTM takes 1.6 times as long on many
    passes, and several times as long on a single bar.

    Parameters
    ----------
    networks
        Float64 networks of one shape.
    """

    def __init__(self, networks: Sequence[RegimeLSTM]) -> None:
        self._width = networks[0].hidden_dim
        # The sigmoid of x is (1 + tanh(x / 2)) / 2, so that one tanh serves all four gates: i, f, g and o.
        half = np.repeat([0.5, 0.5, 1.0, 0.5], self._width)[:, None]
        self._layers = [half * _layer_weights(networks, number) for number in range(networks[0].num_layers)]
        self._head = np.stack([network.head.weight.numpy(force=True) for network in networks])
        self._bias = np.stack([network.head.bias.numpy(force=True) for network in networks])[:, :, None]

    def start(self, n_passes: int) -> State:
        """The state before the first bar of each pass."""
        n_members, width = len(self._bias), self._width
        state = [
            (np.zeros((n_members, weights.shape[2], n_passes)), np.zeros((n_members, width, n_passes)))
            for weights in self._layers
        ]
        for inputs, _ in state:
            inputs[:, -1] = 1.0
        return state

    def read(self, bars: np.ndarray, state: State) -> np.ndarray:
        """Outputs ``(n_members, n_outputs, n_passes)`` at the next bar of each pass; ``state`` is updated.

        ``bars`` are scaled features ``(F, n_passes)``.
        """
        width, below = self._width, bars
        for weights, (inputs, cell) in zip(self._layers, state, strict=True):
            hidden = inputs[:, -width - 1 : -1]
            inputs[:, : -width - 1] = below
            gates = weights @ inputs
            np.tanh(gates, out=gates)
            input_, forget, new, output = (gates[:, number * width : (number + 1) * width] for number in range(4))
            for gate in (input_, forget, output):
                gate += 1
            cell *= forget
            input_ *= new
            cell += input_
            cell *= 0.5
            np.tanh(cell, out=hidden)
            hidden *= output
            hidden *= 0.5
            below = hidden
        outputs = self._head[:, :, :width] @ below + self._bias
        if self._head.shape[2] > width:  # it reads the bar, too
            outputs += self._head[:, :, width:] @ bars
        return outputs

    def outputs(self, passes: Passes, scaled: np.ndarray, bars: np.ndarray) -> np.ndarray:
        """Outputs ``(n_members, n_outputs, len(bars))`` at the ascending bars of scaled features ``(n_bars, F)``."""
        padded = passes.pad(scaled.astype(np.float64, copy=False))
        outputs = np.empty((*self._bias.shape[:2], len(scaled)))
        for some, first, row, step in passes.batches(bars, _BARS_AT_ONCE):
            state = self.start(len(first))
            by_step = np.stack([self.read(padded[first + at].T, state) for at in range(step.max() + 1)])
            outputs[:, :, some] = np.moveaxis(by_step[step, :, :, row], 0, -1)
        return outputs[:, :, bars]


def _layer_weights(networks: Sequence[RegimeLSTM], number: int) -> np.ndarray:
    """A layer's weights of inputs, hidden state and the constant 1: ``(n_members, 4 * H, I + H + 1)``."""
    layers = [{name: value.numpy(force=True) for name, value in n.layers[number].named_parameters()} for n in networks]
    return np.stack(
        [
            np.column_stack([one["weight_ih_l0"], one["weight_hh_l0"], one["bias_ih_l0"] + one["bias_hh_l0"]])
            for one in layers
        ]
    )
