"""The files of own code that a model set depends on through its features and its detector."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from data.errors import ModelSetError
from data.features import FEATURES
from data.registry import CodeFile
from models.regimes import DETECTORS


def code_of(features: Iterable[str], detector: str) -> tuple[CodeFile, ...]:
    """The files that define these features and this detector; without modules that the files import."""
    files = [*map(FEATURES.code.get, features), DETECTORS.code.get(detector)]
    return tuple(sorted({file for file in files if file}))


def require_same_code(kept: Iterable[CodeFile], folder: Path) -> None:
    """Raise a `ModelSetError` unless the files of the model set in ``folder`` are loaded, each as it was then."""
    loaded = {*FEATURES.code.values(), *DETECTORS.code.values()}
    for file in kept:
        if file in loaded:
            continue
        if file.name in {other.name for other in loaded}:
            found = "has changed since. Train again, or bring the old file back; then restart running live services"
        else:
            found = "is not loaded. List it as code in regimes.toml"
        raise ModelSetError(
            f"{folder}: was trained with a feature or detector from {file.name} (sha256 {file.sha256[:12]}...), which "
            f"{found}."
        )
