"""`regimes backtest`: trade the unseen bars of a CSV, and write the run's folder."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from runners.backtesting.settings import BacktestSettings
from runners.commands.options import (
    CandlesArgument,
    ConfigOption,
    HomeOption,
    JsonOption,
    MlflowOption,
    NoteOption,
    SortOption,
    with_settings,
)
from runners.workspace.settings import make_settings
from runners.workspace.workspace import Home

if TYPE_CHECKING:
    import pandas as pd

    from runners.backtesting.engine import Backtest
    from runners.backtesting.runs import Run, Trials

_FORECASTING = ("blend", "regime_source", "in_sample")


@with_settings(BacktestSettings)
def backtest(
    file: CandlesArgument = None,
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
    note: NoteOption = "",
    json: JsonOption = False,
    mlflow: MlflowOption = None,
    *,
    flags: dict[str, Any],
) -> None:
    """Trade the bars that training never saw, and write a report."""
    from data.errors import SettingsError
    from runners.backtesting.runs import find_run
    from runners.tracking.mlflow import log_run, open_store

    place = Home.find(home)
    in_file = place.given(config)
    given = in_file.content
    if config and "walk_forward" in given and "fingerprint" in given:
        raise SettingsError(
            f"{config}: describes a walk-forward; repeat it with regimes walk-forward --config {config}"
        )
    recorded: Run | None = None
    if forecasts:
        _refuse_beside_forecasts(
            file=file, models=models, config=config, **{name: flags[name] for name in _FORECASTING}
        )
        given = {}
        recorded = find_run(place.results, forecasts)
        settings = make_settings(BacktestSettings, recorded.config["backtest"], recorded.id, flags)
    else:
        settings = in_file.make(BacktestSettings, "backtest", flags)
        if "forecasts" in given and not models:
            recorded = find_run(place.results, given["forecasts"])
    store = open_store(mlflow) if mlflow else None
    repeated = given.get("fingerprint")
    if recorded:
        chosen_from = given.get("chosen_from", 0)
        folder = trade_forecasts(
            place, recorded, settings, chosen_from=chosen_from, repeated=repeated, note=note, json=json
        )
    else:
        candle_file = place.candle_file(file or given.get("file"))
        models = models or Path(given.get("models", place.trained / candle_file.stem))
        folder = backtest_file(place, candle_file, models, settings, sort=sort, repeated=repeated, note=note, json=json)
    if store:
        log_run(store, find_run(place.results, str(folder)))


def _refuse_beside_forecasts(**given: object) -> None:
    """What makes forecasts, or says where they are from, has no meaning where they are there already."""
    from data.errors import SettingsError

    for name, value in given.items():
        if value is not None:
            what = "FILE.csv" if name == "file" else f"--{name.replace('_', '-')}"
            raise SettingsError(f"{what} cannot be given with --forecasts, whose run has its candles and forecasts.")


def backtest_file(
    home: Home,
    file: Path,
    models: Path,
    settings: BacktestSettings,
    *,
    sort: bool = False,
    repeated: str | None = None,
    note: str = "",
    json: bool = False,
) -> Path:
    """Backtest one CSV, write the run into the home and print its figures; gives the run's folder.

    ``repeated`` is the fingerprint of the candles of a run that this one is to repeat.
    """
    from data.candles import read_candles
    from data.files import require_writable
    from models.model_set import find_model_set
    from runners.terminal import tell_doubts, working

    require_writable(home.results / file.stem)
    candles = read_candles(file, sort=sort)
    tell_doubts(file, candles)
    tell_if_changed(file, candles, repeated)
    with working("trading"):
        result, trials, folder = backtest_candles(home, file, candles, find_model_set(models), settings, note=note)
    _print_run(result, trials, folder, json=json)
    return folder


def backtest_candles(
    home: Home,
    file: Path,
    candles: "pd.DataFrame",
    models: Path,
    settings: BacktestSettings,
    *,
    note: str = "",
) -> "tuple[Backtest, Trials, Path]":
    """Backtest candles that came from ``file`` and write the run into the home, as one of their dataset's."""
    from dataclasses import replace

    from models.model_set import ModelSet
    from runners.backtesting.compatibility import require_fit
    from runners.backtesting.engine import backtest as simulate

    model_set = ModelSet.load(models)
    require_fit(file, candles, model_set, regime_source=settings.regime_source)
    result = simulate(candles, model_set, settings)
    result = replace(result, source=replace(result.source, dataset=file.stem))
    trials, folder = write_run(home.results, file, result, {"models": str(models.resolve())}, note=note)
    return result, trials, folder


def trade_forecasts(
    home: Home,
    run: "Run",
    settings: BacktestSettings,
    *,
    chosen_from: int = 0,
    repeated: str | None = None,
    note: str = "",
    json: bool = False,
) -> Path:
    """Trade a run's recorded forecasts anew, write that run and print its figures; gives the new run's folder.

    ``repeated`` as in `backtest_file`.
    """
    from data.files import require_writable
    from runners.backtesting.grid import own_candles
    from runners.backtesting.replay import replay
    from runners.terminal import working

    require_writable(home.results / run.dataset)
    candles = own_candles(run)
    tell_if_changed(run.file, candles, repeated)
    with working("trading"):
        result = replay(run, candles, settings, chosen_from=chosen_from)
        trials, folder = write_replay(home.results, run, result, note=note)
    _print_run(result, trials, folder, json=json)
    return folder


def tell_if_changed(file: Path, candles: "pd.DataFrame", repeated: str | None) -> None:
    """Say, before anything is done, that the candles are not those that were traded before."""
    from data.candles import fingerprint
    from runners.terminal import notice

    if repeated is not None and repeated != fingerprint(candles):
        notice(f"{file} has changed since the run that is to be repeated; this is not a repetition of it.")


def _print_run(result: "Backtest", trials: "Trials", folder: Path, *, json: bool) -> None:
    from runners.report.write_run import metrics_json
    from runners.terminal import print_backtest, print_json

    if json:
        worth = {"tries": trials.count, "deflated_sharpe": trials.deflated_sharpe(result.metrics)}
        print_json({"run": folder.name, "folder": str(folder), **worth, **metrics_json(result)})
    else:
        print_backtest(result, trials, folder)


def write_replay(results: Path, run: "Run", result: "Backtest", *, note: str) -> "tuple[Trials, Path]":
    """As `write_run`, of a backtest that traded the recorded forecasts of ``run``."""
    return write_run(results, run.file, result, {"forecasts": str(run.folder.resolve())}, note=note)


def write_run(
    results: Path, file: Path, result: "Backtest", origin: "Mapping[str, Any]", *, note: str = ""
) -> "tuple[Trials, Path]":
    """Write a backtest of candles that came from ``file``; gives its folder, and what was tried on its bars.

    ``origin`` as in `runners.report.write_run.write_backtest`.
    """
    from runners.backtesting.runs import Trials, read_tries
    from runners.report.write_run import write_backtest

    index, tries = result.equity.index, read_tries(results / result.source.dataset)
    trials = Trials.of(tries, result.metrics, result.source.training, index[0], index[-1])
    folder = write_backtest(result, trials, results, candle_file=file, origin=origin, note=note)
    return trials, folder
