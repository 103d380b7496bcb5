"""What is measured, each against what it must reach."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from statistics import median

import backtrader as bt
import numpy as np
import pandas as pd
from sklearn.preprocessing import StandardScaler

from data.features import DEFAULT_FEATURES, compute_features
from data.synthetic import VISIBLE
from models import Forecaster, ModelSet
from models.expert import expert_name
from models.forecaster import Forecast
from models.recorded import RecordedForecasts
from runners.backtesting.engine import Recorder, run_strategy
from runners.backtesting.grid import GridRun
from runners.backtesting.grid_figures import GridFigures
from runners.backtesting.runs import find_run
from runners.backtesting.settings import BacktestSettings
from runners.commands.backtest import backtest_candles
from runners.workspace.workspace import Workspace
from strategies import LSTMRegimeStrategy
from strategies.settings import AXES, TradingSettings
from strategies.vote import Vote
from tests.benchmarks.timing import in_turns, seconds
from tests.benchmarks.tutorial import FEATURES, Learnt, TutorialStrategy, feature_feed, train_network
from training.prepare import Prepared
from training.trainer import NetworkTask, Progress, fit_side_by_side, network_tasks, train

_TUTORIALS, _SEEDS = 5, 10  # trainings, each from another seed
CORES = os.cpu_count() or 1
BTC, ETH = (
    Path("../shared/data") / f"{name}.csv" for name in ("BTCUSDT_4h_20220101_20250707", "ETHUSDT_4h_20200101_20241231")
)

Epochs = list[tuple[float, float]]  # seconds since the start, and the validation loss, after each epoch of a network


@dataclass(frozen=True)
class Measure:
    """One figure, and what it must reach: at least ``must``, where ``more_is_better``, else at most."""

    what: str
    value: float
    unit: str
    must: float
    aim: float
    told: str = ""
    more_is_better: bool = False

    @property
    def verdict(self) -> str:
        def holds(bound: float) -> bool:
            return self.value >= bound if self.more_is_better else self.value <= bound

        return "aim reached" if holds(self.aim) else "reached" if holds(self.must) else "MISSED"


def tutorial_runs(prepared: Prepared) -> list[dict[int, Learnt]]:
    """The tutorial's training of every expert, `_TUTORIALS` times."""
    return [
        {
            regime: train_network(
                task.data.inputs, task.data.target, task.data.samples.train, task.data.samples.validation, seed
            )
            for regime, task in _experts(prepared).items()
        }
        for seed in range(_TUTORIALS)
    ]


def training_time(prepared: Prepared, tutorials: list[dict[int, Learnt]]) -> Measure:
    """Seconds until the experts' common validation loss is the best that the tutorial gets (its median over seeds).

    Not every run gets there. What is compared is the expected running time (Hansen et al. 2009, "Real-parameter
    black-box optimization benchmarking"): the seconds of all runs, up to where they arrive or to their end, over the
    number of runs that arrive. The tutorial trains one expert after another, ours all at once.
    """
    theirs = [_common(_one_after_another(run), prepared) for run in tutorials]
    ours = []
    for seed in range(_SEEDS):
        settings = prepared.settings.model_copy(update={"seed": seed})
        ours.append(_common(_our_epochs(replace(prepared, settings=settings)), prepared))
    wanted = median(min(loss for _, loss in run) for run in theirs)
    mine, reference = _expected_time(ours, wanted), _expected_time(theirs, wanted)
    told = f"{mine:.2f} s to a loss of {wanted:.4f}, the tutorial's {reference:.2f} s"
    return Measure("training to the tutorial's best loss", reference / mine, "x faster", 3, 10, told, True)


def _experts(prepared: Prepared) -> dict[int, NetworkTask]:
    """One network per expert, as the tutorial trains; ``prepared`` has one member."""
    return {member.regime: task for member, task in network_tasks(prepared).items() if member.regime is not None}


def _one_after_another(run: dict[int, Learnt]) -> dict[int, Epochs]:
    before, shifted = 0.0, {}
    for regime, learnt in run.items():
        shifted[regime] = [(before + at, loss) for at, loss in learnt.epochs]
        before = shifted[regime][-1][0]
    return shifted


