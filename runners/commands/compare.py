"""`regimes compare`: compare runs, with tests of which differences are significant."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from runners.commands import options
from runners.workspace.workspace import Workspace

if TYPE_CHECKING:
    from runners.backtesting.comparison import Comparison
    from runners.backtesting.runs import Run

COMPARE_PAGE = "compare.html"
_RUNS_SIDE_BY_SIDE = 6
_DIFFERENCES = ("sharpe_difference", "drawdown_difference")
_TWO = "a comparison needs two. `regimes runs` lists all runs, `regimes backtest DATASET` makes another."


def compare(
    runs: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="RUN",
            help="Folders or ids of two or more runs, or datasets for their newest run; one dataset for its two newest "
            "runs; default: each dataset's two newest.",
            show_default=False,
        ),
    ] = None,
    workspace_folder: options.WorkspaceOption = None,
    csv: Annotated[
        Path | None, typer.Option(help="Also write the figures to this CSV, one row per run.", show_default=False)
    ] = None,
    json: options.JsonOption = False,
) -> None:
    """Compare runs over their common bars, in the terminal and in results/compare.html."""
    from data.errors import DataError
    from runners.backtesting.runs import datasets_in, find_run
    from runners.terminal import notice

    workspace = Workspace.open(workspace_folder)
    known = datasets_in(workspace.results)
    if not runs or (len(runs) == 1 and runs[0] in known):
        groups, warnings = _newest_runs(workspace.results, runs or known)
        for dataset, pair in groups.items() if runs else ():
            notice(f"the two newest runs of {dataset}: {', '.join(run.id for run in pair)}")
        compare_runs(workspace, groups, warnings, csv=csv, json=json)
        return
    chosen = [find_run(workspace.results, name) for name in runs]
    if len(chosen) == 1:
        raise DataError(f"{chosen[0].dataset}/{chosen[0].id} is one run; {_TWO}")
    title = ", ".join(dict.fromkeys(run.dataset for run in chosen))
    compare_runs(workspace, {title: chosen}, csv=csv, json=json)


def _newest_runs(results: Path, datasets: Sequence[str]) -> tuple[dict[str, list[Run]], list[str]]:
    """The two newest runs of each of these datasets that has two, and a warning for each damaged run.

    Raises
    ------
    DataError
        If none of them has two runs.
    """
    from data.errors import DataError
    from runners.backtesting.runs import read_runs
    from runners.terminal import notice, warn

    newest, warnings = {}, []
    for dataset in datasets:
        read = read_runs(results / dataset)
        newest[dataset] = read.runs[-2:]
        warnings += read.warnings
    pairs = {dataset: group for dataset, group in newest.items() if len(group) == 2}
    single = ", ".join(dataset for dataset, group in newest.items() if len(group) == 1)
    if not pairs:
        warn(warnings)
        if single:
            raise DataError(f"{results}: holds only one run of {single}; {_TWO}")
        raise DataError(f"{results}: holds no run yet. `regimes backtest DATASET` makes one.")
    if single:
        notice(f"only one run each, so not compared: {single}")
    return pairs, warnings


def compare_runs(
    workspace: Workspace,
    groups: Mapping[str, Sequence[Run]],
    warnings: Sequence[str] = (),
    *,
    csv: Path | None = None,
    json: bool = False,
) -> None:
    """Compare each group of runs by title, print the tables or JSON, and write the page.

    Of several groups, one that cannot be compared is left out with a notice. ``warnings`` are printed as well.
    """
    import pandas as pd

    from data.files import require_writable, write_text
    from runners.report.comparison_page import comparison_html
    from runners.terminal import print_json, print_path, warn

    require_writable(workspace.results)
    comparisons = _compare_groups(groups)
    warn(dict.fromkeys([*warnings, *(warning for one in comparisons for warning in one.warnings)]))
    page = workspace.results / COMPARE_PAGE
    write_text(page, comparison_html(comparisons))
    content = [comparison.to_dict() for comparison in comparisons]
    if csv:
        rows = [_csv_row(row) for comparison in content for row in comparison["runs"]]
        write_text(csv, pd.DataFrame(rows).to_csv(index=False))
    if json:
        print_json({"page": str(page), "comparisons": content})
        return
    for comparison in comparisons:
        _print(comparison)
    print_path("page", page)


def _compare_groups(groups: Mapping[str, Sequence[Run]]) -> list[Comparison]:
    from data.errors import DataError
    from runners.backtesting.comparison import compare as compare_group
    from runners.terminal import notice

    comparisons = []
    for title, group in groups.items():
        try:
            comparisons.append(compare_group(group, title))
        except DataError as error:
            if len(groups) == 1:
                raise
            notice(f"{title} is not compared: {error}")
    if not comparisons:
        raise DataError("nothing is left to compare. Name runs that traded the same bars; `regimes runs` lists all.")
    return comparisons


def _csv_row(run: dict[str, Any]) -> dict[str, Any]:
    """A run's figures, with one column for each figure of its differences to the first run."""
    columns = {name: value for name, value in run.items() if name not in (*_DIFFERENCES, "members")}
    for name in _DIFFERENCES:
        difference = run[name] or {}
        columns |= {f"{name}_{key}": difference.get(key) for key in ("difference", "low", "high", "p_value")}
    return columns


def _print(comparison: Comparison) -> None:
    """Print the runs' figures side by side, the best in bold, and which differences are significant."""
    from rich.text import Text

    from runners.report import comparison_tables
    from runners.terminal import out, print_table, say

    out.print(comparison.title, style="bold")
    say(comparison_tables.common_bars(comparison))
    legend = comparison_tables.legend(comparison)
    print_table("", comparison_tables.LEGEND_COLUMNS, legend, folded="dataset")
    for label, note in comparison_tables.notes(comparison):
        say(f"{label}: {note}")
    rows = comparison_tables.figures(comparison)
    for first in range(0, len(comparison.runs), _RUNS_SIDE_BY_SIDE):
        shown = range(first, min(first + _RUNS_SIDE_BY_SIDE, len(comparison.runs)))
        cells = [
            [name, *(Text(values[at], style="bold") if at in best else values[at] for at in shown)]
            for name, values, best in rows
        ]
        print_table("", ["", *(comparison.runs[at].label for at in shown)], cells)
    for line in comparison_tables.differing(comparison):
        say(line)
    out.print()
    for sentence in comparison_tables.verdicts(comparison):
        say(sentence)
    out.print()
