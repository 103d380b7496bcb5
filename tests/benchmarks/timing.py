"""Times that a busy machine distorts little: everything in turns, and of each the median."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from statistics import median


def seconds(what: Callable[[], object]) -> float:
    gc.collect()
    begin = time.perf_counter()
    what()
    return time.perf_counter() - begin


def in_turns(*contenders: Callable[[], object], rounds: int = 7) -> list[float]:
    """Median seconds of each, run once unmeasured and then in turns, so that all meet the same machine."""
    for contender in contenders:
        contender()
    times = [[seconds(contender) for contender in contenders] for _ in range(rounds)]
    return [median(each) for each in zip(*times, strict=True)]
