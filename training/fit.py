"""Trains one network."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from models.network import Passes, Places, RegimeLSTM
from training.prepare import NetworkData
from training.settings import SharedSettings

_LARGEST_GRADIENT_NORM = 1.0
_SMALLEST_SHARE = 0.02  # of the newest weights in their average


@dataclass(frozen=True)
class FitResult:
    """A network at its best epoch, and its losses per epoch.

    They are those of `RegimeLSTM.relative_loss`. ``best_epoch`` is 0 if no epoch has finite losses; the network then
    has its initial weights.
    """

    network: RegimeLSTM
    train_losses: list[float]
    validation_losses: list[float]
    best_epoch: int

    def history(self) -> dict[str, Any]:
        """The epochs, for the model set's files."""
        return {name: getattr(self, name) for name in ("best_epoch", "train_losses", "validation_losses")}


def fit_network(
    data: NetworkData,
    settings: SharedSettings,
    *,
    seed: int,
    on_epoch: Callable[[int, float], None],
    start: dict[str, Tensor] | None = None,
    device: str = "cpu",
) -> FitResult:
    """Train a network on the training bars and return it at the epoch with the best validation loss.

    Validation uses a moving average of the weights (Polyak and Juditsky 1992), over fifty steps except at the start: it
    is less noisy than the weights of one step. An epoch whose loss is not finite ends the training.

    Parameters
    ----------
    seed
        Of weights, blocks, order and dropout; the same seed gives the same network bit for bit.
    on_epoch
        Called with the epoch, from 1, and its relative validation loss; an exception in it ends the training.
    start
        Initial weights, of a network of the same shape; None for random ones.
    """
    learner = _Learner(data, seed, start, device)
    averaged = learner.averaged
    best_state, best_epoch, best_loss = copy.deepcopy(averaged.state_dict()), 0, float("inf")
    train_losses: list[float] = []
    validation_losses: list[float] = []
    for epoch in range(1, settings.epochs + 1):
        train_loss, loss = learner.run_epoch(), learner.validation_loss()
        on_epoch(epoch, loss)
        if not (math.isfinite(train_loss) and math.isfinite(loss)):
            break
        train_losses.append(train_loss)
        validation_losses.append(loss)
        if loss < best_loss:
            best_state, best_epoch, best_loss = copy.deepcopy(averaged.state_dict()), epoch, loss
        elif epoch - best_epoch >= settings.patience:
            break
    averaged.load_state_dict(best_state)
    return FitResult(averaged.cpu().eval(), train_losses, validation_losses, best_epoch)


class Adam:
    """Adam (Kingma and Ba 2015) by torch's fused step, bit for bit `torch.optim.Adam(..., fused=True)`.

    The first optimiser of `torch.optim` in a process imports ``torch._dynamo``, which takes longer than the training of
    many networks.
    """

    def __init__(self, parameters: Iterable[Tensor], lr: float) -> None:
        self._parameters, self._lr = list(parameters), lr
        self._means, self._squares = ([torch.zeros_like(one) for one in self._parameters] for _ in range(2))
        self._steps = [torch.zeros((), dtype=torch.float32, device=one.device) for one in self._parameters]

    @torch.no_grad()
    def step(self) -> None:
        gradients = [one.grad for one in self._parameters if one.grad is not None]
        torch._foreach_add_(self._steps, 1)
        torch._fused_adam_(
            self._parameters, gradients, self._means, self._squares, [], self._steps,
            lr=self._lr, beta1=0.9, beta2=0.999, weight_decay=0.0, eps=1e-8, amsgrad=False, maximize=False,
        )  # fmt: skip


class _Learner:
    """A network during training; ``averaged`` is the network with the moving average of its weights."""

    def __init__(self, data: NetworkData, seed: int, start: dict[str, Tensor] | None, device: str) -> None:
        settings = data.settings
        self._data = data
        self._draws = torch.Generator().manual_seed(seed)
        self._network = data.network(
            data.inputs.shape[1], settings.hidden_dim, settings.num_layers, settings.dropout, self._draws
        )
        self._network.to(device)
        self._target = torch.from_numpy(data.target.astype(np.float32)).to(device)
        self._train_zero_loss, self._validation_zero_loss = map(
            self._zero_loss, (data.samples.train, data.samples.validation)
        )
        if start is not None:
            self._network.load_state_dict(start)
        self._parameters: list[Tensor] = list(self._network.parameters())
        self._optimiser = Adam(self._parameters, settings.lr)
        self._passes = data.passes
        self._padded = torch.from_numpy(self._passes.pad(data.inputs)).to(device)
        self._n_steps = 0
        self.averaged = copy.deepcopy(self._network)
        self._averages: list[Tensor] = list(self.averaged.parameters())

    def run_epoch(self) -> float:
        """Train on all training bars once; returns the loss.

        Each epoch takes the passes in a random order and moves the borders of their blocks (see `Passes`), so that a
        bar is forecast from every length of context that it may have later.
        """
        settings, train_bars = self._data.settings, self._data.samples.train
        shift = int(torch.randint(settings.stride, (), generator=self._draws))
        passes = Passes.over(self._data.slots + shift, settings.window, settings.stride)
        total = torch.zeros((), device=self._target.device)
        self._network.train()
        for first, row, step, bars in _batches(passes.places(train_bars), train_bars, settings.batch_size, self._draws):
            output, _ = self._network(passes.read(self._padded, first), draws=self._draws)
            loss = self._network.losses(output[row, step], self._target[bars]).mean()
            self._step(loss)
            total += loss.detach() * len(bars)
        return self._network.relative_loss(float(total), self._train_zero_loss, len(train_bars))

    def _zero_loss(self, bars: np.ndarray) -> float:
        """Sum of the losses of the output 0 of a network that has learnt nothing."""
        target = self._target[torch.from_numpy(bars)]
        with torch.no_grad():
            return float(self._network.losses(torch.zeros_like(target), target).sum())

    def _step(self, loss: Tensor) -> None:
        for parameter in self._parameters:
            parameter.grad = None
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self._parameters, _LARGEST_GRADIENT_NORM)
        self._optimiser.step()
        self._n_steps += 1
        share = max(_SMALLEST_SHARE, 9 / (9 + self._n_steps))
        with torch.no_grad():
            torch._foreach_lerp_(self._averages, self._parameters, share)

    def validation_loss(self) -> float:
        """Relative loss of the averaged weights."""
        bars, total = self._data.samples.validation, 0.0
        for some, output in self._passes.outputs(self.averaged, self._padded, bars):
            with torch.inference_mode():
                total += float(self.averaged.losses(output, self._target[torch.from_numpy(some)]).sum())
        return self.averaged.relative_loss(total, self._validation_zero_loss, len(bars))


def _batches(
    places: Places, bars: np.ndarray, batch_size: int, draws: torch.Generator
) -> Iterator[tuple[Tensor, Tensor, Tensor, Tensor]]:
    """Yield the passes in random order, in batches that forecast about ``batch_size`` bars.

    A batch has the first bar of each pass, and for each bar to forecast: its pass in the batch, its step in the pass,
    and its number.
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
