"""What all commands share: arguments, options made of settings, groups, and errors printed in one line."""

import functools
import inspect
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin

import typer
from pydantic.fields import FieldInfo
from typer.core import TyperCommand, TyperGroup

from data.errors import RegimesError
from data.settings import RENAMED, Settings

_DATASET_HELP = "A dataset in data/csv, or a CSV file"
DatasetArgument = Annotated[
    str | None,
    typer.Argument(
        metavar="[DATASET]", help=f"{_DATASET_HELP}; default: the only one in data/csv.", show_default=False
    ),
]
DatasetsArgument = Annotated[
    list[str] | None,
    typer.Argument(metavar="[DATASET]...", help=f"{_DATASET_HELP}; default: all in data/csv.", show_default=False),
]
RunArgument = Annotated[
    str, typer.Argument(metavar="RUN", help="A run's folder or id, or a dataset for its newest run.")
]
WorkspaceOption = Annotated[
    Path | None,
    typer.Option("--workspace", help="Folder with data/csv, models/trained and results; default: here."),
]
ConfigOption = Annotated[
    Path | None,
    typer.Option(help="TOML file with the settings; default: regimes.toml of the workspace.", show_default=False),
]
ModelsOption = Annotated[
    Path | None, typer.Option(help="Model set; default: the dataset's newest.", show_default=False)
]
SortOption = Annotated[bool, typer.Option("--sort", help="Sort the CSV's rows by time instead of refusing.")]
JobsOption = Annotated[
    int | None, typer.Option(min=1, help="Networks trained side by side; default: one a core.", show_default=False)
]
NoteOption = Annotated[str, typer.Option(help="A note to keep with the run.", show_default=False)]
MlflowOption = Annotated[
    str | None, typer.Option(metavar="URI", help="Log the run in this MLflow store, too.", show_default=False)
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")]
_VerboseOption = Annotated[bool, typer.Option("--verbose", help="Show where an error comes from.")]


def _grid_option(description: str) -> Any:
    return typer.Option(metavar="VALUES", help=f"{description} or first:last:count.", show_default=False)


_OWN = "default: the run's own; or"
LongThresholds = Annotated[
    str | None, _grid_option("Long thresholds; default: 20 over the forecasts' size; or 0.001,0.002")
]
ShortThresholds = Annotated[
    str | None, _grid_option("Short thresholds; default: 20 over the forecasts' size; or -0.002,-0.001")
]
NeutralRules = Annotated[str | None, typer.Option(metavar="hold,flat", help="Default: both.", show_default=False)]
Exposures = Annotated[str | None, _grid_option(f"Exposures; {_OWN} 0.5,0.95")]
Commissions = Annotated[str | None, _grid_option(f"Commissions; {_OWN} 0,0.001")]
Slippages = Annotated[str | None, _grid_option(f"Slippages; {_OWN} 0,0.0005")]
BorrowRates = Annotated[str | None, _grid_option(f"Fees a bar for short positions; {_OWN} 0,0.0001")]

# Printed in one line: a user's mistakes, and what the system refuses, such as a file that cannot be read.
_USER_ERRORS = (RegimesError, OSError)

# Flags that are called otherwise now, beside those of renamed settings.
_RENAMED_FLAGS = {
    "--home": "--workspace",
    "--dataset": "the argument DATASET",
    "--candles": "the argument DATASET",
    **{
        f"--{old}": f"--{new.replace('_', '-')}"
        for table in ("backtest", "live")
        for old, new in RENAMED[table].items()
    },
}


def with_settings(*kinds: type[Settings]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command one option per field of these settings; it receives those that were used in the dict ``flags``.

    A field that is a table has no option: it belongs into a file.
    """
    fields = {name: field for kind in kinds for name, field in kind.model_fields.items()}
    flagged = {name: field for name, field in fields.items() if get_origin(field.annotation) is not dict}

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        def run(**given: Any) -> None:
            flags = {name: given.pop(name) for name in flagged}
            command(**given, flags=flags)

        own = [p for p in inspect.signature(command).parameters.values() if p.name != "flags"]
        own += [
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=_option(name, field))
            for name, field in flagged.items()
        ]
        run.__name__, run.__doc__ = command.__name__, command.__doc__
        _set_signature(run, own)
        return run

    return decorate


def _option(name: str, field: FieldInfo) -> Any:
    flag = "--" + name.replace("_", "-")
    default = ",".join(map(str, field.default)) if isinstance(field.default, tuple) else field.default
    shown = "" if default is None or isinstance(default, bool) else f" Default: {default}."
    help_text = f"{field.description}{shown}"
    if field.annotation is bool:
        return Annotated[bool | None, typer.Option(f"{flag}/--no-{flag[2:]}", help=help_text, show_default=False)]
    choices = [str(choice) for choice in get_args(field.annotation) if isinstance(choice, str)]
    metavar = "|".join(choices) if choices else None
    kinds = get_args(field.annotation) or (field.annotation,)
    if get_origin(field.annotation) is tuple:
        metavar, kinds = ("A,B,..." if Ellipsis in kinds else "LOW,HIGH"), ()
    number = next((kind for kind in (int, float) if kind in kinds), str)
    return Annotated[number | None, typer.Option(flag, help=help_text, show_default=False, metavar=metavar)]


def _set_signature(function: Callable[..., None], parameters: list[inspect.Parameter]) -> None:
    """Let typer see these parameters."""
    setattr(function, "__signature__", inspect.Signature(parameters))  # noqa: B010  types do not know the attribute
    function.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}


def reporting_errors(command: Callable[..., None]) -> Callable[..., None]:
    """Print a command's errors: a user's mistake in one line (status 2), a fault of ours as a traceback (status 3).

    Also gives the command the option ``--verbose``, which shows where a mistake was noticed.
    """

    @functools.wraps(command)
    def run(*, verbose: bool, **given: Any) -> None:
        try:
            command(**given)
        except typer.Exit:
            raise
        except _USER_ERRORS as error:
            from runners.terminal import print_error

            if verbose:
                error.__suppress_context__ = False
                traceback.print_exception(error)
            print_error(
                f"{error.filename}: {error.strerror}." if isinstance(error, OSError) and error.filename else error
            )
            raise typer.Exit(2) from None
        except Exception:
            traceback.print_exc()
            print("This is a fault of regimes. Please report it with what `regimes doctor` prints.", file=sys.stderr)
            raise typer.Exit(3) from None

    own = inspect.signature(command, eval_str=True).parameters.values()
    verbose = inspect.Parameter("verbose", inspect.Parameter.KEYWORD_ONLY, default=False, annotation=_VerboseOption)
    _set_signature(run, [*own, verbose])
    return run


class Command(TyperCommand):
    """A command that answers renamed flags with their new names."""

    def parse_args(self, ctx: typer.Context, args: list[str]) -> list[str]:  # type: ignore[override]
        known = {flag for parameter in self.params for flag in parameter.opts}
        for flag in (argument.split("=")[0] for argument in args):
            if flag in _RENAMED_FLAGS and flag not in known:
                raise typer.BadParameter(f"{flag} is called {_RENAMED_FLAGS[flag]} now.", ctx)
        return super().parse_args(ctx, args)


def group(default: str, help_text: str) -> typer.Typer:
    """A group of commands that runs its command ``default`` where the first word names none of the others."""

    class Group(TyperGroup):
        def parse_args(self, ctx: typer.Context, args: list[str]) -> list[str]:  # type: ignore[override]
            names_command = bool(args) and (args[0] in self.commands or args[0] == "--help")
            return super().parse_args(ctx, args if names_command else [default, *args])

    return typer.Typer(cls=Group, help=help_text)


def _show_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"regimes {version('regimes')}")
        raise typer.Exit


def regimes(
    version: Annotated[
        bool, typer.Option("--version", help="Show the version.", callback=_show_version, is_eager=True)
    ] = False,
) -> None:
    """One LSTM per market regime, trained, backtested and compared on candles that it never saw."""
