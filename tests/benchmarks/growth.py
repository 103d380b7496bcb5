"""`make bench-growth`: CPU time and peak memory of each command that reads candles, by the number of bars.

Trainings have one member and two epochs. The last column is the CPU time per bar of the longest series relative to that
of the shortest one; the exit status is 1 if one is above 1.5. Takes about half an hour.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.benchmarks import report
from tests.benchmarks.comparison import REGIMES, Cost, Figure, at_most, cost_of_command
from tests.benchmarks.subject import many_candles, write_csv

_SIZES = (10_000, 100_000, 1_000_000)
_SMALL = ("--members", "1", "--epochs", "2")
_LINEAR = at_most(1.5)
_COMMANDS: dict[str, tuple[str, ...]] = {
    "import": ("--name", "IMPORTED", "--overwrite"),
    "train": _SMALL,
    "evaluate": (),
    "backtest": (),
    "sweep": (),
    "check": ("--quick",),
    "walk-forward": _SMALL,
}


def costs(sizes: Sequence[int]) -> dict[str, list[Cost]]:
    """Costs of each command, one per size; each command finds what the ones before have written."""
    found: dict[str, list[Cost]] = {name: [] for name in _COMMANDS}
    with TemporaryDirectory() as folder:
        candles = many_candles(max(sizes))
        for size in sizes:
            dataset = f"BARS{size}"
            file = write_csv(candles.iloc[:size], Path(folder) / "data" / "csv" / f"{dataset}.csv")
            for name, options in _COMMANDS.items():
                target = str(file) if name == "import" else dataset
                command = (REGIMES, name, target, *options, "--workspace", folder)
                found[name].append(cost_of_command(*command, statuses=(0, 1) if name == "check" else (0,)))
                print(f"{name}, {size:,} bars: {found[name][-1]}", flush=True)
    return found


def figure(command: str, of_sizes: Sequence[Cost], sizes: Sequence[int]) -> Figure:
    """The growth of the time per bar."""
    shortest, longest = of_sizes[0].cpu / sizes[0], of_sizes[-1].cpu / sizes[-1]
    return Figure(command, longest / shortest, must=_LINEAR)


def main() -> int:
    found = costs(_SIZES)
    figures = {name: figure(name, of_sizes, _SIZES) for name, of_sizes in found.items()}
    columns = ("command", *(f"{size:,} bars" for size in _SIZES), "time per bar", "must", "verdict")
    rows = []
    for name, of_sizes in found.items():
        *_, must, verdict = report.row(figures[name])
        cells = [f"{cost.cpu:.3g} s CPU, {cost.peak / 1e9:.2f} GB" for cost in of_sizes]
        rows.append(
            [f"`regimes {' '.join((name, *_COMMANDS[name]))}`", *cells, f"{figures[name].value:.2g} x", must, verdict]
        )
    table = report.markdown(columns, rows)
    print(table)
    report.write_page("growth", table)
    return int(any(one.missed for one in figures.values()))


if __name__ == "__main__":
    sys.exit(main())
