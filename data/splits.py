"""Splits in time: what trains always lies before what validates, and that before what tests."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Split:
    """Train, validation and test parts of a series, as slices of bars in this order and without overlap."""

    train: slice
    validation: slice
    test: slice


def chronological_split(n_bars: int, train_fraction: float = 0.7, validation_fraction: float = 0.1) -> Split:
    """Cut ``n_bars`` bars by fractions; what training and validation leave is the test part.

    The parts touch. A sample at bar t needs the close at t+1, so whoever builds samples drops each part's last bar
    (`data.windows.samples_of_regime` does); windows may reach back into the part before, which holds no target.
    """
    train_end = round(n_bars * train_fraction)
    validation_end = round(n_bars * (train_fraction + validation_fraction))
    return Split(slice(0, train_end), slice(train_end, validation_end), slice(validation_end, n_bars))
