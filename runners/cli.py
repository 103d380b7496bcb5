"""The `regimes` command line."""

import typer

from runners.commands.backtest import backtest
from runners.commands.check import check
from runners.commands.compare import compare
from runners.commands.config import config, init
from runners.commands.data import data
from runners.commands.demo import demo
from runners.commands.doctor import doctor
from runners.commands.download import download
from runners.commands.evaluate import evaluate
from runners.commands.live import app as live
from runners.commands.optimize import optimize
from runners.commands.options import Command, regimes, reporting_errors
from runners.commands.overfit import overfit
from runners.commands.retrain import retrain
from runners.commands.runs import app as runs
from runners.commands.sweep import sweep
from runners.commands.train import train
from runners.commands.walk_forward import walk_forward

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False, callback=regimes)
for command in (  # in the order of the help
    *(download, train, optimize, evaluate, backtest, walk_forward, sweep, overfit, compare, retrain, check),
    *(demo, init, config, data, doctor),
):
    app.command(cls=Command)(reporting_errors(command))
app.add_typer(runs, name="runs")
app.add_typer(live, name="live")


if __name__ == "__main__":
    app()
