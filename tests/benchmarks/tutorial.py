"""What a user would write from a tutorial: the reference that our times are measured against."""

from __future__ import annotations

import time
from dataclasses import dataclass

import backtrader as bt
import numpy as np
import pandas as pd
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class TutorialLSTM(nn.Module):
    def __init__(self, n_features: int, hidden_dim: int = 64, num_layers: int = 2) -> None:
        super().__init__()
        self.lstm = nn.LSTM(n_features, hidden_dim, num_layers, batch_first=True)
        self.fc = nn.Linear(hidden_dim, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out, _ = self.lstm(x)
        return self.fc(out[:, -1, :]).squeeze(-1)


@dataclass
class Learnt:
    """A network and its losses: after each epoch the seconds since the start, and the relative validation loss."""

    network: TutorialLSTM
    epochs: list[tuple[float, float]]


def train_network(
    features: np.ndarray, target: np.ndarray, train_bars: np.ndarray, validation_bars: np.ndarray, seed: int
) -> Learnt:
    """Windows of 20 bars built beforehand, a DataLoader with batches of 32, Adam, torch's default threads."""
    torch.manual_seed(seed)
    begin = time.perf_counter()

    def samples(bars: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        x = np.stack([features[bar - 19 : bar + 1] for bar in bars]).astype(np.float32)
        return torch.from_numpy(x), torch.from_numpy(target[bars].astype(np.float32))

    loader = DataLoader(TensorDataset(*samples(train_bars)), batch_size=32, shuffle=True)
    x_validation, y_validation = samples(validation_bars)
    network = TutorialLSTM(features.shape[1])
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
    criterion = nn.MSELoss()
    epochs: list[tuple[float, float]] = []
    best, waited = float("inf"), 0
    for _ in range(30):
        network.train()
        for x, y in loader:
            optimizer.zero_grad()
            loss = criterion(network(x), y)
            loss.backward()
            optimizer.step()
        network.eval()
        with torch.no_grad():
            validation = float((network(x_validation) - y_validation).square().sum() / y_validation.square().sum())
        epochs.append((time.perf_counter() - begin, validation))
        best, waited = (validation, 0) if validation < best else (best, waited + 1)
        if waited == 5:
            break
    return Learnt(network, epochs)


class FeatureFeed(bt.feeds.PandasData):
    """Candles with the features and the regime beside them, computed beforehand."""

    lines = ("log_return", "volatility", "rsi", "macd", "boll_width", "regime")
    params = (("log_return", -1), ("volatility", -1), ("rsi", -1), ("macd", -1), ("boll_width", -1), ("regime", -1))


FEATURES = ["log_return", "volatility", "rsi", "macd", "boll_width"]


def feature_feed(features: pd.DataFrame, regimes: np.ndarray, candles: pd.DataFrame) -> FeatureFeed:
    table = pd.concat([candles, features], axis=1).assign(regime=regimes)
    return FeatureFeed(dataname=table.tz_localize(None))


class TutorialStrategy(bt.Strategy):
    """In ``next``: the window from the lines, the scaler, the regime's network, and a target per cent."""

    params = (("networks", None), ("scaler", None), ("target_scale", 1.0))

    def next(self) -> None:
        if len(self) < 20:
            return
        window = np.column_stack([np.array(getattr(self.data, name).get(size=20)) for name in FEATURES])
        if np.isnan(window).any() or np.isnan(self.data.regime[0]):
            return
        scaled = self.p.scaler.transform(window)
        with torch.no_grad():
            x = torch.tensor(scaled, dtype=torch.float32).unsqueeze(0)
            forecast = self.p.networks[int(self.data.regime[0])](x).item() * self.p.target_scale
        if forecast > 0.001 and self.position.size <= 0:
            self.order_target_percent(target=0.95)
        elif forecast < -0.001 and self.position.size >= 0:
            self.order_target_percent(target=-0.95)
