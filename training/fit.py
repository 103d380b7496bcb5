"""One network's training loop."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from models.lstm import RegimeLSTM
from models.passes import Passes, Places
from training.settings import NetworkSettings

_LARGEST_GRADIENT_NORM = 1.0
_SMALLEST_SHARE = 0.02  # of the newest weights in their average


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
    slots: np.ndarray,
    train_bars: np.ndarray,
    validation_bars: np.ndarray,
    settings: NetworkSettings,
    *,
    epochs: int,
    patience: int,
    seed: int,
    on_epoch: Callable[[int, float], None],
    start: dict[str, Tensor] | None = None,
    device: str = "cpu",
) -> FitResult:
    """Train on the forecasts at ``train_bars``; keep the epoch with the best validation loss.

    What is validated and kept is a moving average of the weights (Polyak and Juditsky 1992), which forgets the first
    steps soon and later spans fifty: it is steadier than the weights of any one step.

    Each epoch cuts time into blocks at dates of its own (see `Passes`), so that a bar is forecast from every length of
    history that it may have later, and takes the passes in an order of its own.

    Parameters
    ----------
    features, target
        ``(n_bars, n_features)`` and ``(n_bars,)``, scaled; NaN where not known.
    slots
        ``(n_bars,)`` from `time_slots`.
    train_bars, validation_bars
        Ascending; bars whose passes are complete.
    epochs, patience
        Passes over the training bars at most, and how many without a better validation loss end it earlier.
    seed
        Of the weights, the blocks, the order and the dropout: the same gives the same network bit for bit.
    on_epoch
        Called with the epoch from 1 and its relative validation loss; what it raises ends the training.
    start
        Weights to begin with, of a network of the same shape.
    """
    passes = Passes.over(slots, settings.window, settings.stride)
    draws = torch.Generator().manual_seed(seed)
    network = RegimeLSTM(features.shape[1], settings.hidden_dim, settings.num_layers, settings.dropout, draws)
    if start is not None:
        network.load_state_dict(start)
    network.to(device)
    readable = passes.readable(features.astype(np.float32)).to(device)
    outcome = torch.from_numpy(target.astype(np.float32)).to(device)
    optimiser = torch.optim.Adam(network.parameters(), lr=settings.lr, fused=True)
    zero_error = float(outcome[torch.from_numpy(train_bars)].square().sum())

    averaged, n_steps = copy.deepcopy(network), 0
    best_state, best_epoch, best_loss = copy.deepcopy(averaged.state_dict()), 0, float("inf")
    train_losses: list[float] = []
    validation_losses: list[float] = []
    for epoch in range(1, epochs + 1):
        network.train()
        squared_error = torch.zeros((), device=device)
        shift = int(torch.randint(settings.stride, (), generator=draws))
        shifted = Passes.over(slots + shift, settings.window, settings.stride)
        for first, row, step, bars in _batches(shifted.places(train_bars), train_bars, settings.batch_size, draws):
            optimiser.zero_grad()
            output, _ = network(shifted.read(readable, first), draws=draws)
            loss = (output[row, step] - outcome[bars]).square().mean()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(network.parameters(), _LARGEST_GRADIENT_NORM)
            optimiser.step()
            n_steps += 1
            _average(averaged, network, share=max(_SMALLEST_SHARE, 9 / (9 + n_steps)))
            squared_error += loss.detach() * len(bars)
        train_losses.append(float(squared_error) / zero_error)
        validation_losses.append(relative_loss(averaged, readable, outcome, validation_bars, passes))
        on_epoch(epoch, validation_losses[-1])
        if validation_losses[-1] < best_loss:
            best_state, best_epoch, best_loss = copy.deepcopy(averaged.state_dict()), epoch, validation_losses[-1]
        elif epoch - best_epoch >= patience:
            break
    averaged.load_state_dict(best_state)
    return FitResult(averaged.cpu().eval(), train_losses, validation_losses, best_epoch)


def _average(averaged: RegimeLSTM, network: RegimeLSTM, share: float) -> None:
    with torch.no_grad():
        for average, newest in zip(averaged.parameters(), network.parameters(), strict=True):
            average.lerp_(newest, share)


def _batches(
    places: Places, bars: np.ndarray, batch_size: int, draws: torch.Generator
) -> Iterator[tuple[Tensor, Tensor, Tensor, Tensor]]:
    """The passes in random order, so many at a time that they forecast about ``batch_size`` bars.

    Gives the passes' first bars, and of each bar to forecast its pass among them, its step there, and its number.
    """
    n_passes = len(places.first)
    order = torch.randperm(n_passes, generator=draws)
    row, by_pass = torch.sort(torch.argsort(order)[torch.from_numpy(places.row)], stable=True)
    step, bar = torch.from_numpy(places.step)[by_pass], torch.from_numpy(bars)[by_pass]
    first = torch.from_numpy(places.first)[order]
    forecasts_so_far = torch.cumsum(torch.bincount(row, minlength=n_passes), 0)
    begin_pass = begin_bar = 0
    while begin_pass < n_passes:
        end_pass = min(1 + int(torch.searchsorted(forecasts_so_far, begin_bar + batch_size)), n_passes)
        end_bar = int(forecasts_so_far[end_pass - 1])
        here = slice(begin_bar, end_bar)
        yield first[begin_pass:end_pass], row[here] - begin_pass, step[here], bar[here]
        begin_pass, begin_bar = end_pass, end_bar


def relative_loss(network: RegimeLSTM, readable: Tensor, outcome: Tensor, bars: np.ndarray, passes: Passes) -> float:
    """Mean squared error at ``bars`` over that of the forecast 0; NaN without bars."""
    squared_error = 0.0
    for some, output in passes.outputs(network, readable, bars):
        squared_error += float((output - outcome[torch.from_numpy(some)]).square().sum())
    zero_error = float(outcome[torch.from_numpy(bars)].square().sum())
    return squared_error / zero_error if zero_error > 0 else float("nan")
