"""`regimes backtest`: trade the unseen bars of a CSV, and write the run's folder."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from runners.command import ConfigOption, HomeOption, SortOption, run_alone, with_settings
from runners.home import Home
from runners.settings import CONFIG_NAME, BacktestSettings, make_settings, read_config

if TYPE_CHECKING:
    import pandas as pd

    from runners.registry import Run, Trials
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
    forecasts: Annotated[
        str | None,
        typer.Option(help="A run whose recorded forecasts to trade, in place of models.", show_default=False),
    ] = None,
    sort: SortOption = False,
    note: Annotated[str, typer.Option(help="Something to remember of the run.", show_default=False)] = "",
    *,
    flags: dict[str, Any],
) -> None:
    """Trade the bars that training never saw, and write a report."""
    from data.errors import SettingsError
    from runners.console import notice
    from runners.registry import find_run

    place = Home.find(home)
    given = read_config(config) if config else place.config
    source = str(config or CONFIG_NAME)
    if "walk_forward" in given:
        raise SettingsError(
            f"{source}: describes a walk-forward; repeat it with regimes walk-forward --config {source}"
        )
    settings = make_settings(BacktestSettings, given.get("backtest", {}), source, flags)
    recorded = forecasts or (None if models else given.get("forecasts"))
    if recorded:
        run = find_run(place.results, recorded)
        candle_file = run.file
        fingerprint = backtest_forecasts(place, run, settings, sort=sort, note=note)
    else:
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
    from runners.simulation import backtest as simulate

    result = simulate(candles, ModelSet.load(models), settings)
    trials, folder = write_run(home, file, result, {"models": str(models.resolve())}, note=note)
    return result, trials, folder


def backtest_forecasts(
    home: Home, run: "Run", settings: BacktestSettings, *, sort: bool = False, note: str = ""
) -> str:
    """Trade a run's recorded forecasts anew, write that run and print its table; gives the candles' fingerprint."""
    from data.candles import read_candles
    from runners.console import print_backtest

    result = replay(run, read_candles(run.file, sort=sort), settings)
    trials, folder = write_replay(home, run, result, note=note)
    print_backtest(result, trials, folder)
    return result.fingerprint


def replay(run: "Run", candles: "pd.DataFrame", settings: BacktestSettings) -> "Backtest":
    """Trade the forecasts that a run has recorded, with other settings."""
    import pandas as pd

    from data.candles import interval_of
    from models.recorded import RecordedForecasts
    from runners.simulation import Source, backtest_recorded

    interval = interval_of(pd.DatetimeIndex(candles.index))
    recorded = RecordedForecasts(run.dataset, interval, run.equity()[["regime", "forecast"]])
    return backtest_recorded(
        candles, recorded, settings, Source(run.dataset, interval, run.training), in_sample=run.in_sample
    )


def write_replay(home: Home, run: "Run", result: "Backtest", *, note: str) -> "tuple[Trials, Path]":
    """As `write_run`, of a backtest that traded the recorded forecasts of ``run``."""
    return write_run(home, run.file, result, {"forecasts": str(run.folder.resolve())}, note=note)


def write_run(
    home: Home, file: Path, result: "Backtest", forecasts: "Mapping[str, Any]", *, note: str = ""
) -> "tuple[Trials, Path]":
    """Write a backtest of candles that came from ``file`` into the home; gives its folder, and what was tried before.

    ``forecasts`` as in `runners.report.write.write_backtest`.
    """
    from runners.registry import Trials, read_tries
    from runners.report.write import write_backtest

    index, tries = result.equity.index, read_tries(home.results / result.source.dataset)
    trials = Trials.of(tries, result.metrics, result.source.training, index[0], index[-1])
    folder = write_backtest(result, trials, home.results, candle_file=file, forecasts=forecasts, note=note)
    return trials, folder


if __name__ == "__main__":
    run_alone(backtest)
