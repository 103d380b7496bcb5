"""Fitting: the training loop, whole model sets, and how well they forecast."""

import importlib
from typing import Any

_HOME = {"train": "training.train", "TrainSettings": "training.settings"}


def __getattr__(name: str) -> Any:
    """Import `train` and `TrainSettings` on first use, so that reading the settings does not import torch."""
    if name not in _HOME:
        raise AttributeError(f"module 'training' has no attribute {name!r}")
    found = getattr(importlib.import_module(_HOME[name]), name)
    globals()[name] = found  # the import has bound the module `train` to this name; the function goes first
    return found
