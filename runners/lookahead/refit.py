"""Refit: scaler, detector and classifier must be learnt from the training part alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from data.candles import time_text
from data.splits import chronological_split
from data.synthetic import with_noise_from
from models.expert import Expert
from models.model_set import ModelSet
from runners.lookahead.outcome import Outcome
from runners.lookahead.target import Subject
from training.prepare import Prepared, prepare

_TOLERANCE = 1e-6


def refit(subject: Subject) -> Outcome:
    """Fit again with noise in place of the validation and test parts: no parameter may move."""
    findings, looked_at = [], []
    for number, settings in enumerate(subject.trainings):
        split = chronological_split(len(subject.candles), settings.train_fraction, settings.validation_fraction)
        noisy = with_noise_from(subject.candles, split.train.stop, settings.seed)
        again = _learnt(prepare(noisy, subject.name, settings))
        known = _saved(subject.model_set) if subject.model_set else _learnt(subject.prepared[number])
        for network, learnt in known.items():
            for name, value in learnt.items():
                looked_at.append(name)
                moved = _moved(value, again[network][name])
                if moved is not None:
                    findings.append(
                        f"{name}: moves by {moved:.2g} (relative) when noise replaces the bars from "
                        f"{time_text(noisy.index[split.train.stop])} on: it has learnt from bars after training."
                    )
    return Outcome("refit", ", ".join(dict.fromkeys(looked_at)), list(dict.fromkeys(findings)))


def _learnt(prepared: Prepared) -> dict[int | None, dict[str, Any]]:
    """By network: its scaler, and the detector that all share."""
    shared = _of_detector(prepared.detector.name, prepared.detector.parameters())
    return {
        regime: {"scaler": [data.mean, data.scale], "target scale": data.target_scale, **shared}
        for regime, data in prepared.networks.items()
    }


def _saved(model_set: ModelSet) -> dict[int | None, dict[str, Any]]:
    """The same of a saved set; an expert that is the all-regimes network tells nothing of its own."""
    shared = _of_detector(model_set.detector.name, model_set.detector.parameters())
    experts: list[tuple[int | None, Expert]] = [(None, model_set.all_regimes), *model_set.experts.items()]
    return {
        regime: {"scaler": [expert.mean, expert.scale], "target scale": expert.target_scale, **shared}
        for regime, expert in experts
        if not expert.training["fallback"]
    }


def _of_detector(name: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
    kind = "classifier" if name == "labels" else f"detector {name}"
    return {f"{kind} {key}".replace("_", " "): value for key, value in parameters.items()}


def _moved(value: Any, again: Any) -> float | None:
    """The largest relative change, None where there is none."""
    try:
        before, after = np.asarray(value, dtype=float), np.asarray(again, dtype=float)
    except (TypeError, ValueError):
        return None if value == again else np.inf
    if before.shape != after.shape:
        return np.inf
    size = float(np.max(np.abs(before - after) / np.maximum(np.abs(before), 1e-12), initial=0.0))
    return size if size > _TOLERANCE else None
