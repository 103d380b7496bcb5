"""The `regimes` command, made of the commands beside it; each imports what it does only when it runs."""

from importlib.metadata import version
from typing import Annotated

import typer

from runners.backtest import backtest
from runners.check import check
from runners.command import run_app, verbosely
from runners.compare import compare
from runners.data import data
from runners.demo import demo
from runners.doctor import doctor
from runners.download import download
from runners.evaluate import evaluate
from runners.init import config, init
from runners.live.commands import app as live
from runners.optimize import optimize
from runners.overfit import overfit
from runners.retrain import retrain
from runners.runs import app as runs
from runners.sweep import sweep
from runners.train import train
from runners.walk_forward import walk_forward

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
for command in (
    download,
    train,
    optimize,
    evaluate,
    backtest,
    walk_forward,
    sweep,
    overfit,
    compare,
    retrain,
    check,
    demo,
    init,
    config,
    data,
    doctor,
):
    app.command()(verbosely(command))
app.add_typer(runs, name="runs")
app.add_typer(live, name="live")


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"regimes {version('regimes')}")
        raise typer.Exit


@app.callback()
def regimes(
    _: Annotated[
        bool, typer.Option("--version", help="Show the version.", callback=_show_version, is_eager=True)
    ] = False,
) -> None:
    """One LSTM per market regime, trained, backtested and compared on candles that it never saw."""


def main() -> None:
    run_app(app)
