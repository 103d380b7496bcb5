"""The network of one regime."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


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
    """LSTM layers and a linear head: a window of scaled features to the next scaled log return.

    Parameters
    ----------
    n_features
        Columns of a window.
    hidden_dim, num_layers
        Width and number of LSTM layers (Hochreiter and Schmidhuber 1997).
    dropout
        Fraction dropped between layers and before the head, while training only.
    """

    def __init__(self, n_features: int, hidden_dim: int = 64, num_layers: int = 2, dropout: float = 0.0) -> None:
        super().__init__()
        between_layers = dropout if num_layers > 1 else 0.0
        self.lstm = nn.LSTM(n_features, hidden_dim, num_layers, batch_first=True, dropout=between_layers)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(hidden_dim, 1)

    def forward(self, window: Tensor) -> Tensor:
        hidden, _ = self.lstm(window)  # (B, W, F) -> (B, W, H)
        scaled_return: Tensor = self.head(self.dropout(hidden[:, -1]))  # (B, H) -> (B, 1)
        return scaled_return.squeeze(-1)  # (B,)


def gather_windows(features: Tensor, bars: Tensor, window: int) -> Tensor:
    """The windows that end at ``bars`` ``(B,)``, gathered from ``(n_bars, F)``: ``(B, window, F)``."""
    return features.unfold(0, window, 1)[bars - (window - 1)].transpose(1, 2)
