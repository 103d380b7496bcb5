"""The network of one regime."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

# Hidden and cell state of each layer: what a network remembers of the bars that it has read.
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


class RegimeLSTM(nn.Module):
    """LSTM layers and a linear head: bars of scaled features to the scaled log return after each of them.

    Parameters
    ----------
    n_features
        Columns of a bar.
    hidden_dim, num_layers
        Width and number of LSTM layers (Hochreiter and Schmidhuber 1997).
    dropout
        Fraction dropped after each layer, while training only.
    draws
        Where the first weights come from, uniform within ``1 / sqrt(hidden_dim)`` of 0; torch's own random numbers
        without it.
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
        self.layers = nn.ModuleList(
            nn.LSTM(width, hidden_dim, batch_first=True, device="meta") for width in widths[:-1]
        )
        self.dropout = dropout
        self.head = nn.Linear(hidden_dim, 1, device="meta")
        self.to_empty(device="cpu")
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -(hidden_dim**-0.5), hidden_dim**-0.5, generator=draws)

    def forward(
        self, bars: Tensor, state: State | None = None, draws: torch.Generator | None = None
    ) -> tuple[Tensor, State]:
        """Outputs after each bar ``(B, L)`` of ``(B, L, F)``, and the state to go on from.

        ``state`` is that of the bars before, none by default; ``draws`` says what dropout drops.
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
