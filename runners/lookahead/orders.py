"""Orders: a strategy's orders must not depend on later bars, and must fill after the bar that decided them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
import pandas as pd

from data.candles import time_text
from runners.lookahead import order_runs
from runners.lookahead.fresh import run_fresh
from runners.lookahead.opened import opened_files
from runners.lookahead.order_runs import Order, ReadsAheadError, Trader, WholeRun, first_difference
from runners.lookahead.outcome import Outcome
from runners.lookahead.sampling import gaps
from runners.lookahead.under_test import UnderTest

_FEWEST_BARS = 30  # of a cut series


class Cuts(NamedTuple):
    """How many cut series to trade: as many as fit into ``seconds``, but at least ``least`` and at most ``most``."""

    least: int
    seconds: float
    most: int = 500

    def number(self, seconds_of_one: float) -> int:
        return int(min(self.most, max(self.least, self.seconds / seconds_of_one)))


def orders(under_test: UnderTest, cuts: Cuts) -> Outcome:
    """Compare the orders of each strategy on all candles with those on candles without later or earlier bars."""
    findings, scopes, ran = [], [], []
    for one in under_test.traders:
        trader = one if under_test.code else one.forecasting_once(under_test.candles)
        try:
            runs = run_fresh(under_test.code, [partial(order_runs.whole_run, trader, under_test.candles)])
        except ReadsAheadError as error:
            findings.append(f"orders of {trader.name} look ahead: {error}.")
            continue
        ran += runs
        found, number = _checked(under_test, trader, runs[0].result, cuts)
        findings += found
        scopes.append(f"{len(runs[0].result.orders)} orders of {trader.name} bar by bar, and on {number} cut series")
    seen, unchecked = opened_files(under_test, ran)
    return Outcome("orders", "; ".join(scopes) or "none", [*findings, *seen], unchecked)


def _checked(under_test: UnderTest, trader: Trader, run: WholeRun, cuts: Cuts) -> tuple[list[str], int]:
    """What is wrong with a strategy, and the number of cut series."""
    name, candles, whole = f"orders of {trader.name}", under_test.candles, run.orders
    unstable = first_difference(whole, run.again)
    if unstable:
        return [f"{name} differ from run to run on the same candles: {unstable.text}."], 0
    if same_bar := _filled_at_decision(name, whole):
        return same_bar, 0
    streamed = partial(order_runs.streamed_run, trader, candles)
    (one_by_one,) = run_fresh(under_test.code, [streamed])
    suspects = []
    if isinstance(one_by_one.result, list) and (difference := first_difference(whole, one_by_one.result)):
        suspects = [max(_FEWEST_BARS, int(candles.index.searchsorted(difference.decided)))]
    bars = _bars(candles, whole, suspects, trader.lookback, cuts.number(run.seconds / 2))
    check = [partial(order_runs.first_changed, trader, candles, bars, whole)]
    if trader.models is not None:
        begin = max(len(candles) // 2, trader.lookback)
        later = np.linspace(begin, len(candles) * 0.9, max(1, cuts.least // 3), dtype=int)
        check.append(partial(order_runs.first_memory, trader, candles, later.tolist()))
    findings = []
    try:
        changed, *memory = [one.result for one in run_fresh(under_test.code, check)]
    except ReadsAheadError as error:
        return [f"{name} look ahead: {error}."], len(bars)
    if changed:
        bar, text = changed
        findings.append(f"{name} look ahead: with the bars after {time_text(candles.index[bar])} cut off, {text}.")
    for bar, text in filter(None, memory):
        findings.append(
            f"{name} depend on more than the lookback of {trader.lookback:,} bars: with only these before "
            f"{time_text(candles.index[bar])}, {text}."
        )
    return findings, len(bars)


def _bars(candles: pd.DataFrame, whole: Sequence[Order], suspects: list[int], lookback: int, number: int) -> list[int]:
    """The bars to cut after, ascending: suspects, half of them where orders were decided, some at gaps, some others."""
    random, n_bars = np.random.default_rng(0), len(candles)
    busy = np.unique(candles.index.get_indexer(pd.DatetimeIndex([order.decided for order in whole])))
    later = np.arange(max(n_bars // 2, lookback + 1), n_bars - 1)
    groups = [busy[(busy >= _FEWEST_BARS) & (busy < n_bars - 1)], np.intersect1d(gaps(candles), later), later]
    chosen = set(suspects)
    for group, share in zip(groups, (0.6, 0.2, 1.0), strict=True):
        left = np.setdiff1d(group, sorted(chosen))
        wanted = min(len(left), max(1, round(share * (number - len(chosen)))))
        chosen |= {int(bar) for bar in random.choice(left, wanted, replace=False)} if wanted > 0 else set()
    return sorted(chosen)


def _filled_at_decision(name: str, whole: Sequence[Order]) -> list[str]:
    same_bar = [order for order in whole if order.filled is not None and order.filled <= order.decided]
    if not same_bar:
        return []
    first = same_bar[0]
    return [
        f"{name}: {len(same_bar)} of {len(whole)} fill at the bar that decided them, the first at "
        f"{time_text(first.decided)} for {first.price:.6g}. An order decided at a close fills at the next open or "
        "later. Does the strategy use cheat-on-close or cheat-on-open?"
    ]
