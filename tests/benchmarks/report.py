"""Shows figures in the terminal, and writes them to ``results/bench.json`` and to the docs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from tests.benchmarks.comparison import Figure
from training.provenance import git_commit

COLUMNS = ("what", "measured", "ratio to the peer", "must", "verdict")
_PAGE = Path(__file__).parents[2] / "docs" / "benchmarks.md"


def row(figure: Figure) -> list[str]:
    """The cells of `COLUMNS`."""
    if figure.peer:
        measured, ratio = figure.told, f"{figure.value:.2g} x {figure.peer}"
    else:
        value = f"{figure.value:.3g} {figure.unit}".strip()
        measured, ratio = f"{value} ({figure.told})" if figure.told else value, ""
    verdict = "" if figure.must is None else "MISSED" if figure.missed else "reached"
    return [figure.what, measured, ratio, str(figure.must or ""), verdict]


def show(section: str, figures: Sequence[Figure]) -> None:
    table = Table(*COLUMNS, title=section, title_justify="left", box=SIMPLE_HEAD)
    for figure in figures:
        table.add_row(*row(figure))
    Console().print(table, markup=False)


def markdown(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def write(file: Path, machine: Mapping[str, str], sections: Mapping[str, Sequence[Figure]]) -> None:
    """Write the figures with the machine as JSON."""
    told = {name: [{**asdict(one), "missed": one.missed} for one in figures] for name, figures in sections.items()}
    file.write_text(json.dumps({"machine": machine, "commit": git_commit(), "sections": told}, indent=2) + "\n")


def write_page(block: str, text: str) -> None:
    """Replace what the docs page has between the comments ``<!-- BLOCK: generated -->`` and ``<!-- BLOCK: end -->``."""
    page = _PAGE.read_text()
    begin, end = f"<!-- {block}: generated -->\n", f"<!-- {block}: end -->"
    before, after = page.index(begin) + len(begin), page.index(end)
    _PAGE.write_text(f"{page[:before]}\n{text}\n\n{page[after:]}")


def tables(machine: Mapping[str, str], sections: Mapping[str, Sequence[Figure]]) -> str:
    """A list of the machine, and a table per section."""
    facts = "\n".join(f"- {name}: {value}" for name, value in machine.items())
    parts = [f"### {name}\n\n{markdown(COLUMNS, [row(one) for one in figures])}" for name, figures in sections.items()]
    return "\n\n".join([facts, *parts])
