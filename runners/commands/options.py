"""What every command of `regimes` has in common: options out of settings, and mistakes told in one line."""

import functools
import inspect
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin

import typer
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from data.errors import RegimesError

CandlesArgument = Annotated[
    str | None,
    typer.Argument(metavar="[FILE.csv]", help="Candles, or a dataset's name in data/csv.", show_default=False),
]
HomeOption = Annotated[
    Path | None,
    typer.Option(help="Workplace with data/csv, models/trained and results; default: here.", show_default=False),
]
ConfigOption = Annotated[
    Path | None,
    typer.Option(help="TOML file with the settings; default: regimes.toml of the home.", show_default=False),
]
SortOption = Annotated[bool, typer.Option("--sort", help="Sort the CSV's rows by time instead of refusing.")]
JobsOption = Annotated[
    int | None, typer.Option(min=1, help="Networks trained side by side; default: one a core.", show_default=False)
]
NoteOption = Annotated[str, typer.Option(help="Something to remember of the run.", show_default=False)]
MlflowOption = Annotated[
    str | None, typer.Option(metavar="URI", help="Log the run in this MLflow store, too.", show_default=False)
]
_VerboseOption = Annotated[bool, typer.Option("--verbose", help="Show where an error comes from.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")]


# What is told in one line: a user's mistakes, and what the system refuses, such as a file that may not be read.
_MISTAKES = (RegimesError, OSError)


def with_settings(*kinds: type[BaseModel]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command one option per field of these settings; it receives those that were used in the dict ``flags``.

    A field that is a table has none: it belongs into a file.
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
        setattr(run, "__signature__", inspect.Signature(own))  # noqa: B010  typer reads it, types do not know it
        run.__annotations__ = {parameter.name: parameter.annotation for parameter in own}
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


def verbosely(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the option ``--verbose``, which shows where an error comes from."""

    @functools.wraps(command)
    def run(*, verbose: bool, **given: Any) -> None:
        try:
            command(**given)
        except _MISTAKES as error:
            if verbose:
                error.__suppress_context__ = False
                traceback.print_exception(error)
            raise

    own = inspect.signature(command, eval_str=True).parameters.values()
    verbose = inspect.Parameter("verbose", inspect.Parameter.KEYWORD_ONLY, default=False, annotation=_VerboseOption)
    setattr(run, "__signature__", inspect.Signature([*own, verbose]))  # noqa: B010  as above
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in [*own, verbose]}
    return run


def run_app(app: typer.Typer) -> None:
    """Run a command line.

    A user's mistake, and what the system refuses, is one line on standard error and exit status 2; a fault of ours is
    a traceback and 3.
    """
    try:
        app()
    except _MISTAKES as error:
        from runners.terminal import err

        told = f"{error.filename}: {error.strerror}." if isinstance(error, OSError) and error.filename else error
        err.print(f"Error: {told}", style="red", soft_wrap=True, markup=False)
        sys.exit(2)
    except Exception:
        traceback.print_exc()
        print("This is a fault of regimes. Please report it with what `regimes doctor` prints.", file=sys.stderr)
        sys.exit(3)
