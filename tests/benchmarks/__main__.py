"""`make bench`: measures, prints a table and writes ``results/bench.json``."""

from __future__ import annotations

import json
import platform
import sys
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory

import pandas as pd
from rich.console import Console
from rich.table import Table
from threadpoolctl import threadpool_limits

from data.candles import read_candles
from data.samples import SP500, sp500_candles
from tests.benchmarks import measures
from tests.benchmarks.measures import Measure
from training.prepare import prepare
from training.settings import TrainSettings
from training.train import software, train

_BTC = Path("../shared/data/BTCUSDT_4h_20220101_20250707.csv")


def measure_set(name: str, candles: pd.DataFrame) -> list[Measure]:
    prepared = prepare(candles, name, TrainSettings())
    models = train(candles, name)
    tutorial = measures.tutorial_runs(prepared)
    with TemporaryDirectory() as home:
        swept = measures.sweep_time(Path(home), candles, models)
    return [
        measures.training_time(prepared, tutorial),
        *measures.backtest_time(candles, models, prepared, tutorial),
        measures.forecast_time(candles, models),
        measures.live_step_time(candles, models),
        swept,
    ]


def measure_all() -> dict[str, list[Measure]]:
    sp500 = sp500_candles()
    found = {"": [measures.help_time(), measures.training_memory(), *measures.growth()]}
    found[SP500] = measure_set(SP500, sp500)
    if _BTC.exists():
        found[_BTC.stem] = measure_set(_BTC.stem, read_candles(_BTC))
    return found


def main() -> int:
    found = measure_all()
    console = Console()
    for name, some in found.items():
        table = Table(title=name or "whatever the candles", title_justify="left")
        for column in ("what", "value", "must", "aim", "", "how"):
            table.add_column(column)
        for one in some:
            at = "at least" if one.more_is_better else "at most"
            value = f"{one.value:.3g} {one.unit}"
            table.add_row(one.what, value, f"{at} {one.must:g}", f"{one.aim:g}", one.verdict, one.told)
        console.print(table)
    told = {name or "any": [{**asdict(one), "verdict": one.verdict} for one in some] for name, some in found.items()}
    machine = {"machine": platform.machine(), "cores": measures.CORES, **software()}
    Path("results/bench.json").write_text(json.dumps({"measures": told, **machine}, indent=2) + "\n")
    return any(one.verdict == "MISSED" for some in found.values() for one in some)


if __name__ == "__main__":
    with threadpool_limits(1, user_api="blas"):
        sys.exit(main())
