"""`regimes check`: look for look-ahead bias in a model set or in user code."""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from runners.commands import options
from runners.workspace.workspace import Workspace

if TYPE_CHECKING:
    from runners.lookahead.outcome import Outcome


def check(
    target: Annotated[
        str | None,
        typer.Argument(
            metavar="DATASET | FILE.py",
            help="A dataset in data/csv or a CSV file, to check its models; or a Python file with features, detectors "
            "or strategies; default: the only dataset in data/csv.",
            show_default=False,
        ),
    ] = None,
    on: Annotated[
        str | None,
        typer.Option(metavar="DATASET", help="Candles to check FILE.py on; default: the only dataset in data/csv."),
    ] = None,
    models: options.ModelsOption = None,
    quick: Annotated[bool, typer.Option("--quick", help="Use fewer cuts and seeds, and small networks.")] = False,
    workspace_folder: options.WorkspaceOption = None,
) -> None:
    """Check for look-ahead bias. Exit status: 0 none, 1 some, 2 the check could not run."""
    from data.candles import read_candles
    from models.model_set import ModelSet
    from runners.lookahead.run import run_checks
    from runners.lookahead.under_test import code_under_test, models_under_test

    workspace = Workspace.open(workspace_folder)
    if target is not None and target.endswith(".py"):
        candles = read_candles(workspace.candle_file(on))
        checked = code_under_test(Path(target), candles, ModelSet.load(models) if models else None)
    else:
        file = workspace.candle_file(target)
        model_set = ModelSet.load(models or workspace.trained / file.stem)
        checked = models_under_test(model_set, read_candles(file))
    if not _print(checked.name, run_checks(checked, quick=quick)):
        raise typer.Exit(1)


def _print(name: str, outcomes: "Iterable[Outcome]") -> bool:
    """Print each check when it ends, then all findings and the verdict; return whether there are no findings."""
    from rich.table import Table
    from rich.text import Text

    from runners.terminal import out, working

    out.print(f"look-ahead checks of {name}\n")
    findings = []
    with working("checking"):
        for outcome in outcomes:
            findings += outcome.findings
            count = len(outcome.findings)
            result = Text(f"{count} found", style="red") if count else Text("clean", style="green")
            line = Table.grid(padding=(0, 2))
            line.add_column(width=12)
            line.add_column(width=8)
            line.add_column(overflow="fold")
            line.add_row(outcome.name, result, outcome.scope)
            out.print(line)
    out.print()
    for finding in findings:
        out.print(finding, style="red")
    verdict = f"{len(findings)} finding{'s' if len(findings) > 1 else ''}: do not trust the results of {name}."
    out.print(verdict if findings else "These checks found no look-ahead bias.")
    return not findings
