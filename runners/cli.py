"""The `regimes` command line: a command's module is imported only once the command runs."""

from collections.abc import Callable
from importlib import import_module
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

# The commands in the order of the help, each with the first line of its docstring.
COMMANDS = {
    "import": "Make a dataset from candles in a vendor's format, and say what was changed.",
    "download": "Download closed candles into data/csv, or append new ones.",
    "train": "Train one LSTM per regime on each CSV of candles.",
    "optimize": "Search for better settings of each network on the validation part; Ctrl-C keeps the finished trials.",
    "evaluate": "Score forecasts of unseen bars against zero, the mean, ridge regression and one LSTM for all regimes.",
    "backtest": "Trade the bars that training has not seen, and write a report.",
    "walk-forward": "Retrain on a schedule, and trade the bars after each training with its models.",
    "sweep": "Trade a grid of settings on a run's forecasts, and confirm the best one with Backtrader.",
    "overfit": "Estimate the probability of backtest overfitting, and cross-validate thresholds on a run's forecasts.",
    "compare": "Compare runs over their common bars, in the terminal and in results/compare.html.",
    "retrain": "Retrain with the last settings on the current candles, and compare old and new models on unseen bars.",
    "check": "Check for look-ahead bias. Exit status: 0 none, 1 some, 2 an error, 4 not all can be checked.",
    "demo": "Train and backtest on daily S&P 500 candles from 1999 to 2018; needs no download.",
    "init": "Create a workspace: its folders, and a commented regimes.toml with every setting and its default.",
    "config": "Show the value of every setting, and whether it is the default or comes from a file.",
    "data": "List the CSVs in data/csv: rows, range, interval, missing bars and regime labels.",
    "features": "List the features that networks and the regime detector can read.",
    "doctor": "Show versions, cores, GPU and fonts. Exit status 1 if the workspace is not writable.",
    "runs": "List backtests (the default), remove them, or annotate them.",
    "live": "Trade a dataset's models as candles close: all services (the default), or one of them.",
}
_PLACES = {"import": ("import_", "import_"), "init": ("config", "init")}  # module and function, if not the name


class _Deferred(TyperCommand):
    """Stands for a command in the help; imports the command itself to parse its arguments."""

    def make_context(self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any) -> Any:
        return load_command(str(self.name)).make_context(info_name, args, parent, **extra)


class _Commands(TyperGroup):
    def __init__(self, **options: Any) -> None:
        deferred = {name: _Deferred(name, callback=None, help=summary) for name, summary in COMMANDS.items()}
        super().__init__(**options | {"commands": deferred})


def load_command(name: str) -> TyperCommand | TyperGroup:
    """A command, or a group of commands, with its arguments."""
    from runners.commands.options import Command, reporting_errors

    module, attribute = _PLACES.get(name, (name.replace("-", "_"),) * 2)
    found: typer.Typer | Callable[..., None] = getattr(import_module(f"runners.commands.{module}"), attribute)
    if not isinstance(found, typer.Typer):
        alone = typer.Typer(pretty_exceptions_enable=False, add_completion=False)
        alone.command(name, cls=Command)(reporting_errors(found))
        found = alone
    return typer.main.get_command(found)  # type: ignore[return-value]


def _show_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"regimes {version('regimes')}")
        raise typer.Exit


def _regimes(
    version: Annotated[
        bool, typer.Option("--version", help="Show the version.", callback=_show_version, is_eager=True)
    ] = False,
) -> None:
    """Train one LSTM per market regime, backtest on unseen candles, and compare the results."""


app = typer.Typer(cls=_Commands, no_args_is_help=True, pretty_exceptions_enable=False, callback=_regimes)


if __name__ == "__main__":
    app()
