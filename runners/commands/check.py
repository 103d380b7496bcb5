"""`regimes check`: look for look-ahead bias in a model set or in user code."""

from collections.abc import Iterable
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated

import typer

from runners.commands import options
from runners.workspace.workspace import Workspace

if TYPE_CHECKING:
    from runners.lookahead.outcome import Outcome, Unchecked

_FOUND, _NOT_ALL_CHECKED = 1, 4  # exit status


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
    quick: Annotated[
        bool, typer.Option("--quick", help="Recompute fewer bars, with few seeds and small networks.")
    ] = False,
    exhaustive: Annotated[bool, typer.Option("--exhaustive", help="Recompute every bar.")] = False,
    vouch: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="A column, file, folder or feature that cannot be checked, and that you vouch for; may be repeated.",
            show_default=False,
        ),
    ] = None,
    workspace_folder: options.WorkspaceOption = None,
) -> None:
    """Check for look-ahead bias. Exit status: 0 none, 1 some, 2 an error, 4 not all can be checked."""
    from data.candles import read_candles
    from data.errors import SettingsError
    from models.model_set import ModelSet
    from runners.backtesting.settings import BacktestSettings
    from runners.lookahead.run import run_checks
    from runners.lookahead.under_test import code_under_test, models_under_test

    if quick and exhaustive:
        raise SettingsError("--quick and --exhaustive cannot be used together.")
    workspace = Workspace.open(workspace_folder)
    if target is not None and target.endswith(".py"):
        file = workspace.candle_file(on)
        model_set = ModelSet.load(models) if models else None
        checked = code_under_test(Path(target), read_candles(file), model_set, file)
    else:
        file = workspace.candle_file(target)
        model_set = ModelSet.load(models or workspace.trained / file.stem)
        by_column = workspace.given.make(BacktestSettings).regime_source == "column"
        checked = models_under_test(model_set, read_candles(file), file, trades_column=by_column)
    status = _print(checked.name, run_checks(checked, quick=quick, exhaustive=exhaustive), vouch or [])
    if status:
        raise typer.Exit(status)


def _print(name: str, outcomes: "Iterable[Outcome]", vouched: list[str]) -> int:
    """Print each check when it ends, then all findings and the verdict; return the exit status."""
    from rich.table import Table
    from rich.text import Text

    from runners.terminal import out, say, working

    out.print(f"look-ahead checks of {name}\n")
    findings: list[str] = []
    unchecked: dict[str, Unchecked] = {}
    with working("checking"):
        for outcome in outcomes:
            left = {one.name: one for one in outcome.unchecked if not one.vouched(vouched)}
            findings += outcome.findings
            unchecked |= left
            if outcome.findings:
                result = Text(f"{len(outcome.findings)} found", style="red")
            elif left:
                result = Text(f"{len(left)} unchecked", style="yellow")
            else:
                result = Text("clean", style="green")
            line = Table.grid(padding=(0, 2))
            line.add_column(width=12)
            line.add_column(width=11)
            line.add_column(overflow="fold")
            line.add_row(outcome.name, result, outcome.scope)
            out.print(line)
    out.print()
    for finding in findings:
        out.print(finding, style="red")
    for one in unchecked.values():
        out.print(f"{one.reason}; you vouch for it (--vouch {quote(one.name)}).", style="yellow")
    if findings:
        say(f"{len(findings)} finding{'s' if len(findings) > 1 else ''}: do not trust the results of {name}.")
        return _FOUND
    if unchecked:
        say(f"These checks found no look-ahead bias, but they cannot see all that {name} reads.")
        return _NOT_ALL_CHECKED
    say("These checks found no look-ahead bias.")
    return 0
