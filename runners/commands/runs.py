"""`regimes runs`: the backtests that were made, read from their folders."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from runners.commands.options import HomeOption, JsonOption, verbosely
from runners.workspace.workspace import Home

if TYPE_CHECKING:
    from runners.backtesting.runs import Run

app = typer.Typer(help="List backtests; remove them, or note something down about them.")

RunArgument = Annotated[str, typer.Argument(metavar="RUN", help="Folder or id of a run.")]


@app.callback(invoke_without_command=True)
@verbosely
def runs(
    context: typer.Context,
    dataset: Annotated[str | None, typer.Option(help="Only this dataset's.", show_default=False)] = None,
    sort: Annotated[Literal["id", "sharpe", "drawdown", "deflated"], typer.Option(help="Best or newest last.")] = "id",
    json: JsonOption = False,
    home: HomeOption = None,
) -> None:
    """List every backtest of each dataset: id, models, Sharpe, drawdown, deflated Sharpe, kind; and the notes."""
    context.obj = home
    if context.invoked_subcommand:
        return
    from data.errors import DataError
    from runners.backtesting.runs import datasets_in, deflated_sharpe, read_runs, read_tries
    from runners.terminal import print_json, print_runs

    results = Home.find(home).results
    listed = []
    for name in [dataset] if dataset else datasets_in(results):
        tries = read_tries(results / name)
        listed += [(run, deflated_sharpe(run, tries)) for run in read_runs(results / name)]
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
        print_json([_told(run, deflated) for run, deflated in listed])
    else:
        print_runs(listed)


def _told(run: Run, deflated: float | None) -> dict[str, Any]:
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


@app.command()
@verbosely
def rm(
    context: typer.Context,
    names: Annotated[list[str], typer.Argument(metavar="RUN...", help="Folders or ids of runs.")],
    home: HomeOption = None,
) -> None:
    """Remove runs; their figures stay out of sight and still count as tries in the deflated Sharpe ratio."""
    from runners.backtesting.runs import find_run
    from runners.terminal import out

    results = Home.find(home or context.obj).results
    for run in [find_run(results, name) for name in names]:
        run.remove()
        out.print(f"removed {run.dataset}/{run.id}; it still counts as a try", soft_wrap=True)


@app.command()
@verbosely
def note(
    context: typer.Context,
    name: RunArgument,
    text: Annotated[str, typer.Argument(help="What to note down; replaces what was there.")],
    home: HomeOption = None,
) -> None:
    """Note something down about a run."""
    from runners.backtesting.runs import find_run

    find_run(Home.find(home or context.obj).results, name).write_note(text)
