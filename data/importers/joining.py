"""Joins the candles of several files to one series: sorts, merges equal rows, refuses different ones."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pandas as pd

from data.candles import time_text
from data.csv_table import Rows
from data.errors import DataError
from data.intervals import interval_of, interval_text

_EXAMPLES = 3


@dataclass(frozen=True)
class Part:
    """The candles of one file ``(n_bars, n_columns)`` in their order there, with their line numbers."""

    source: str
    candles: pd.DataFrame
    line: np.ndarray


@dataclass(frozen=True)
class Joined:
    """One series of candles, strictly ascending, and where each comes from, for error messages."""

    candles: pd.DataFrame
    source: str
    places: np.ndarray
    notes: tuple[str, ...]


def join(parts: Sequence[Part]) -> Joined:
    """Join the candles of one series; raise a `DataError` if two rows of the same time differ."""
    notes = [note for part in parts if (note := _order_note(part))]
    parts = sorted(parts, key=lambda part: part.candles.index.min())
    notes += _seam_notes(parts)
    common = [name for name in parts[0].candles if all(name in part.candles for part in parts)]
    lost = sorted({str(name) for part in parts for name in part.candles} - set(map(str, common)))
    notes += [f"left out the columns {', '.join(lost)}, which some files lack"] if lost else []
    candles = pd.concat([part.candles[common] for part in parts]) if len(parts) > 1 else parts[0].candles
    source = parts[0].source if len(parts) == 1 else f"{parts[0].source} and {len(parts) - 1} more"
    places = parts[0].line
    if len(parts) > 1:
        places = np.concatenate([[f"{line} of {part.source}" for line in part.line] for part in parts])
    index = pd.DatetimeIndex(candles.index)
    if not index.is_monotonic_increasing:
        order = np.argsort(index.asi8, kind="stable")
        candles, places = candles.iloc[order], places[order]
        index = pd.DatetimeIndex(candles.index)
    again = np.append(False, np.diff(index.asi8) == 0)
    if again.any():
        values = candles.to_numpy()
        same = (values[1:] == values[:-1]) | (np.isnan(values[1:]) & np.isnan(values[:-1]))
        rows = Rows(source, "line", places, {"timestamp": index.to_series()})
        rows.refuse(
            again & ~np.append(True, same.all(axis=1)),
            "{timestamp} appears twice, with different values. Keep one of the rows.",
        )
        notes.append(
            f"rows that appear twice, equal in all columns, merged: {again.sum():,} ({line_list(places[again])})"
        )
        candles, places = candles[~again], places[~again]
    return Joined(candles, source, places, tuple(notes))


def _order_note(part: Part) -> str | None:
    step = np.diff(pd.DatetimeIndex(part.candles.index).asi8)
    backwards = step < 0
    if not backwards.any():
        return None
    if (step <= 0).all():
        return f"{part.source}: newest first; turned round"
    lines = line_list(part.line[1:][backwards])
    return f"{part.source}: sorted by time; {backwards.sum():,} rows were earlier than the row before ({lines})"


def _seam_notes(parts: Sequence[Part]) -> Iterator[str]:
    """What lies between one file and the next: nothing, an overlap, or a gap."""
    for one, other in pairwise(parts):
        last, first = one.candles.index.max(), other.candles.index.min()
        if len(one.candles) < 2:
            continue
        interval = interval_of(pd.DatetimeIndex(one.candles.index).sort_values().unique())
        missing = round((first - last) / interval) - 1
        if missing > 0:
            yield (
                f"between {one.source} and {other.source}: no candles from {time_text(last)} to {time_text(first)} "
                f"({missing:,} of {interval_text(interval)})"
            )


def line_list(places: np.ndarray) -> str:
    """The first of these lines, for a note."""
    more = ", ..." if len(places) > _EXAMPLES else ""
    return f"line{'s' if len(places) > 1 else ''} {', '.join(map(str, places[:_EXAMPLES]))}{more}"


def drop(joined: Joined, dropped: np.ndarray, why: str) -> Joined:
    """The candles without those of the mask ``dropped`` ``(n_bars,)``, and a note on them."""
    if not dropped.any():
        return joined
    if dropped.all():
        raise DataError(f"{joined.source}: all rows would be dropped ({why}).")
    note = f"rows {why} dropped: {dropped.sum():,} ({line_list(joined.places[dropped])})"
    return Joined(joined.candles[~dropped], joined.source, joined.places[~dropped], (*joined.notes, note))
