"""`regimes backtest`: trade the unseen bars of a CSV, and write the run's folder."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from runners.command import ConfigOption, HomeOption, SortOption, run_alone, with_settings
from runners.home import Home
from runners.settings import CONFIG_NAME, BacktestSettings, make_settings, read_config

if TYPE_CHECKING:
    import pandas as pd

    from runners.registry import Trials
    from runners.simulation import Backtest


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
    note: Annotated[str, typer.Option(help="Something to remember of the run.", show_default=False)] = "",
    *,
    flags: dict[str, Any],
) -> None:
    """Trade the bars that training never saw, and write a report."""
    from runners.console import notice

    place = Home.find(home)
    given = read_config(config) if config else place.config
    source = str(config or CONFIG_NAME)
    settings = make_settings(BacktestSettings, given.get("backtest", {}), source, flags)
    candle_file = place.candle_file(file or given.get("file"))
    models = models or Path(given.get("models", place.trained / candle_file.stem))
    fingerprint = backtest_file(place, candle_file, models, settings, sort=sort, note=note)
    if given.get("fingerprint") not in (None, fingerprint):
        notice(f"{candle_file} has changed since the run that {source} describes; this is not a repetition of it.")


def backtest_file(
    home: Home, file: Path, models: Path, settings: BacktestSettings, *, sort: bool = False, note: str = ""
) -> str:
    """Backtest one CSV, write the run into the home and print its table; gives the candles' fingerprint."""
    from data.candles import read_candles
    from models.model_set import find_model_set
    from runners.console import print_backtest

    candles = read_candles(file, sort=sort)
    result, trials, folder = backtest_candles(home, file, candles, find_model_set(models), settings, note=note)
    print_backtest(result, trials, folder)
    return result.fingerprint


def backtest_candles(
    home: Home,
    file: Path,
    candles: "pd.DataFrame",
    models: Path,
    settings: BacktestSettings,
    *,
    note: str = "",
) -> "tuple[Backtest, Trials, Path]":
    """Backtest candles that came from ``file`` and write the run into the home; gives its folder, too."""
    from models.model_set import ModelSet
    from runners.registry import Trials, read_tries
    from runners.report.write import write_backtest
    from runners.simulation import backtest as simulate

    result = simulate(candles, ModelSet.load(models), settings)
    index, earlier = result.equity.index, read_tries(home.results / result.model_set.dataset)
    trials = Trials.of(earlier, result.metrics, index[0], index[-1])
    folder = write_backtest(result, trials, home.results, candle_file=file, models=models, note=note)
    return result, trials, folder


if __name__ == "__main__":
    run_alone(backtest)
