"""`make bench`: measures, prints a table and writes ``results/bench.json``."""

from __future__ import annotations

import json
import platform
import sys
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory

import pandas as pd
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from data.candles import read_candles
from data.samples import SP500, sp500_candles
from data.synthetic import VISIBLE
from tests.benchmarks import measures
from tests.benchmarks.measures import Measure
from training.prepare import prepare
from training.provenance import git_commit, package_versions
from training.settings import TrainSettings
from training.trainer import train


def measure_set(name: str, candles: pd.DataFrame) -> list[Measure]:
    prepared = prepare(candles, name, TrainSettings(members=1))
    models = train(candles, name)
    tutorials = measures.tutorial_runs(prepared)
    with TemporaryDirectory() as workspace:
        swept = measures.sweep_time(Path(workspace), candles, models)
    return [
        measures.training_time(prepared, tutorials),
        *measures.backtest_time(candles, models, prepared, tutorials[0]),
        measures.forecast_time(candles, models),
        measures.live_step_time(candles, models),
        swept,
    ]


def measure_all() -> dict[str, list[Measure]]:
    sp500 = sp500_candles()
    found = {"any candles": [measures.help_time(), measures.training_memory(), *measures.growth()]}
    found[SP500] = measure_set(SP500, sp500)
    planted = VISIBLE.candles(8000, seed=1).drop(columns="regime")
    found["planted edge"] = measure_set("PLANTED", planted)
    if measures.BTC.exists():
        found[measures.BTC.stem] = measure_set(measures.BTC.stem, read_candles(measures.BTC))
    return found


def main() -> int:
    found = measure_all()
    console = Console()
    for name, some in found.items():
        table = Table("", "measured", "must", "aim", "", title=name, title_justify="left", box=SIMPLE_HEAD)
        for one in some:
            at = ">=" if one.more_is_better else "<="
            what = f"{one.what}\n[dim]  {one.told}[/dim]" if one.told else one.what
            table.add_row(what, f"{one.value:.3g} {one.unit}", f"{at} {one.must:g}", f"{one.aim:g}", one.verdict)
        console.print(table)
    told = {name: [{**asdict(one), "verdict": one.verdict} for one in some] for name, some in found.items()}
    software = {"versions": package_versions(), "commit": git_commit()}
    machine = {"machine": platform.machine(), "cores": measures.CORES, **software}
    Path("results/bench.json").write_text(json.dumps({"measures": told, **machine}, indent=2) + "\n")
    return any(one.verdict == "MISSED" for some in found.values() for one in some)


if __name__ == "__main__":
    sys.exit(main())
