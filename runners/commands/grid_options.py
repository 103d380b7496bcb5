"""Options of the commands that trade a grid of settings on a run's forecasts; its own values are always in it."""

from typing import Annotated, Any

import typer


def _values(what: str, example: str) -> Any:
    return typer.Option(
        metavar="VALUES", help=f"{what}: {example} or first:last:count; default: the run's own.", show_default=False
    )


def _thresholds(side: str) -> Any:
    help_text = f"{side} thresholds: 0.001,0.002 or first:last:count; default: 20 over the size of the forecasts."
    return typer.Option(metavar="VALUES", help=help_text, show_default=False)


RunArgument = Annotated[str, typer.Argument(metavar="RUN", help="Folder or id of a run, or a dataset for its newest.")]
LongThresholds = Annotated[str | None, _thresholds("Long")]
ShortThresholds = Annotated[str | None, _thresholds("Short")]
Between = Annotated[str | None, typer.Option(metavar="hold,flat", help="Default: both.", show_default=False)]
Exposures = Annotated[str | None, _values("Exposures", "0.5,0.95")]
Commissions = Annotated[str | None, _values("Commissions", "0,0.001")]
Slippages = Annotated[str | None, _values("Slippages", "0,0.0005")]
BorrowRates = Annotated[str | None, _values("Fees a bar for short positions", "0,0.0001")]
