"""Learns the predictive density of a model set from its trained networks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import cast

import numpy as np
import pandas as pd
import torch
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from data.features import compute_features
from models.density import BASE, Correction, Density, DensityLSTM
from training.fit import FitResult
from training.prepare import NetworkData, Prepared

_MOST_BARS = 20_000  # to fit a correction to; more change it little
_PRIOR = Correction(location=0.5, log_scale=0.05, tail=0.1)  # standard deviations around no correction


def fit_density(candles: pd.DataFrame, prepared: Prepared, data: NetworkData, results: Sequence[FitResult]) -> Density:
    """The density of trained networks and a linear model, with a correction per regime.

    The linear model is one more network of the ensemble: location and log scale are linear in the bar's features. A
    correction maximises the likelihood of the bars of training and validation, weighted by the filtered probability
    of its regime, under a normal prior, so that a regime that says nothing new changes nothing.
    """
    bars = np.concatenate([data.samples.train, data.samples.validation])
    lstms = [cast("DensityLSTM", result.network.double()) for result in results]
    linear = _fit_linear(lstms[0], data.inputs[bars].astype(float), data.target[bars])
    density = Density(
        features=data.settings.features,
        mean=data.mean,
        scale=data.scale,
        networks=(*lstms, linear),
        window=data.settings.window,
        stride=data.settings.stride,
        corrections={},
        training={
            **data.settings.model_dump(include={"batch_size", "lr"}),
            "windows": {"train": len(data.samples.train), "validation": len(data.samples.validation)},
            "members": [result.history() for result in results],
        },
    )
    detector = prepared.detector
    probabilities = detector.filter(compute_features(candles, detector.features).to_numpy())
    bars = bars[np.isfinite(probabilities[bars]).all(axis=1)]
    bars = bars[:: 1 + len(bars) // _MOST_BARS]
    outputs = np.moveaxis(density.reader.outputs(data.passes, data.inputs, bars), -1, 0)
    base, outcome = prepared.features[BASE][bars, 0], prepared.log_returns[bars]
    corrections = {
        regime: _correction(density, outputs, base, outcome, probabilities[bars, column])
        for column, regime in enumerate(detector.regimes)
    }
    return replace(density, corrections=corrections)


def _fit_linear(like: DensityLSTM, inputs: np.ndarray, target: np.ndarray) -> DensityLSTM:
    """A network whose head ignores its LSTM, by maximum likelihood on features ``(n_bars, n_columns)``."""
    from scipy.optimize import minimize

    n_columns = inputs.shape[1]
    network = DensityLSTM(n_columns, like.hidden_dim, like.num_layers).double().eval()
    for parameter in network.layers.parameters():
        torch.nn.init.zeros_(parameter)
    learnt = (network.head.weight, network.head.bias, network.tail)
    values, outcome = torch.tensor(inputs), torch.tensor(target)

    def loss(parameters: np.ndarray) -> tuple[float, np.ndarray]:
        vector_to_parameters(torch.tensor(parameters), learnt)
        output = values @ network.head.weight[:, -n_columns:].T + network.head.bias
        total = network.losses(output, outcome).mean()
        gradient = torch.autograd.grad(total, learnt)
        return float(total.detach()), parameters_to_vector(gradient).numpy()

    best = minimize(loss, parameters_to_vector(learnt).detach().numpy(), jac=True, method="L-BFGS-B")
    vector_to_parameters(torch.tensor(best.x), learnt)
    return network.float().double()  # as it is stored


def _correction(
    density: Density, outputs: np.ndarray, base: np.ndarray, outcome: np.ndarray, weights: np.ndarray
) -> Correction:
    from scipy.optimize import minimize

    def loss(values: np.ndarray) -> float:
        likelihood = density.components(outputs, base, values).log_density(outcome)
        return float(0.5 * np.sum((values / _PRIOR) ** 2) - weights @ likelihood)

    return Correction(*minimize(loss, np.zeros(len(_PRIOR)), method="L-BFGS-B").x.tolist())