def _our_epochs(prepared: Prepared) -> dict[int, Epochs]:
    tasks = _experts(prepared)
    epochs: dict[str, Epochs] = {}
    begin = time.perf_counter()

    def note(progress: Progress) -> None:
        epochs.setdefault(progress.name, []).append((time.perf_counter() - begin, progress.validation_loss))

    fit_side_by_side({task.member: task for task in tasks.values()}, CORES, note)
    return {regime: epochs[expert_name(regime)] for regime in tasks}


def _common(epochs: dict[int, Epochs], prepared: Prepared) -> Epochs:
    """The loss of all experts over all their validation bars, each at its best so far and at 1 until it has one."""
    weight = {
        regime: float(np.square(task.data.target[task.data.samples.validation]).sum())
        for regime, task in _experts(prepared).items()
    }
    best = dict.fromkeys(weight, 1.0)
    common = []
    for at, regime, loss in sorted((at, regime, loss) for regime, run in epochs.items() for at, loss in run):
        best[regime] = min(best[regime], loss)
        common.append((at, sum(weight[each] * best[each] for each in best) / sum(weight.values())))
    return common


def _expected_time(runs: list[Epochs], wanted: float) -> float:
    arrivals = [next((at for at, loss in run if loss <= wanted), None) for run in runs]
    spent = sum(run[-1][0] if at is None else at for run, at in zip(runs, arrivals, strict=True))
    arrived = sum(at is not None for at in arrivals)
    return spent / arrived if arrived else float("inf")


class Replay(bt.Strategy):
    """Backtrader alone: orders that are known beforehand, by the number of their bar."""

    params = (("orders", None),)

    def next(self) -> None:
        size = self.p.orders.get(len(self))
        if size is not None:
            self.order_target_size(target=size)


class Noting(LSTMRegimeStrategy):
    """Keeps what it orders."""

    def __init__(self) -> None:
        super().__init__()
        self.orders: dict[int, float] = {}

    def wanted_size(self, forecast: Forecast, held: float) -> float:
        size = super().wanted_size(forecast, held)
        if size != held:
            self.orders[len(self)] = size
        return size


def backtest_time(
    candles: pd.DataFrame, models: ModelSet, prepared: Prepared, tutorial: dict[int, Learnt]
) -> list[Measure]:
    """The strategy over all candles: against Backtrader with its orders alone, and against the tutorial's strategy."""
    settings = BacktestSettings()

    def ours() -> None:
        run_strategy(candles, settings, LSTMRegimeStrategy, {"models": models})

    cerebro = bt.Cerebro(stdstats=False)
    run_strategy(candles, settings, Noting, {"models": models}, cerebro=cerebro)
    orders = cerebro.runstrats[0][0].orders
    features = compute_features(candles, FEATURES)
    scaler = StandardScaler().fit(features.iloc[prepared.split.train].dropna().to_numpy())
    networks = {regime: learnt.network for regime, learnt in tutorial.items()}
    target_scale = prepared.networks[None].target_scale

    def engine() -> None:
        run_strategy(candles, settings, Replay, {"orders": orders})

    def from_tutorial() -> None:
        cerebro = bt.Cerebro()
        cerebro.adddata(feature_feed(features, prepared.regimes, candles))
        cerebro.broker.setcash(settings.cash)
        cerebro.broker.setcommission(settings.commission)
        cerebro.broker.set_slippage_perc(settings.slippage)
        cerebro.addstrategy(TutorialStrategy, networks=networks, scaler=scaler, target_scale=target_scale)
        cerebro.addanalyzer(Recorder)
        cerebro.run()

    mine, alone = in_turns(ours, engine)
    theirs = seconds(from_tutorial)
    told = f"{mine:.2f} s, {len(orders)} orders"
    return [
        Measure("backtest against the engine alone", mine / alone, "x its time", 1.25, 1.1, told),
        Measure("backtest against the tutorial's", theirs / mine, "x faster", 3, 5, f"its {theirs:.2f} s", True),
    ]


