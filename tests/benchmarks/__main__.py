"""`make bench`: measures ours and its peers, prints tables, writes ``results/bench.json`` and ``docs/benchmarks.md``.

``python -m tests.benchmarks --only SECTION`` (again for each) prints some sections and writes nothing. The exit status
is 1 if a figure misses what it must reach.
"""

from __future__ import annotations

import argparse
import sys
from importlib import import_module
from pathlib import Path

# Modules with a function `figures`. They are imported late, because each new process imports this module.
_SECTIONS = {
    "Limits": "machine",
    "Data": "peers_data",
    "Training": "peers_training",
    "Trading": "peers_trading",
    "Waiting times": "latency",
    "Pages": "pages",
    "Model server": "server",
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", action="append", choices=_SECTIONS, default=[])
    wanted = parser.parse_args().only
    from tests.benchmarks import machine, report
    from tests.benchmarks.subject import Subject, subject_candles

    name, candles = subject_candles()
    subject, sections = Subject.of(name, candles), {}
    for section in wanted or _SECTIONS:
        sections[section] = import_module(f"tests.benchmarks.{_SECTIONS[section]}").figures(subject)
        report.show(section, sections[section])
    if not wanted:
        described = {"candles": f"{name}, {len(candles):,} bars", **machine.description()}
        report.write(Path("results/bench.json"), described, sections)
        report.write_page("peers", report.tables(described, sections))
    return int(any(figure.missed for figures in sections.values() for figure in figures))


if __name__ == "__main__":
    sys.exit(main())
