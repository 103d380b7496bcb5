"""`regimes runs`: list the backtests of a workspace, remove them, or note something about them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from runners.commands.options import Command, JsonOption, RunArgument, WorkspaceOption, group, reporting_errors
from runners.workspace.workspace import Workspace

if TYPE_CHECKING:
    from collections.abc import Sequence

    from runners.backtesting.runs import Run

app = group("list", "List backtests (the default); remove them, or note something about them.")


@app.command("list", cls=Command)
@reporting_errors
def list_runs(
    dataset: Annotated[
        str | None, typer.Argument(metavar="[DATASET]", help="Only this dataset's runs.", show_default=False)
    ] = None,
    sort: Annotated[Literal["id", "sharpe", "drawdown", "deflated"], typer.Option(help="Best or newest last.")] = "id",
    json: JsonOption = False,
    workspace_folder: WorkspaceOption = None,
) -> None:
    """List every backtest of each dataset: id, models, Sharpe, drawdown, deflated Sharpe, kind; and the notes."""
    from data.errors import DataError
    from runners.backtesting.runs import datasets_in, deflated_sharpe, read_runs, read_trials
    from runners.terminal import print_json, warn

    results = Workspace.open(workspace_folder).results
    listed: list[tuple[Run, float | None]] = []
    for name in [dataset] if dataset else datasets_in(results):
        trials = read_trials(results / name)
        runs, warnings = read_runs(results / name)
        warn(warnings)
        listed += [(run, deflated_sharpe(run, trials)) for run in runs]
    if not listed:
        raise DataError(f"{results}: holds no run{f' of {dataset}' if dataset else ''} yet.")
    lowest = float("-inf")
    keys = {
        "id": lambda one: one[0].id,
        "sharpe": lambda one: lowest if one[0].metrics.sharpe is None else one[0].metrics.sharpe,
        "drawdown": lambda one: one[0].metrics.max_drawdown,
        "deflated": lambda one: lowest if one[1] is None else one[1],
    }
    listed.sort(key=keys[sort])
    if json:
        print_json([_to_dict(run, deflated) for run, deflated in listed])
    else:
        _print(listed)


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


def _print(listed: Sequence[tuple[Run, float | None]]) -> None:
    """A table per dataset, in the order given, and the notes."""
    from runners.report import comparison_tables
    from runners.terminal import out, plain, print_table

    for dataset in dict.fromkeys(run.dataset for run, _ in listed):
        runs = [(run, deflated) for run, deflated in listed if run.dataset == dataset]
        rows = [comparison_tables.run_row(run, deflated) for run, deflated in runs]
        print_table(dataset, comparison_tables.RUN_COLUMNS, plain(rows), wide=True)
        for name, note in comparison_tables.run_notes(run for run, _ in runs):
            out.print(f"{name}: {note}", markup=False)


@app.command(cls=Command)
@reporting_errors
def rm(
    names: Annotated[list[str], typer.Argument(metavar="RUN...", help="Folders or ids of runs.")],
    workspace_folder: WorkspaceOption = None,
) -> None:
    """Remove runs; their hidden figures still count as trials in the deflated Sharpe ratio."""
    from runners.backtesting.runs import find_run
    from runners.terminal import out

    results = Workspace.open(workspace_folder).results
    for run in [find_run(results, name) for name in names]:
        run.remove()
        out.print(f"removed {run.dataset}/{run.id}; it still counts as a trial", soft_wrap=True)


@app.command(cls=Command)
@reporting_errors
def note(
    name: RunArgument,
    text: Annotated[str, typer.Argument(help="The note; replaces an earlier one.")],
    workspace_folder: WorkspaceOption = None,
) -> None:
    """Note something about a run."""
    from runners.backtesting.runs import find_run

    find_run(Workspace.open(workspace_folder).results, name).write_note(text)
