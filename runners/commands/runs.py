"""`regimes runs`: list, remove and annotate the backtests of a workspace."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from runners.commands import options
from runners.workspace.workspace import Workspace

if TYPE_CHECKING:
    from collections.abc import Sequence

    from runners.backtesting.runs import Run

app = options.group("list", "List backtests (the default), remove them, or annotate them.")


@app.command("list", cls=options.Command)
@options.reporting_errors
def list_runs(
    dataset: Annotated[
        str | None, typer.Argument(metavar="DATASET", help="Only this dataset's runs.", show_default=False)
    ] = None,
    sort: Annotated[
        Literal["id", "sharpe", "drawdown", "deflated"], typer.Option(help="Order; the best or newest is last.")
    ] = "id",
    json: options.JsonOption = False,
    workspace_folder: options.WorkspaceOption = None,
) -> None:
    """List backtests with models, Sharpe ratio, drawdown, deflated Sharpe ratio, kind and notes."""
    from data.errors import DataError
    from runners.backtesting.runs import datasets_in, deflated_sharpe, read_runs, read_trials
    from runners.terminal import print_json, warn

    results = Workspace.open(workspace_folder).results
    rows: list[tuple[Run, float | None]] = []
    for name in [dataset] if dataset else datasets_in(results):
        trials = read_trials(results / name)
        runs, warnings = read_runs(results / name)
        warn(dict.fromkeys([*warnings, *trials.warnings]))
        rows += [(run, deflated_sharpe(run, trials)) for run in runs]
    if not rows:
        raise DataError(f"{results}: holds no run{f' of {dataset}' if dataset else ''} yet.")
    lowest = float("-inf")
    keys = {
        "id": lambda row: row[0].id,
        "sharpe": lambda row: lowest if row[0].metrics.sharpe is None else row[0].metrics.sharpe,
        "drawdown": lambda row: row[0].metrics.max_drawdown,
        "deflated": lambda row: lowest if row[1] is None else row[1],
    }
    rows.sort(key=keys[sort])
    if json:
        print_json([_to_dict(run, deflated) for run, deflated in rows])
    else:
        _print(rows)


def _to_dict(run: Run, deflated: float | None) -> dict[str, Any]:
    return {
        "dataset": run.dataset,
        "run": run.id,
        "folder": str(run.folder),
        "kind": run.kind,
        "models": run.models,
        "note": run.note,
        "first_bar": run.first_bar.isoformat(),
        "last_bar": run.last_bar.isoformat(),
        "deflated_sharpe": deflated,
        **run.metrics.to_dict(),
    }


def _print(rows: Sequence[tuple[Run, float | None]]) -> None:
    """Print one table per dataset, and the notes."""
    from runners.report import comparison_tables
    from runners.terminal import out, print_table, say

    for dataset in dict.fromkeys(run.dataset for run, _ in rows):
        runs = [(run, deflated) for run, deflated in rows if run.dataset == dataset]
        cells = [comparison_tables.run_row(run, deflated) for run, deflated in runs]
        print_table(dataset, comparison_tables.RUN_COLUMNS, cells, wide=True)
        for name, note in comparison_tables.run_notes(run for run, _ in runs):
            out.print(f"{name}: {note}")
    say(comparison_tables.RUN_LEGEND)


@app.command(cls=options.Command)
@options.reporting_errors
def rm(
    names: Annotated[list[str], typer.Argument(metavar="RUN", help="Folders or ids of runs.")],
    workspace_folder: options.WorkspaceOption = None,
) -> None:
    """Remove runs; they still count as trials in the deflated Sharpe ratio."""
    from runners.backtesting.runs import find_run
    from runners.terminal import out

    results = Workspace.open(workspace_folder).results
    for run in [find_run(results, name) for name in names]:
        run.remove()
        out.print(f"removed {run.dataset}/{run.id}; it still counts as a trial", soft_wrap=True)


@app.command(cls=options.Command)
@options.reporting_errors
def note(
    name: options.RunArgument,
    text: Annotated[str, typer.Argument(metavar="TEXT", help="The note; it replaces an earlier one.")],
    workspace_folder: options.WorkspaceOption = None,
) -> None:
    """Write a note on a run."""
    from runners.backtesting.runs import find_run

    find_run(Workspace.open(workspace_folder).results, name).write_note(text)
