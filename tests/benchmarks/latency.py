"""What a user waits for: forecasts, a live step, commands, and a backtest of a million bars."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd

from data.samples import SP500, sp500_candles
from models import Forecaster
from models.model_set import ModelSet
from runners.backtesting.engine import backtest
from strategies.settings import TradingSettings
from strategies.vote import Vote
from tests.benchmarks.comparison import REGIMES, Figure, at_most, cost_alone, cost_of, cost_of_command
from tests.benchmarks.subject import Subject, many_candles, write_csv
from training import train

_STEPS = 1000
_ROUNDS = 5
_EMPTY_COMMANDS = """
import typer
app = typer.Typer()
for number in range(20):
    app.command(name=f"command{number}", help="A summary.")(lambda: None)
app()
"""
_LARGE, _SEEN = 1_000_000, 4000  # bars, and those that the models are trained on


def figures(subject: Subject) -> list[Figure]:
    return [_forecast(subject), _live_step(subject), _help(), *_backtest_command(), *_large_backtest()]


def _forecast(subject: Subject) -> Figure:
    """All bars, features and regimes included."""
    forecaster = Forecaster(subject.models)
    costs = [cost_of(partial(forecaster.forecast, subject.candles)) for _ in range(1 + _ROUNDS)][1:]
    told = f"{median(one.cpu for one in costs):.2f} s CPU"
    what = f"forecast of {len(subject.candles):,} bars, five members"
    return Figure(what, median(one.wall for one in costs), "s wall", at_most(0.33), told)


def _live_step(subject: Subject) -> Figure:
    """From a closed candle to the decision, in process."""
    stream, rule, vote = Forecaster(subject.models).stream(subject.candles.iloc[:-_STEPS]), TradingSettings(), Vote()
    candles = subject.candles.iloc[-_STEPS:].reset_index().to_dict("records")
    took: list[tuple[float, float]] = []
    for candle in candles:
        cpu, begin = time.process_time(), time.perf_counter()
        known = stream.push(candle)
        vote = vote.cast(known.members, vote.mean, rule) if known else vote
        took.append((1000 * (time.process_time() - cpu), 1000 * (time.perf_counter() - begin)))
    cpu, wall = np.median(took, axis=0)
    slow = np.quantile([each for _, each in took], 0.99)
    told = f"{wall:.2f} ms wall, 99 of 100 under {slow:.2f} ms; the aim is 0.3 ms"
    return Figure("live step, candle to decision, five members", float(cpu), "ms CPU", at_most(0.6), told)


def _help() -> Figure:
    bare, empty = (sys.executable, "-c", "import typer, rich"), (sys.executable, "-c", _EMPTY_COMMANDS, "--help")
    commands = (REGIMES, "--help"), bare, empty
    costs = [[cost_of_command(*command).cpu for command in commands] for _ in range(_ROUNDS)]
    told = "regimes: {:.2f} s, bare: {:.2f} s, typer's help of 20 empty commands: {:.2f} s".format(
        *np.median(costs, axis=0)
    )
    value = median(ours - bare for ours, bare, _ in costs)
    return Figure("`regimes --help` beyond a bare `import typer, rich`", value, "s CPU", at_most(0.08), told)


def _backtest_command() -> list[Figure]:
    """The demo's backtest, with models trained before."""
    candles = sp500_candles()
    with TemporaryDirectory() as folder:
        workspace = Path(folder)
        write_csv(candles, workspace / "data" / "csv" / f"{SP500}.csv")
        train(candles, SP500).save(workspace / "models" / "trained")
        command = (REGIMES, "backtest", SP500, "--workspace", folder)
        costs = [cost_of_command(*command) for _ in range(3)]
        timed = [_import_share([sys.executable, "-X", "importtime", *command]) for _ in range(3)]
    wall = f"{median(one.wall for one in costs):.2f} s wall, {costs[0].peak / 1e9:.2f} GB"
    return [
        Figure("`regimes backtest` of the demo", median(one.cpu for one in costs), "s CPU", told=wall),
        Figure("the same, share of imports", 100 * median(timed), "% of the time"),
    ]


def _import_share(command: list[str]) -> float:
    begin = time.perf_counter()
    ran = subprocess.run(command, check=True, capture_output=True, text=True)
    seconds = time.perf_counter() - begin
    own = re.findall(r"^import time:\s+(\d+) \|", ran.stderr, re.MULTILINE)
    return sum(map(int, own)) / 1e6 / seconds


def _large_backtest() -> list[Figure]:
    with TemporaryDirectory() as folder:
        candles = many_candles(_LARGE)
        train(candles.iloc[:_SEEN], "LARGE").write(Path(folder) / "models")
        cost, trades = cost_alone(backtest_all, candles, Path(folder) / "models")
    what = f"backtest of {_LARGE:,} bars, five members"
    told = f"{cost.wall:.0f} s wall, {trades:,} trades"
    return [
        Figure(what, cost.cpu, "s CPU", at_most(100), told),
        Figure(f"{what}: peak memory of the process", cost.peak / 1e9, "GB", at_most(0.7)),
    ]


def backtest_all(candles: pd.DataFrame, models: Path) -> int:
    """Backtest all bars after the training; gives the number of trades."""
    return len(backtest(candles, ModelSet.load(models)).trades)
