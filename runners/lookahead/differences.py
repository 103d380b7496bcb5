"""Differences between two computations of the same values, in standard deviations."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

_TOLERANCE = 1e-6  # rounding is far below, a leak far above


class Worst(NamedTuple):
    """The largest difference: row and column, size in standard deviations, both values, and how many rows differ."""

    row: int
    column: int
    size: float
    value: float
    other: float
    rows: int


def spreads(values: np.ndarray) -> np.ndarray:
    """Standard deviation of each column of ``(n_bars, n_columns)``; 1 where it is 0 or nothing is known."""
    known = np.isfinite(values)
    count = np.maximum(known.sum(axis=0), 1)
    mean = np.where(known, values, 0.0).sum(axis=0) / count
    deviation = np.sqrt((np.where(known, values - mean, 0.0) ** 2).sum(axis=0) / count)
    return np.where(deviation > 0, deviation, 1.0)


def worst_difference(values: np.ndarray, others: np.ndarray, spread: np.ndarray) -> Worst | None:
    """The largest difference of two arrays ``(n_rows, n_columns)``, or None if they are equal up to rounding.

    A value that only one of them has differs by infinity.
    """
    size = _sizes(values, others, spread)
    if not size.size or size.max() <= _TOLERANCE:
        return None
    row, column = np.unravel_index(int(size.argmax()), size.shape)
    return Worst(
        int(row),
        int(column),
        float(size[row, column]),
        float(values[row, column]),
        float(others[row, column]),
        int((size > _TOLERANCE).any(axis=1).sum()),
    )


def differing_rows(values: np.ndarray, others: np.ndarray, spread: np.ndarray) -> np.ndarray:
    """Whether each row of two arrays ``(n_rows, n_columns)`` differs by more than rounding."""
    return np.asarray((_sizes(values, others, spread) > _TOLERANCE).any(axis=1))


def _sizes(values: np.ndarray, others: np.ndarray, spread: np.ndarray) -> np.ndarray:
    with np.errstate(invalid="ignore"):
        size = np.abs(values - others) / spread
    size = np.where((values == others) | (np.isnan(values) & np.isnan(others)), 0.0, size)
    return np.where(np.isnan(size), np.inf, size)


def distinct(one: float, other: float) -> tuple[str, str]:
    """Two numbers with six digits, or as many more as it takes to tell them apart."""
    texts = f"{one:.6g}", f"{other:.6g}"
    for digits in range(7, 18):
        if texts[0] != texts[1]:
            break
        texts = f"{one:.{digits}g}", f"{other:.{digits}g}"
    return texts
