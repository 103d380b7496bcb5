"""Arguments and options that the commands share, and how commands report errors."""

import functools
import inspect
import re
import sys
from collections.abc import Callable, Collection
from copy import copy
from io import TextIOWrapper
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin

import typer
from pydantic.fields import FieldInfo
from typer.core import TyperCommand, TyperGroup

from data.errors import DataError, RegimesError
from data.settings import RENAMED, Settings, is_secret
from runners.formatting import visible

_DATASET_HELP = "A dataset in data/csv, or a CSV file"
DatasetArgument = Annotated[
    str | None,
    typer.Argument(metavar="DATASET", help=f"{_DATASET_HELP}; default: the only one in data/csv.", show_default=False),
]
DatasetsArgument = Annotated[
    list[str] | None,
    typer.Argument(metavar="DATASET", help=f"{_DATASET_HELP}; default: all in data/csv.", show_default=False),
]
RunArgument = Annotated[
    str, typer.Argument(metavar="RUN", help="A run's folder or id, or a dataset, which means its newest run.")
]
WorkspaceOption = Annotated[
    Path | None,
    typer.Option("--workspace", help="Folder with data/csv, models/trained and results; default: the current folder."),
]
ConfigOption = Annotated[
    Path | None,
    typer.Option(help="TOML file with settings; default: the workspace's regimes.toml.", show_default=False),
]
ModelsOption = Annotated[
    Path | None, typer.Option(help="Model set; default: the dataset's newest.", show_default=False)
]
JobsOption = Annotated[
    int | None, typer.Option(min=1, help="Networks to train in parallel; default: one per core.", show_default=False)
]
NoteOption = Annotated[str, typer.Option(help="A note to store with the run.", show_default=False)]
TearsheetOption = Annotated[
    bool, typer.Option("--tearsheet/--no-tearsheet", help="At the end, also write quantstats' page of daily returns.")
]
MlflowOption = Annotated[
    str | None, typer.Option(metavar="URI", help="Also log the run to this MLflow store.", show_default=False)
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")]
_VerboseOption = Annotated[bool, typer.Option("--verbose", help="Print the traceback of an error.")]


_NO_MEMORY = re.compile("can't allocate memory|out of memory")  # in torch's errors

# Renamed flags; those of renamed settings are in data.settings.
_RENAMED_FLAGS = {
    "--dataset": "the argument DATASET",
    "--candles": "the argument DATASET",
    **{
        f"--{old}": f"--{new.replace('_', '-')}"
        for table in ("regimes.toml", "backtest", "live")
        for old, new in RENAMED[table].items()
    },
}


def with_settings(*kinds: type[Settings]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Add an option per setting to a command, except tables and secrets; it gets the values in the dict ``flags``."""
    fields = {name: field for kind in kinds for name, field in kind.model_fields.items()}
    return _with_options(
        "flags",
        {
            name: _option(name, field)
            for name, field in fields.items()
            if not (get_origin(field.annotation) is dict or is_secret(field))
        },
    )


def with_axes(*kinds: type[Settings]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Add an option per setting of a grid to a command; it gets the texts in the dict ``axes``."""
    fields = {name: field for kind in kinds for name, field in kind.model_fields.items()}
    return _with_options("axes", {name: _axis_option(name, field) for name, field in fields.items()})


def _with_options(into: str, added: dict[str, Any]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Add options by name to a command; it gets their values in a dict that is its parameter ``into``."""

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        def run(**given: Any) -> None:
            values = {name: given.pop(name) for name in added}
            command(**given, **{into: values})

        parameters = [p for p in inspect.signature(command).parameters.values() if p.name != into]
        parameters += [
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)
            for name, annotation in added.items()
        ]
        run.__name__, run.__doc__ = command.__name__, command.__doc__
        _set_signature(run, parameters)
        return run

    return decorate


_AXIS_DEFAULTS = {
    "long_threshold": "20 values over the forecasts' range",
    "short_threshold": "20 values over the forecasts' range",
    "neutral": "both",
}


def _axis_option(name: str, field: FieldInfo) -> Any:
    words = [choice for choice in get_args(field.annotation) if isinstance(choice, str)]
    default = _AXIS_DEFAULTS.get(name, "the run's own")
    listed = "" if words else " A list such as 0.5,0.95, or first:last:count."
    help_text = f"{field.description}{listed} Default: {default}."
    return Annotated[
        str | None,
        typer.Option(
            f"--{name.replace('_', '-')}",
            metavar=",".join(words) or "VALUES",
            help=help_text,
            show_default=False,
        ),
    ]


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
    """Show these parameters to typer."""
    setattr(function, "__signature__", inspect.Signature(parameters))  # noqa: B010  types do not know the attribute
    function.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}


def reporting_errors(command: Callable[..., None]) -> Callable[..., None]:
    """Print a command's errors: a user error in one line (exit status 2), a bug as a traceback (exit status 3).

    Adds the option ``--verbose``, which prints the traceback of a user error as well.
    """

    @functools.wraps(command)
    def run(*, verbose: bool, **given: Any) -> None:
        if isinstance(sys.stdout, TextIOWrapper):
            sys.stdout.reconfigure(errors="replace")  # where it cannot show a character, such as in ASCII
        try:
            command(**given)
        except typer.Exit:
            raise
        except (RegimesError, OSError) as error:
            from runners.terminal import print_error, print_traceback

            if isinstance(error, DataError) and error.file is not None:
                from data.importers import remedy

                if mending := remedy(error.file):
                    error.add_note(mending)
            if verbose:
                error.__suppress_context__ = False
                print_traceback(error)
            print_error(
                f"{error.filename}: {error.strerror}." if isinstance(error, OSError) and error.filename else error
            )
            raise typer.Exit(2) from None
        except Exception as error:
            from runners.terminal import print_error, print_traceback

            if isinstance(error, MemoryError) or _NO_MEMORY.search(str(error)):
                print_error("there is not enough memory. Use fewer bars or columns, smaller networks or fewer --jobs.")
                raise typer.Exit(2) from None
            print_traceback(error)
            print("This is a bug in regimes. Please report it with the output of `regimes doctor`.", file=sys.stderr)
            raise typer.Exit(3) from None

    parameters = inspect.signature(command, eval_str=True).parameters.values()
    verbose = inspect.Parameter("verbose", inspect.Parameter.KEYWORD_ONLY, default=False, annotation=_VerboseOption)
    _set_signature(run, [*parameters, verbose])
    return run


class Command(TyperCommand):
    """A command whose errors give the new name of a renamed flag, and escape what does not print in an unknown one."""

    def parse_args(self, ctx: typer.Context, args: list[str]) -> list[str]:  # type: ignore[override]
        current = {flag for parameter in self.params for flag in parameter.opts}
        for flag in (argument.split("=")[0] for argument in args):
            if flag in _RENAMED_FLAGS and flag not in current:
                raise typer.BadParameter(f"{flag} is called {_RENAMED_FLAGS[flag]} now.", ctx)
            if flag.startswith("-") and not flag.isprintable():  # typer would print it as it is
                raise typer.BadParameter(f"No such option: {visible(flag)}", ctx)
        return super().parse_args(ctx, args)


def group(
    name: str, default: str, help_text: str, shared: Collection[str] = (), backtest: Collection[str] = ()
) -> typer.Typer:
    """A group of commands that runs ``default`` unless the first argument names another command.

    The group's help describes those options of ``default`` whose parameters are in ``shared`` and not in ``backtest``,
    which `regimes backtest --help` describes. The help of a command only lists those that it has.
    """

    class Group(TyperGroup):
        def __init__(self, **options: Any) -> None:
            super().__init__(**options)
            self.shared: list[Any] = [copy(option) for option in self.commands[default].params if option.name in shared]
            for command in self.commands.values():
                hidden = [option for option in command.params if option.name in shared]
                for option in hidden:
                    option.hidden = True  # type: ignore[attr-defined]
                flags = ", ".join(option.opts[0] for option in hidden)
                command.epilog = f"Options that `regimes {name} --help` describes: {flags}" if hidden else None

        def parse_args(self, ctx: typer.Context, args: list[str]) -> list[str]:  # type: ignore[override]
            names_command = bool(args) and (args[0] in self.commands or args[0] == "--help")
            return super().parse_args(ctx, args if names_command else [default, *args])

        def format_help(self, ctx: Any, formatter: Any) -> None:
            super().format_help(ctx, formatter)
            if self.shared:
                from runners.terminal import print_table

                options = [option for option in self.shared if option.name not in backtest]
                rows = [(" / ".join([*option.opts, *option.secondary_opts]), option.help) for option in options]
                rows += [("sizes, stops, limits", "`regimes backtest --help` describes them.")] if backtest else []
                print_table("", ["shared option", "meaning"], rows, folded="meaning")

    return typer.Typer(cls=Group, name=name, help=help_text, add_completion=False)
