"""`regimes runs`: list, remove and annotate the backtests of a workspace."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

import typer

from runners.commands import options
from runners.workspace.workspace import Workspace

if TYPE_CHECKING:
    from collections.abc import Sequence

    from runners.backtesting.runs import Run
    from runners.backtesting.trials import Trials

runs = options.group("runs", "list", "List backtests (the default), remove them, or annotate them.")


class _Listed(NamedTuple):
    """A run, the trials on its bars, and its deflated Sharpe ratio."""

    run: Run
    trials: Trials
    deflated: float | None


@runs.command("list", cls=options.Command)
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
    from runners.backtesting.runs import datasets_in, read_runs
    from runners.backtesting.trials import read_trials, trials_of
    from runners.terminal import print_json, warn

    results = Workspace.open(workspace_folder).results
    rows: list[_Listed] = []
    trials = read_trials(results)
    warn(trials.warnings)
    for name in [dataset] if dataset else datasets_in(results):
        runs, warnings = read_runs(results / name)
        warn(warning for warning in warnings if warning not in trials.warnings)
        for run in runs:
            on_its_bars = trials_of(run, trials)
            rows.append(_Listed(run, on_its_bars, on_its_bars.deflated_sharpe(run.metrics)))
    if not rows:
        raise DataError(f"{results}: holds no run{f' of {dataset}' if dataset else ''} yet.")
    lowest = float("-inf")
    keys = {
        "id": lambda row: row.run.id,
        "sharpe": lambda row: lowest if row.run.metrics.sharpe is None else row.run.metrics.sharpe,
        "drawdown": lambda row: row.run.metrics.max_drawdown,
        "deflated": lambda row: lowest if row.deflated is None else row.deflated,
    }
    rows.sort(key=keys[sort])
    if json:
        print_json([_to_dict(row) for row in rows])
    else:
        _print(rows)


def _to_dict(row: _Listed) -> dict[str, Any]:
    run = row.run
    return {
        "dataset": run.dataset,
        "run": run.id,
        "folder": str(run.folder),
        "kind": run.kind,
        "mark": run.mark,
        "models": run.models,
        "note": run.note,
        "first_bar": run.first_bar.isoformat(),
        "last_bar": run.last_bar.isoformat(),
        **row.trials.to_dict(),
        "deflated_sharpe": row.deflated,
        **run.metrics.to_dict(),
    }


def _print(rows: Sequence[_Listed]) -> None:
    """Print one table per dataset, and the notes."""
    from runners.report import comparison_tables
    from runners.terminal import out, print_table, say

    for dataset in dict.fromkeys(row.run.dataset for row in rows):
        listed = [row for row in rows if row.run.dataset == dataset]
        cells = [comparison_tables.run_row(row.run, row.deflated) for row in listed]
        print_table(dataset, comparison_tables.RUN_COLUMNS, cells, wide=True)
        for name, note in comparison_tables.run_notes(row.run for row in listed):
            out.print(f"{name}: {note}")
    say(comparison_tables.RUN_LEGEND)


@runs.command(cls=options.Command)
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


@runs.command(cls=options.Command)
@options.reporting_errors
def note(
    name: options.RunArgument,
    text: Annotated[str, typer.Argument(metavar="TEXT", help="The note; it replaces an earlier one.")],
    workspace_folder: options.WorkspaceOption = None,
) -> None:
    """Write a note on a run."""
    from runners.backtesting.runs import find_run

    find_run(Workspace.open(workspace_folder).results, name).write_note(text)
