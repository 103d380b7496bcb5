"""The `regimes` command. What a command does is imported when it runs, so that help comes at once."""

import inspect
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, get_args

import typer
from pydantic import BaseModel

from data.errors import RegimesError
from runners.home import Home
from runners.settings import BacktestSettings
from training.settings import TrainSettings

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="One LSTM per market regime, trained, backtested and compared on candles that it never saw.",
)

HomeOption = Annotated[
    Path | None,
    typer.Option(help="Workplace with data/csv, models/trained and results; default: here.", show_default=False),
]
ConfigOption = Annotated[
    Path | None,
    typer.Option(help="TOML file with the settings; default: regimes.toml of the home.", show_default=False),
]
SortOption = Annotated[bool, typer.Option("--sort", help="Sort the CSV's rows by time instead of refusing.")]


def with_settings(kind: type[BaseModel]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command one option per field of ``kind``; it receives those that were used in the dict ``flags``."""

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        def run(**given: Any) -> None:
            flags = {name: given.pop(name) for name in kind.model_fields}
            command(**given, flags=flags)

        own = [p for p in inspect.signature(command).parameters.values() if p.name != "flags"]
        own += [
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=_option(name, kind))
            for name in kind.model_fields
        ]
        run.__name__, run.__doc__ = command.__name__, command.__doc__
        setattr(run, "__signature__", inspect.Signature(own))  # noqa: B010  typer reads it, types do not know it
        run.__annotations__ = {parameter.name: parameter.annotation for parameter in own}
        return run

    return decorate


def _option(name: str, kind: type[BaseModel]) -> Any:
    field = kind.model_fields[name]
    flag = "--" + name.replace("_", "-")
    default = ",".join(field.default) if isinstance(field.default, tuple) else field.default
    shown = False if default is None or default is False else str(default)
    if field.annotation is bool:
        option = typer.Option(f"{flag}/--no-{flag[2:]}", help=field.description, show_default=shown)
        return Annotated[bool | None, option]
    choices = [str(choice) for choice in get_args(field.annotation) if isinstance(choice, str)]
    metavar = f"[{'|'.join(choices)}]" if choices else None
    option = typer.Option(flag, help=field.description, show_default=shown, metavar=metavar)
    number = field.annotation if field.annotation in (int, float) else str
    return Annotated[number | None, option]


@app.command()
@with_settings(TrainSettings)
def train(
    files: Annotated[
        list[str] | None,
        typer.Argument(metavar="[FILE.csv]...", help="Candles; default: every CSV in data/csv.", show_default=False),
    ] = None,
    home: HomeOption = None,
    config: ConfigOption = None,
    jobs: Annotated[
        int | None, typer.Option(min=1, help="Networks trained side by side; default: one a core.", show_default=False)
    ] = None,
    sort: SortOption = False,
    *,
    flags: dict[str, Any],
) -> None:
    """Train one LSTM per regime from a CSV of candles."""
    from runners.train import run_train

    run_train(Home.find(home), files or [], flags, config=config, jobs=jobs, sort=sort)


@app.command()
@with_settings(BacktestSettings)
def backtest(
    file: Annotated[
        str | None,
        typer.Argument(metavar="[FILE.csv]", help="Candles, or a dataset's name in data/csv.", show_default=False),
    ] = None,
    home: HomeOption = None,
    config: ConfigOption = None,
    models: Annotated[
        Path | None, typer.Option(help="Model set; default: the dataset's newest.", show_default=False)
    ] = None,
    sort: SortOption = False,
    *,
    flags: dict[str, Any],
) -> None:
    """Trade the bars that training never saw, and write a report."""
    from runners.backtest import run_backtest

    run_backtest(Home.find(home), file, flags, config=config, models=models, sort=sort)


@app.command()
def demo(home: HomeOption = None) -> None:
    """Train and backtest on daily S&P 500 candles, 1999 to 2018, without a download."""
    from runners.demo import run_demo

    run_demo(Home.find(home))


def main(command: str | None = None) -> None:
    """Run the command line, or one command of it; a user's mistake is one line and exit status 1."""
    arguments = [command, *sys.argv[1:]] if command else None
    try:
        app(arguments)
    except RegimesError as error:
        from runners.console import err

        err.print(f"Error: {error}", style="red", soft_wrap=True, markup=False)
        sys.exit(1)
