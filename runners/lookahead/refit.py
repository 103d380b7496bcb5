"""Refit: scaler, detector and classifier must be fitted on the training part only."""

from __future__ import annotations

from typing import Any

import numpy as np

from data.candles import time_text
from data.splits import chronological_split
from data.synthetic import with_noise_from
from runners.lookahead.opened import opened_files
from runners.lookahead.outcome import Outcome
from runners.lookahead.tasks import fitted_parameters
from runners.lookahead.under_test import UnderTest

_TOLERANCE = 1e-6


def refit(under_test: UnderTest) -> Outcome:
    """Fit again with noise instead of the validation and test parts: no parameter may change."""
    findings, scope, ran = [], [], []
    for number, settings in enumerate(under_test.trainings):
        split = chronological_split(len(under_test.candles), settings.train_fraction, settings.validation_fraction)
        noisy = with_noise_from(under_test.candles, split.train.stop, settings.seed)
        fits = [under_test.fit_on(noisy)[number]]
        if under_test.model_set is None:
            fits.append(under_test.fitted[number])
        ran += fits
        refitted = fits[0].result.parameters
        fitted = fitted_parameters(under_test.model_set) if under_test.model_set else fits[1].result.parameters
        for network, parameters in fitted.items():
            for name, value in parameters.items():
                scope.append(name)
                change = _relative_change(value, refitted[network][name])
                if change is not None:
                    findings.append(
                        f"{name}: changes by {change:.2g} (relative) if noise replaces the bars from "
                        f"{time_text(noisy.index[split.train.stop])} on: it was fitted on bars after the training part."
                    )
    seen, unchecked = opened_files(under_test, ran)
    return Outcome("refit", ", ".join(dict.fromkeys(scope)), [*dict.fromkeys(findings), *seen], unchecked)


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
