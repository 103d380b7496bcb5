"""Describes a training: its candles, settings and software."""

from __future__ import annotations

import platform
import subprocess
from importlib.metadata import version
from pathlib import Path

import pandas as pd

from data.candles import fingerprint
from data.splits import Split
from models.own_code import code_of
from models.provenance import Part, Provenance, Study
from models.regimes import RegimeDetector
from training.settings import TrainSettings

PARTS = ("train", "validation", "test")
_PACKAGES = ["numpy", "pandas", "torch", "scikit-learn", "hmmlearn", "TA-Lib", "backtrader"]


def describe_training(
    candles: pd.DataFrame, split: Split, settings: TrainSettings, detector: RegimeDetector, study: Study | None
) -> Provenance:
    """The provenance of a model set trained now; without empty parts."""
    index = candles.index
    features = {*detector.features, *(name for network in settings.every_network for name in network.features)}
    parts = {name: bars for name in PARTS if (bars := getattr(split, name)).stop > bars.start}
    return Provenance(
        fingerprint=fingerprint(candles),
        n_bars=len(candles),
        first_bar=index[0],
        last_bar=index[-1],
        split={name: Part(index[bars.start], index[bars.stop - 1]) for name, bars in parts.items()},
        settings=settings.model_dump(mode="json"),
        seed=settings.seed,
        versions=package_versions(),
        commit=git_commit(),
        code=code_of(features, detector.name),
        study=study,
    )


def package_versions() -> dict[str, str]:
    """Versions of Python and of the packages that affect a training's result."""
    return {"python": platform.python_version(), **{name: version(name) for name in _PACKAGES}}


def git_commit() -> str | None:
    """The git commit of the code, or None outside a checkout."""
    try:
        folder = Path(__file__).parent
        head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=folder, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return head.stdout.strip()
