"""What a user would write from a tutorial: the reference that a training is measured against."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

_WINDOW, _EPOCHS, _PATIENCE = 20, 30, 5


class TutorialLSTM(nn.Module):
    def __init__(self, n_features: int, hidden_dim: int = 64, num_layers: int = 2) -> None:
        super().__init__()
        self.lstm = nn.LSTM(n_features, hidden_dim, num_layers, batch_first=True)
        self.fc = nn.Linear(hidden_dim, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out, _ = self.lstm(x)
        return self.fc(out[:, -1, :]).squeeze(-1)


def windows(features: np.ndarray, target: np.ndarray, bars: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The last 20 rows of features at each of ``bars`` ``(B, 20, F)``, and the targets ``(B,)``."""
    return np.stack([features[bar - _WINDOW + 1 : bar + 1] for bar in bars]), target[bars].astype(np.float32)


def train_network(
    features: np.ndarray, target: np.ndarray, train_bars: np.ndarray, validation_bars: np.ndarray, seed: int
) -> TutorialLSTM:
    """Windows of 20 bars built beforehand, a DataLoader with batches of 32, Adam, torch's default threads.

    Training stops after 30 epochs, or after five without a better validation loss.
    """
    torch.manual_seed(seed)
    train, validation = (
        TensorDataset(*map(torch.from_numpy, windows(features, target, bars))) for bars in (train_bars, validation_bars)
    )
    loader = DataLoader(train, batch_size=32, shuffle=True)
    x_validation, y_validation = validation.tensors
    network = TutorialLSTM(features.shape[1])
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
    criterion = nn.MSELoss()
    best, waited = float("inf"), 0
    for _ in range(_EPOCHS):
        network.train()
        for x, y in loader:
            optimizer.zero_grad()
            loss = criterion(network(x), y)
            loss.backward()
            optimizer.step()
        network.eval()
        with torch.no_grad():
            loss = float(criterion(network(x_validation), y_validation))
        best, waited = (loss, 0) if loss < best else (best, waited + 1)
        if waited == _PATIENCE:
            break
    return network
