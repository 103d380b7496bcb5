"""`regimes check`: does a model set, or a user's own code, look ahead?"""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from runners.commands.options import ModelsOption, SortOption, WorkspaceOption
from runners.workspace.workspace import Workspace

if TYPE_CHECKING:
    from runners.lookahead.outcome import Outcome


def check(
    target: Annotated[
        str | None,
        typer.Argument(
            metavar="[DATASET | FILE.py]",
            help="A dataset in data/csv or a CSV file, whose models are checked; or a Python file with features, "
            "detectors or strategies; default: the only dataset in data/csv.",
            show_default=False,
        ),
    ] = None,
    on: Annotated[
        str | None,
        typer.Option(metavar="DATASET", help="Candles to check FILE.py on; default: the only ones in data/csv."),
    ] = None,
    models: ModelsOption = None,
    quick: Annotated[bool, typer.Option("--quick", help="Fewer cuts and seeds, small networks.")] = False,
    workspace_folder: WorkspaceOption = None,
    sort: SortOption = False,
) -> None:
    """Look for look-ahead: exit status 0 if there is none, 1 if there is, 2 if it cannot be told."""
    from data.candles import read_candles
    from models.model_set import ModelSet
    from runners.lookahead.run import run_checks
    from runners.lookahead.target import of_file, of_model_set

    workspace = Workspace.open(workspace_folder)
    if target is not None and target.endswith(".py"):
        candles = read_candles(workspace.candle_file(on), sort=sort)
        checked = of_file(Path(target), candles, ModelSet.load(models) if models else None)
    else:
        file = workspace.candle_file(target)
        model_set = ModelSet.load(workspace.model_sets(file.stem, models))
        checked = of_model_set(model_set, read_candles(file, sort=sort))
    if not _print(checked.name, run_checks(checked, quick=quick)):
        raise typer.Exit(1)


def _print(name: str, outcomes: "Iterable[Outcome]") -> bool:
    """Each check as it ends, then all findings and what they mean; gives whether all is clean."""
    from rich.markup import escape
    from rich.table import Table

    from runners.terminal import out, working

    out.print(f"does {name} look ahead?\n")
    findings = []
    with working("checking"):
        for outcome in outcomes:
            findings += outcome.findings
            clean = "[green]clean[/]" if not outcome.findings else f"[red]{len(outcome.findings)} found[/]"
            line = Table.grid(padding=(0, 2))
            line.add_column(width=12)
            line.add_column(width=8)
            line.add_column(overflow="fold")
            line.add_row(outcome.name, clean, escape(outcome.looked_at))
            out.print(line)
    out.print()
    for sentence in findings:
        out.print(sentence, style="red", markup=False)
    out.print(
        f"{len(findings)} thing{'s' if len(findings) > 1 else ''} found: results of {name} are not to be trusted."
        if findings
        else "Nothing looks ahead, as far as these checks see.",
        markup=False,
    )
    return not findings