def sweep_time(workspace: Path, candles: pd.DataFrame, models: ModelSet) -> Measure:
    """A thousand settings over the unseen bars, with their figures, in runs of Backtrader over the same bars."""
    file = workspace / "data" / "csv" / f"{models.dataset}.csv"
    file.parent.mkdir(parents=True)
    candles.to_csv(file, date_format="%Y-%m-%dT%H:%M:%SZ")
    saved = models.save(workspace / "models" / "trained")
    written = backtest_candles(Workspace.open(workspace), file, candles, models, saved, BacktestSettings())
    run = find_run(workspace / "results", written.folder.name)
    grid = GridRun.of(run, {**dict.fromkeys(AXES), "long_threshold": "0:0.003:499", "short_threshold": "-0.001"})
    recorded = RecordedForecasts(run.dataset, models.interval, run.forecasts())

    def sweep() -> None:
        figures = GridFigures(grid)
        for part in grid.simulate():
            figures.add(*part)
        figures.table()

    def one() -> None:
        run_strategy(grid.bars, run.settings, LSTMRegimeStrategy, {"models": recorded})

    many, single = in_turns(sweep, one)
    told = f"{many:.2f} s for {len(grid.grid):,} settings"
    return Measure("sweep of 1,000 settings", many / single, "Backtrader runs", 3, 1, told)


def forecast_time(candles: pd.DataFrame, models: ModelSet) -> Measure:
    """All bars, regimes and features included, on one core."""
    forecaster, cores = Forecaster(models), os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cores)})
    (took,) = in_turns(lambda: forecaster.forecast(candles))
    os.sched_setaffinity(0, cores)
    per_7704 = took * 7704 / len(candles)
    return Measure("forecast of 7,704 bars", per_7704, "s", 0.5, 0.1, f"measured on {len(candles):,}")


def live_step_time(candles: pd.DataFrame, models: ModelSet) -> Measure:
    """From a closed candle to the decision, in process."""
    n_steps = 1000
    stream, rule, vote = Forecaster(models).stream(candles.iloc[:-n_steps]), TradingSettings(), Vote()
    rows = candles.iloc[-n_steps:].to_dict("records")
    took = []
    for timestamp, row in zip(candles.index[-n_steps:], rows, strict=True):
        candle = {"timestamp": timestamp, **row}
        begin = time.perf_counter()
        known = stream.push(candle)
        vote = vote.cast(known.members, vote.mean, rule) if known else vote
        took.append(1000 * (time.perf_counter() - begin))
    told = f"99 of 100 under {np.quantile(took, 0.99):.2f} ms"
    return Measure("one live step", median(took), "ms", 2, 0.3, told)


def help_time() -> Measure:
    command = [sys.executable, "-c", "from runners.cli import app; app()", "--help"]
    (took,) = in_turns(lambda: subprocess.run(command, check=True, capture_output=True))
    return Measure("regimes --help", took, "s", 0.3, 0.15)


def many_candles(n_bars: int) -> pd.DataFrame:
    """As long as wanted: a planted series without the drift that would end at a price of 0."""
    return replace(VISIBLE, drift=(0.0, 0.0, 0.0)).candles(n_bars, seed=0).drop(columns="regime")


def training_memory() -> Measure:
    """The most that a process holds that trains on 500,000 bars, itself and the packages included."""
    code = """
import resource
from tests.benchmarks.measures import many_candles
from training import TrainSettings, train
candles = many_candles(500_000)
train(candles, "LARGE", TrainSettings(epochs=1))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6)
"""
    ran = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    return Measure("peak memory, training on 500,000 bars", float(ran.stdout), "GB", 1.5, 1.0)


def growth() -> list[Measure]:
    """Seconds a bar on 1,000,000 bars over those on 10,000: 1 is linear, and lower too, as fixed costs weigh less."""
    sizes = (10_000, 100_000, 1_000_000)
    whole = many_candles(sizes[-1])
    models = train(whole.iloc[:4000], "PLANTED")
    forecaster = Forecaster(models)
    names = models.detector.features
    observed = compute_features(whole, names).to_numpy()
    steps = {
        "features": lambda n: compute_features(whole.iloc[:n], DEFAULT_FEATURES),
        "regimes": lambda n: models.detector.filter(observed[:n]),
        "forecast": lambda n: forecaster.forecast(whole.iloc[:n]),
    }
    measures = []
    for name, step in steps.items():
        step(1000)
        per_bar = [min(seconds(partial(step, n)) for _ in range(3 if n < sizes[-1] else 1)) / n for n in sizes]
        told = ", ".join(f"{1e6 * each:.2f}" for each in per_bar) + " us a bar"
        measures.append(Measure(f"{name}, 10k to 1M bars", per_bar[-1] / per_bar[0], "x a bar", 1.5, 1.1, told))
    return measures
