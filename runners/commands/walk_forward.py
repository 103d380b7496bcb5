"""`regimes walk-forward`: retrain on a schedule, and trade each training's forecasts of the next bars."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from runners.backtesting.settings import BacktestSettings
from runners.commands import options
from runners.workspace.workspace import GivenSettings, Workspace
from strategies.settings import TradingSettings
from training.settings import TrainSettings, WalkForwardSettings

if TYPE_CHECKING:
    import pandas as pd

    from models.model_set import ModelSet
    from runners.backtesting.result import Backtest
    from runners.backtesting.runs import Run
    from runners.backtesting.walk_forward import Checkpoint

_RANGE = {"start", "end", "in_sample"}  # settings of a backtest that a walk-forward ignores


@options.with_settings(WalkForwardSettings, TrainSettings, TradingSettings)
def walk_forward(
    datasets: options.DatasetsArgument = None,
    workspace_folder: options.WorkspaceOption = None,
    config: options.ConfigOption = None,
    jobs: options.JobsOption = None,
    cluster: Annotated[
        str | None, typer.Option(help="Train on the Dask cluster at this address, tcp://host:port.", show_default=False)
    ] = None,
    keep_models: Annotated[
        bool, typer.Option("--keep-models", help="Keep each fold's models in models/trained.")
    ] = False,
    note: options.NoteOption = "",
    tearsheet: options.TearsheetOption = True,
    mlflow: options.MlflowOption = None,
    *,
    flags: dict[str, Any],
) -> None:
    """Retrain on a schedule, and trade the bars after each training with its models."""
    from data.candles import read_candles
    from data.errors import DataError
    from runners.backtesting.walk_forward import Checkpoint, require_regime_source, trade_folds
    from runners.commands.backtest import add_tearsheet
    from runners.commands.compare import compare_runs
    from runners.terminal import notice, working
    from runners.tracking.mlflow import log_run, open_store

    workspace = Workspace.open(workspace_folder, config)
    given = workspace.given
    settings, schedule = given.make(TrainSettings, flags), given.make(WalkForwardSettings, flags)
    trading = _trading_settings(given, flags)
    files = _files(workspace, datasets, given, keep_models=keep_models)
    series = {dataset: read_candles(file) for dataset, file in files.items()}
    require_regime_source(series, trading)
    _warn(files, series, given)
    checkpoints = {
        dataset: Checkpoint(workspace.results, dataset, candles, settings, schedule, workspace.code)
        for dataset, candles in series.items()
    }
    store = open_store(mlflow) if mlflow else None
    model_sets = _fit(series, settings, schedule, checkpoints, cluster, jobs)
    with working("trading"):
        results = {
            dataset: trade_folds(dataset, candles, model_sets[dataset], settings, schedule, trading)
            for dataset, candles in series.items()
        }
    runs = []
    for dataset, result in results.items():
        lengths = schedule.for_bars(len(series[dataset]))._asdict()
        origin = {"walk_forward": {**schedule.model_dump(), **lengths}, "train": settings.model_dump(mode="json")}
        kept = model_sets[dataset] if keep_models else None
        repeats = dataset == Path(given.content.get("file", "")).stem
        chosen_from = given.content.get("chosen_from", 0) if repeats else 0
        runs.append(_write(workspace, files[dataset], result, origin, kept, chosen_from=chosen_from, note=note))
        checkpoints[dataset].remove()
        if tearsheet:
            add_tearsheet(result, runs[-1].folder)
        if store:
            log_run(store, runs[-1])
    if len(runs) > 1:
        try:
            compare_runs(workspace, {"walk-forward": runs})
        except DataError as error:
            notice(str(error))


def _trading_settings(given: GivenSettings, flags: dict[str, Any]) -> BacktestSettings:
    table = {name: value for name, value in given.content.get("backtest", {}).items() if name not in _RANGE}
    return BacktestSettings.from_table(table, given.source, flags)


def _files(
    workspace: Workspace, datasets: list[str] | None, given: GivenSettings, *, keep_models: bool
) -> dict[str, Path]:
    """The CSV of each dataset; raises a `StorageError` if a folder cannot be written."""
    from data.files import require_writable

    names = datasets or ([given.content["file"]] if "file" in given.content else [])
    files = {file.stem: file for file in workspace.candle_files(names)}
    for dataset in files:
        require_writable(workspace.results / dataset)
        if keep_models:
            require_writable(workspace.trained / dataset)
    return files


def _warn(files: dict[str, Path], series: "dict[str, pd.DataFrame]", given: GivenSettings) -> None:
    from data.candles import candle_warnings
    from runners.commands.backtest import warn_if_changed
    from runners.terminal import warn

    for dataset, candles in series.items():
        warn(candle_warnings(candles), files[dataset].name)
        if dataset == Path(given.content.get("file", "")).stem:
            warn_if_changed(files[dataset], candles, given.content.get("fingerprint"))


def _fit(
    series: "dict[str, pd.DataFrame]",
    settings: TrainSettings,
    schedule: WalkForwardSettings,
    checkpoints: "dict[str, Checkpoint]",
    cluster: str | None,
    jobs: int | None,
) -> "dict[str, list[ModelSet]]":
    """Each dataset's model sets in fold order; loads the folds of an interrupted run and trains the others."""
    from runners.backtesting.cluster import workers
    from runners.backtesting.walk_forward import finished_folds, fit_missing
    from runners.terminal import counting_progress, notice
    from training.walk_forward import folds_of

    totals = {dataset: len(folds_of(dataset, candles, schedule)) for dataset, candles in series.items()}
    model_sets, total = finished_folds(checkpoints), sum(totals.values())
    if model_sets:
        notice(f"{len(model_sets)} of {total} folds exist already, from an interrupted run.")
    if len(model_sets) < total:
        with workers(cluster, jobs), counting_progress("training folds", totals) as advance:
            for fold in model_sets:
                advance(fold.dataset)
            try:
                fit_missing(series, settings, schedule, checkpoints, model_sets, advance)
            except KeyboardInterrupt:
                notice(f"{len(model_sets)} of {total} folds are kept. Run the same command to resume.")
                raise
    return {
        dataset: [model_set for fold, model_set in sorted(model_sets.items()) if fold.dataset == dataset]
        for dataset in series
    }


def _write(
    workspace: Workspace,
    file: Path,
    result: "Backtest",
    origin: dict[str, Any],
    model_sets: "list[ModelSet] | None",
    *,
    chosen_from: int,
    note: str,
) -> "Run":
    """Write one dataset's run, and each fold's model set unless None, and print the figures of run and folds."""
    from runners.backtesting.runs import find_run
    from runners.backtesting.walk_forward import fold_folder
    from runners.commands.backtest import print_run
    from runners.report import fold_tables
    from runners.report.write_run import write_run
    from runners.terminal import print_path, print_table, say

    result, trials, folder = write_run(workspace.results, file, result, origin, chosen_from=chosen_from, note=note)
    models = workspace.trained / file.stem / "walk_forward" / folder.name
    for number, model_set in enumerate(model_sets or []):
        model_set.write(fold_folder(models, number))
    print_run(result, trials, folder)
    columns = ["fold", "from", "to", "loss", "Sharpe", "return", "holding"]
    shown = [fold_tables.FOLD_COLUMNS.index(name) for name in columns]
    print_table("each fold, after costs", columns, [[row[at] for at in shown] for row in fold_tables.folds(result)])
    for fold_note in fold_tables.fold_notes(result):
        say(fold_note)
    if model_sets:
        print_path("models", models)
    return find_run(workspace.results, str(folder))
