"""How a network reads a series: in passes of contiguous bars, each of which forecasts a block of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from data.windows import complete_windows
from models.lstm import RegimeLSTM

# Bars that one call of the network reads: few enough for their state to stay in the processor's cache.
_BARS_AT_ONCE = 2048


def time_slots(index: pd.DatetimeIndex, interval: pd.Timedelta) -> np.ndarray:
    """The number of each bar's place in time, counted in intervals from 1970 on: ``(n_bars,)``."""
    return index.as_unit("us").asi8 // (interval // pd.Timedelta(microseconds=1))


def pass_length(window: int, stride: int) -> int:
    """Bars that a pass reads to forecast ``stride`` of them."""
    return window - 1 + stride


class Places(NamedTuple):
    """Where bars are read: ``first`` bar of each pass, and of each bar its pass (``row``) and its ``step`` in it."""

    first: np.ndarray
    row: np.ndarray
    step: np.ndarray


@dataclass(frozen=True)
class Passes:
    """A pass reads ``window - 1`` bars without a forecast and then up to ``stride`` bars with one after each.

    Time is cut into blocks of ``stride`` places at fixed dates, whatever bars there are, and a pass forecasts the
    bars of one block. So the forecast at a bar comes from at least ``window`` and at most ``window + stride - 1``
    bars, which ones depends on its date alone, and nothing earlier counts: a series that begins later, or a live
    stream, gives the same. With stride 1 every bar has a pass of its own: a sliding window.

    Attributes
    ----------
    block_start
        ``(n_bars,)`` the first bar of each bar's block.
    """

    window: int
    stride: int
    block_start: np.ndarray

    @classmethod
    def over(cls, slots: np.ndarray, window: int, stride: int) -> Passes:
        """Of bars whose places in time are `time_slots`; shift these to cut the blocks at other dates."""
        bar = np.arange(len(slots))
        begins = np.append(True, np.diff(slots // stride) != 0)[: len(slots)]
        block_start = np.maximum.accumulate(np.where(begins, bar, 0))
        # two bars in one place, as when clocks go back, would make a block too long
        return cls(window, stride, np.maximum(block_start, bar - stride + 1))

    @property
    def length(self) -> int:
        """Bars of a pass, which are also the bars that a forecast depends on at most."""
        return pass_length(self.window, self.stride)

    def complete(self, values: np.ndarray) -> np.ndarray:
        """At which bars every value that a forecast can depend on is finite: boolean ``(n_bars,)``."""
        return complete_windows(values, self.length)

    def places(self, bars: np.ndarray) -> Places:
        """Where ``bars`` are read; all must be `complete`."""
        blocks, row = np.unique(self.block_start[bars], return_inverse=True)
        first = blocks - self.window + 1
        return Places(first, row, bars - first[row])

    def readable(self, scaled: np.ndarray) -> Tensor:
        """What passes read of ``(n_bars, F)``: 0 for what is not known, and after the end, where no forecast looks."""
        return torch.from_numpy(np.pad(np.nan_to_num(scaled), ((0, self.stride - 1), (0, 0))))

    def read(self, readable: Tensor, first: Tensor) -> Tensor:
        """The bars of the passes that begin at ``first`` ``(B,)``: ``(B, length, F)``."""
        return readable.unfold(0, self.length, 1)[first].transpose(1, 2)

    def outputs(self, network: RegimeLSTM, readable: Tensor, bars: np.ndarray) -> Iterator[tuple[np.ndarray, Tensor]]:
        """What the network says at ``bars``, ascending, in pieces that fit into memory: which of them, and outputs.

        A pass is read no further than asked, those that end early together.
        """
        first, row, step = self.places(bars)
        n_steps = np.zeros(len(first), dtype=int)
        np.maximum.at(n_steps, row, step + 1)
        order = np.argsort(n_steps, kind="stable")
        place = np.argsort(order)[row]  # of each bar's pass in that order
        by_place = np.argsort(place, kind="stable")
        first, n_steps = first[order], n_steps[order]
        place, step, bars = place[by_place], step[by_place], bars[by_place]
        at_once = max(1, _BARS_AT_ONCE // self.length)
        network.eval()
        for begin in range(0, len(first), at_once):
            end = min(begin + at_once, len(first))
            here = slice(*np.searchsorted(place, [begin, end]))
            with torch.inference_mode():
                batch = self.read(readable, torch.from_numpy(first[begin:end]))[:, : n_steps[end - 1]]
                output, _ = network(batch)
            yield bars[here], output[torch.from_numpy(place[here] - begin), torch.from_numpy(step[here])]
