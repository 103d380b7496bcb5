"""The `regimes` command, made of the commands beside it; each imports what it does only when it runs."""

import typer

from runners.backtest import backtest
from runners.check import check
from runners.command import run_app
from runners.compare import compare
from runners.demo import demo
from runners.evaluate import evaluate
from runners.retrain import retrain
from runners.runs import app as runs
from runners.train import train

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="One LSTM per market regime, trained, backtested and compared on candles that it never saw.",
)
for command in (train, evaluate, backtest, compare, retrain, check, demo):
    app.command()(command)
app.add_typer(runs, name="runs")


def main() -> None:
    run_app(app)
