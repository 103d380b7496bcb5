"""Names why values recomputed from their lookback differ from those over the whole series."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from data.candles import time_text
from runners.lookahead import tasks
from runners.lookahead.differences import Worst, differing_rows, distinct, spreads, worst_difference
from runners.lookahead.fresh import run_fresh
from runners.lookahead.series import Series
from runners.lookahead.tasks import Whole

_BLANK = 0.5  # share of the bars
_FEWEST_CHANGES = 4  # a date after which something holds changes a series once
_OTHERS = 4  # bars at which the cause is looked for, from the first to the last, beside the one that differs most


@dataclass(frozen=True)
class Recomputed:
    """A series over some candles: whole, and at some bars from their lookback alone.

    Attributes
    ----------
    bars, pieces
        ``(n_recomputed,)`` numbers of the bars, and ``(n_recomputed, n_columns)``.
    """

    series: Series
    candles: pd.DataFrame
    bars: np.ndarray
    pieces: np.ndarray
    whole: Whole

    @property
    def values(self) -> np.ndarray:
        """``(n_bars, n_columns)`` over the whole series."""
        return self.whole.values.to_numpy(dtype=float)

    def finding(self, code: Sequence[Path]) -> str | None:
        """What is wrong with the series, named by its cause; None if nothing is."""
        values = self.values
        if self.whole.changed is not None:
            return f"{self.series.name} changes its input: it writes to the column {self.whole.changed}."
        spread = spreads(values)
        unstable = worst_difference(values, self.whole.again, spread)
        if unstable:
            return self._unstable(unstable, unstable.row)
        worst = worst_difference(values[self.bars], self.pieces, spread)
        return self._cause(worst, spread, code) if worst else None

    def _cause(self, worst: Worst, spread: np.ndarray, code: Sequence[Path]) -> str:
        """Compute the series again in new processes: whole, without later bars, and some bars from their lookback."""
        lookback, n_bars = self.series.lookback, len(self.candles)
        (whole,) = self._again(code, [(0, n_bars, range(lookback, n_bars))])
        unstable = worst_difference(self.values[lookback:], whole, spread)
        if unstable:
            return self._unstable(unstable, lookback + unstable.row)
        share = f"; {worst.rows:,} of the {len(self.bars):,} recomputed bars differ"
        differing = np.sort(self.bars[differing_rows(self.values[self.bars], self.pieces, spread)])
        spaced = differing[np.linspace(0, len(differing) - 1, _OTHERS, dtype=int)]
        bars = [int(bar) for bar in (self.bars[worst.row], *spaced)]
        parts = self._again(code, [(0, bar + 1, range(lookback, bar + 1)) for bar in bars])
        for bar, part in zip(bars, parts, strict=True):
            if ahead := worst_difference(whole[: len(part)], part, spread):
                return (
                    f"{self._named(ahead)} looks ahead: with the bars after {self._time(bar)} cut off, it is "
                    f"{_instead(ahead)} at {self._time(lookback + ahead.row)}{share}."
                )
        alone = self._again(code, [(bar - lookback, bar + 1, [lookback]) for bar in bars])
        for bar, part, piece in zip(bars, parts, alone, strict=True):
            if earlier := worst_difference(part[-1:], piece, spread):
                return (
                    f"{self._named(earlier)} depends on more than its lookback of {lookback:,} bars: with the bars "
                    f"before {self._time(bar - lookback)} cut off, it is {_instead(earlier)} at {self._time(bar)}"
                    f"{share}."
                )
        return (
            f"{self._named(worst)} differs from call to call: after calls with other candles, it is {_instead(worst)} "
            f"at {self._time(bars[0])}{share}."
        )

    def _again(self, code: Sequence[Path], cuts: Sequence[tuple[int, int, Sequence[int]]]) -> list[np.ndarray]:
        """The values at some rows of cut candles, each cut (first bar, end, rows) in a process of its own."""
        parts = [partial(tasks.rows, self.series, self.candles[first:end], rows) for first, end, rows in cuts]
        return [ran.result for ran in run_fresh(code, parts)]

    def _unstable(self, worst: Worst, bar: int) -> str:
        return (
            f"{self._named(worst)} differs from call to call: with the same candles, it is {_instead(worst)} at "
            f"{self._time(bar)} the second time. Does it draw random numbers without a seed, or keep a state?"
        )

    def _named(self, worst: Worst) -> str:
        """The series, and its column if it has several."""
        columns = list(self.whole.values)
        return self.series.name if len(columns) == 1 else f"{self.series.name} ({columns[worst.column]})"

    def _time(self, bar: int) -> str:
        return time_text(self.candles.index[bar])

    def goes_blank_in(self, other: Recomputed) -> bool:
        """Whether most of its values are missing, or no longer vary, on the ``other`` candles."""
        lookback = self.series.lookback
        mine, others = self.values[lookback:], other.values[lookback:]
        known, left = np.isfinite(mine).all(axis=1), np.isfinite(others).all(axis=1)
        if (known & ~left).sum() > _BLANK * known.sum():
            return True
        return bool(((_changes(mine) >= _FEWEST_CHANGES) & (_changes(others) == 0)).any())


def _changes(values: np.ndarray) -> np.ndarray:
    """How often each column changes from one known value to another."""
    return (np.abs(np.diff(values, axis=0)) > 0).sum(axis=0)


def _instead(worst: Worst) -> str:
    value, other = distinct(worst.value, worst.other)
    return f"{other} instead of {value} ({worst.size:.2g} standard deviations)"
