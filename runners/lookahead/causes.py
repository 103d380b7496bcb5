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
_OTHERS = 4  # bars whose cause is looked for, beside the one that differs most


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
        """Compute some bars again, each in new processes: whole, without later bars, and from their lookback."""
        differing = np.flatnonzero(differing_rows(self.values[self.bars], self.pieces, spread))
        others = np.random.default_rng(0).choice(differing, min(_OTHERS, len(differing)), replace=False)
        bars = [int(bar) for bar in self.bars[[worst.row, *others]]]
        whole = run_fresh(code, [partial(tasks.rows, self.series, self.candles, bars)])[0].result
        unstable = worst_difference(self.values[bars], whole, spread)
        if unstable:
            return self._unstable(unstable, bars[unstable.row])
        share = f"; {worst.rows:,} of the {len(self.bars):,} recomputed bars differ"
        ends = [partial(tasks.rows, self.series, self.candles[: bar + 1], [bar]) for bar in bars]
        without_later = np.concatenate([ran.result for ran in run_fresh(code, ends)])
        if ahead := worst_difference(whole, without_later, spread):
            return (
                f"{self._named(ahead)} looks ahead: with the bars after {self._time(bars[ahead.row])} cut off, it is "
                f"{_instead(ahead)} there{share}."
            )
        lookback = self.series.lookback
        pieces = [partial(tasks.rows, self.series, self.candles[bar - lookback : bar + 1], [lookback]) for bar in bars]
        alone = np.concatenate([ran.result for ran in run_fresh(code, pieces)])
        if earlier := worst_difference(without_later, alone, spread):
            bar = bars[earlier.row]
            return (
                f"{self._named(earlier)} depends on more than its lookback of {lookback:,} bars: with the bars before "
                f"{self._time(bar - lookback)} cut off, it is {_instead(earlier)} at {self._time(bar)}{share}."
            )
        return (
            f"{self._named(worst)} differs from call to call: after calls with other candles, it is {_instead(worst)} "
            f"at {self._time(bars[0])}{share}."
        )

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
