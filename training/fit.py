"""One network's training loop."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch

from models.lstm import RegimeLSTM, gather_windows
from training.settings import NetworkSettings

_LARGEST_GRADIENT_NORM = 1.0
_WINDOWS_AT_ONCE = 1024


@dataclass(frozen=True)
class FitResult:
    """A network at its best epoch. Losses are mean squared errors relative to the zero forecast's, one an epoch."""

    network: RegimeLSTM
    train_losses: list[float]
    validation_losses: list[float]
    best_epoch: int


def fit_network(
    features: np.ndarray,
    target: np.ndarray,
    train_bars: np.ndarray,
    validation_bars: np.ndarray,
    settings: NetworkSettings,
    *,
    epochs: int,
    patience: int,
    on_epoch: Callable[[int, float], None],
    start: dict[str, torch.Tensor] | None = None,
) -> FitResult:
    """Train on the windows that end at ``train_bars``; keep the epoch with the best validation loss.

    Weights, order of samples and dropout come from torch's random numbers, which the caller has seeded.

    Parameters
    ----------
    features, target
        ``(n_bars, n_features)`` and ``(n_bars,)``, scaled; rows outside the windows may be NaN.
    train_bars, validation_bars
        Bars whose windows are samples.
    epochs, patience
        Passes over the training windows at most, and how many without a better validation loss end it earlier.
    on_epoch
        Called with the epoch from 1 and its relative validation loss; what it raises ends the training.
    start
        Weights to begin with, of a network of the same shape.
    """
    inputs = torch.from_numpy(features.astype(np.float32))
    outcome = torch.from_numpy(target.astype(np.float32))
    network = RegimeLSTM(inputs.shape[1], settings.hidden_dim, settings.num_layers, settings.dropout)
    if start is not None:
        network.load_state_dict(start)
    optimiser = torch.optim.Adam(network.parameters(), lr=settings.lr)
    train = torch.from_numpy(train_bars)

    best_state, best_epoch, best_loss = copy.deepcopy(network.state_dict()), 0, float("inf")
    train_losses: list[float] = []
    validation_losses: list[float] = []
    for epoch in range(1, epochs + 1):
        network.train()
        squared_error = torch.zeros(())
        for bars in train[torch.randperm(len(train))].split(settings.batch_size):
            optimiser.zero_grad()
            loss = (network(gather_windows(inputs, bars, settings.window)) - outcome[bars]).square().mean()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(network.parameters(), _LARGEST_GRADIENT_NORM)
            optimiser.step()
            squared_error += loss.detach() * len(bars)
        train_losses.append(float(squared_error / outcome[train].square().sum()))
        validation_losses.append(relative_loss(network, inputs, outcome, validation_bars, settings.window))
        on_epoch(epoch, validation_losses[-1])
        if validation_losses[-1] < best_loss:
            best_state, best_epoch, best_loss = copy.deepcopy(network.state_dict()), epoch, validation_losses[-1]
        elif epoch - best_epoch >= patience:
            break
    network.load_state_dict(best_state)
    return FitResult(network.eval(), train_losses, validation_losses, best_epoch)


def relative_loss(
    network: RegimeLSTM, inputs: torch.Tensor, outcome: torch.Tensor, bars: np.ndarray, window: int
) -> float:
    """Mean squared error at ``bars`` over that of the forecast 0; NaN without bars."""
    squared_error = 0.0
    for chunk, forecast in forecasts(network, inputs, bars, window):
        squared_error += float((forecast - outcome[chunk]).square().sum())
    zero_error = float(outcome[torch.from_numpy(bars)].square().sum())
    return squared_error / zero_error if zero_error > 0 else float("nan")


def forecasts(
    network: RegimeLSTM, inputs: torch.Tensor, bars: np.ndarray, window: int
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """What the network says at ``bars``, in pieces that fit into memory: some of the bars, and its outputs there."""
    network.eval()
    for chunk in torch.from_numpy(bars).split(_WINDOWS_AT_ONCE):
        with torch.inference_mode():
            forecast = network(gather_windows(inputs, chunk, window))
        yield chunk, forecast
