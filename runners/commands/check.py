"""`regimes check`: does a model set, or a user's own code, look ahead?"""

from pathlib import Path
from typing import Annotated

import typer

from runners.commands.options import HomeOption, SortOption
from runners.workspace.workspace import Home


def check(
    subject: Annotated[
        str | None,
        typer.Argument(
            metavar="[MODEL_SET | FILE.py]",
            help="A set's folder or a dataset's name, or a Python file with features, detectors or strategies; "
            "default: the newest set of the only CSV in data/csv.",
            show_default=False,
        ),
    ] = None,
    candles: Annotated[
        Path | None, typer.Option(help="Candles; default: the dataset's file in data/csv.", show_default=False)
    ] = None,
    models: Annotated[
        Path | None,
        typer.Option(help="Model set for strategies in FILE.py that trade one.", show_default=False),
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Fewer cuts and seeds, small networks.")] = False,
    home: HomeOption = None,
    sort: SortOption = False,
) -> None:
    """Look for look-ahead: exit status 0 if there is none, 1 if there is, 2 if it cannot be told."""
    from data.candles import read_candles
    from models.model_set import ModelSet
    from runners.lookahead.run import run_checks
    from runners.lookahead.target import of_file, of_model_set
    from runners.terminal import print_checks

    place = Home.find(home)
    if subject is not None and subject.endswith(".py"):
        file = place.candle_file(str(candles) if candles else None)
        own_set = ModelSet.load(models) if models else None
        checked = of_file(Path(subject), read_candles(file, sort=sort), own_set)
    else:
        model_set = ModelSet.load(place.model_set(subject, candles))
        checked = of_model_set(model_set, read_candles(place.candle_file(str(candles or model_set.dataset)), sort=sort))
    if not print_checks(checked.name, run_checks(checked, quick=quick)):
        raise typer.Exit(1)
