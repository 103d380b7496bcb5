"""Measures what runs cost, in turns with their peers, and compares the result with a bound."""

from __future__ import annotations

import gc
import json
import multiprocessing
import os
import re
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

CORES = os.cpu_count() or 1
REGIMES = str(Path(sys.executable).with_name("regimes"))


class Cost(NamedTuple):
    """What one run cost.

    Attributes
    ----------
    cpu
        Seconds of user and system time, of the process and of its children that have ended.
    wall
        Seconds from start to end.
    peak, before
        The largest memory of the process during the run, packages included, and its memory before it, in bytes; 0 if
        not measured.
    """

    cpu: float
    wall: float
    peak: int = 0
    before: int = 0

    def __str__(self) -> str:
        return f"{self.cpu:.3g} s CPU, {self.wall:.3g} s wall"


class Bound(NamedTuple):
    """What a figure must reach."""

    value: float
    at_least: bool = False

    def holds(self, value: float) -> bool:
        return value >= self.value if self.at_least else value <= self.value

    def __str__(self) -> str:
        return f"{'>=' if self.at_least else '<='} {self.value:g}"


def at_most(value: float) -> Bound:
    return Bound(value)


def at_least(value: float) -> Bound:
    return Bound(value, at_least=True)


@dataclass(frozen=True)
class Figure:
    """A figure, and what it must reach.

    Attributes
    ----------
    peer
        What ``value`` is relative to: 0.5 is half of the peer's cost. Empty if ``value`` is in ``unit``.
    told
        What was measured, beside the figure.
    """

    what: str
    value: float
    unit: str = ""
    must: Bound | None = None
    told: str = ""
    peer: str = ""

    @property
    def missed(self) -> bool:
        return self.must is not None and not self.must.holds(self.value)


class Peer(NamedTuple):
    """A run to compare with, and the bound of the ratio of our CPU time to its."""

    run: Callable[[], object]
    must: Bound | None = None


@dataclass(frozen=True)
class Comparison:
    """A run of ours and its peers.

    A run is a function without arguments; one that returns a `Cost` has measured itself.

    Attributes
    ----------
    rounds
        How often each runs; the ratio is the median over the rounds.
    warm
        Whether each runs once unmeasured before.
    times
        Repetitions within a run, by which its cost is divided.
    seconds
        Bound of our CPU time itself.
    """

    what: str
    ours: Callable[[], object]
    peers: Mapping[str, Peer]
    rounds: int = 5
    warm: bool = True
    times: int = 1
    seconds: Bound | None = None

    def figures(self) -> list[Figure]:
        """One figure per peer, the ratio of our CPU time to its; before them our CPU time if it has a bound."""
        runs = [self.ours, *(peer.run for peer in self.peers.values())]
        for run in runs if self.warm else []:
            run()
        costs = [[cost_of(run) for run in runs] for _ in range(self.rounds)]
        ours, *theirs = ([one[place] for one in costs] for place in range(len(runs)))
        typical = self._typical(ours)
        own = (
            [Figure(self.what, typical.cpu, "s CPU", self.seconds, f"{typical.wall:.3g} s wall")]
            if self.seconds
            else []
        )
        return own + [
            Figure(
                self.what,
                median(mine.cpu / its.cpu for mine, its in zip(ours, of_peer, strict=True)),
                must=peer.must,
                told=f"{typical}; {name}: {self._typical(of_peer)}",
                peer=name,
            )
            for (name, peer), of_peer in zip(self.peers.items(), theirs, strict=True)
        ]

    def _typical(self, costs: Sequence[Cost]) -> Cost:
        return Cost(*(median(one[place] for one in costs) / self.times for place in range(2)))


def cost_of(run: Callable[[], object]) -> Cost:
    gc.collect()
    before, begin = _cpu_seconds(), time.perf_counter()
    result = run()
    wall, cpu = time.perf_counter() - begin, _cpu_seconds() - before
    return result if isinstance(result, Cost) else Cost(cpu, wall)


def _cpu_seconds() -> float:
    usages = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def cost_alone(function: Callable[..., object], *arguments: object) -> tuple[Cost, Any]:
    """Cost, with memory, and result of a call in a new process; both must be importable there."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(_with_memory, function, arguments).result()


def _with_memory(function: Callable[..., object], arguments: tuple[object, ...]) -> tuple[Cost, object]:
    results: list[object] = []
    Path("/proc/self/clear_refs").write_text("5")  # forgets the peak so far
    before = _memory("VmRSS")
    cost = cost_of(lambda: results.append(function(*arguments)))
    return cost._replace(peak=_memory("VmHWM"), before=before), results[0]


def _memory(name: str) -> int:
    found = re.search(rf"{name}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found
    return 1024 * int(found[1])


# A program's peak includes that of the process that starts it, so a small one does.
_STARTER = """
import json, os, subprocess, sys
process = subprocess.Popen(sys.argv[1:], stdout=subprocess.DEVNULL)
_, status, usage = os.wait4(process.pid, 0)
print(json.dumps([os.waitstatus_to_exitcode(status), usage.ru_utime + usage.ru_stime, 1024 * usage.ru_maxrss]))
"""


def cost_of_command(*command: str, statuses: Sequence[int] = (0,)) -> Cost:
    """Cost of a program that must end with one of the statuses; the peak is that of its largest process."""
    begin = time.perf_counter()
    ran = subprocess.run([sys.executable, "-S", "-c", _STARTER, *command], capture_output=True, text=True)
    wall = time.perf_counter() - begin
    status, cpu, peak = json.loads(ran.stdout)
    if status not in statuses:
        raise RuntimeError(f"{' '.join(command)} ended with {status}: {ran.stderr[-2000:]}")
    return Cost(cpu, wall, peak)
