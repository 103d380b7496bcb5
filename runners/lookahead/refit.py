"""Refit: scaler, detector and classifier must be fitted on the training part only."""

from __future__ import annotations

from typing import Any

import numpy as np

from data.candles import time_text
from data.splits import chronological_split
from data.synthetic import with_noise_from
from models.expert import Expert
from models.model_set import ModelSet
from runners.lookahead.outcome import Outcome
from runners.lookahead.under_test import UnderTest
from training.prepare import NetworkData, Prepared, prepare

_DENSITY = -1  # in place of a regime
_TOLERANCE = 1e-6


def refit(under_test: UnderTest) -> Outcome:
    """Fit again with noise instead of the validation and test parts: no parameter may change."""
    findings, scope = [], []
    for number, settings in enumerate(under_test.trainings):
        split = chronological_split(len(under_test.candles), settings.train_fraction, settings.validation_fraction)
        noisy = with_noise_from(under_test.candles, split.train.stop, settings.seed)
        refitted = _parameters(prepare(noisy, under_test.name, settings))
        for network, parameters in _parameters(under_test.model_set or under_test.prepared[number]).items():
            for name, value in parameters.items():
                scope.append(name)
                change = _relative_change(value, refitted[network][name])
                if change is not None:
                    findings.append(
                        f"{name}: changes by {change:.2g} (relative) if noise replaces the bars from "
                        f"{time_text(noisy.index[split.train.stop])} on: it was fitted on bars after the training part."
                    )
    return Outcome("refit", ", ".join(dict.fromkeys(scope)), list(dict.fromkeys(findings)))


def _parameters(fitted: Prepared | ModelSet) -> dict[int | None, dict[str, Any]]:
    """Fitted parameters by network: its scaler, and the detector that all share; without experts that fell back."""
    networks: dict[int | None, NetworkData | Expert]
    if isinstance(fitted, Prepared):
        networks = {**fitted.networks}
    else:
        experts = [(None, fitted.all_regimes), *fitted.experts.items()]
        networks = {regime: expert for regime, expert in experts if not expert.training["fallback"]}
    kind = "classifier" if fitted.detector.name == "labels" else f"detector {fitted.detector.name}"
    shared = {f"{kind} {key}".replace("_", " "): value for key, value in fitted.detector.parameters().items()}
    parameters = {
        regime: {"scaler": [network.mean, network.scale], "target scale": network.target_scale, **shared}
        for regime, network in networks.items()
    }
    if fitted.density is not None:
        parameters[_DENSITY] = {"scaler of the density": [fitted.density.mean, fitted.density.scale]}
    return parameters


def _relative_change(value: Any, refitted: Any) -> float | None:
    """The largest relative change of a parameter, or None if it is equal up to rounding."""
    try:
        before, after = np.asarray(value, dtype=float), np.asarray(refitted, dtype=float)
    except (TypeError, ValueError):
        return None if value == refitted else np.inf
    if before.shape != after.shape:
        return np.inf
    size = float(np.max(np.abs(before - after) / np.maximum(np.abs(before), 1e-12), initial=0.0))
    return size if size > _TOLERANCE else None
