"""`regimes walk-forward`: retrain on a schedule, forecast what follows each time, and trade it all as one backtest."""

from pathlib import Path
from typing import Annotated, Any

import typer

from runners.backtesting.settings import BacktestSettings
from runners.commands.options import (
    ConfigOption,
    HomeOption,
    JobsOption,
    MlflowOption,
    NoteOption,
    SortOption,
    with_settings,
)
from runners.workspace.settings import make_settings
from runners.workspace.workspace import Home
from strategies.settings import TradingSettings
from training.settings import TrainSettings, WalkForwardSettings

_RANGE = {"start", "end", "in_sample"}  # of a backtest; a walk-forward trades the bars of its folds


@with_settings(WalkForwardSettings, TrainSettings, TradingSettings)
def walk_forward(
    files: Annotated[
        list[str] | None,
        typer.Argument(metavar="[FILE.csv]...", help="Candles; default: every CSV in data/csv.", show_default=False),
    ] = None,
    home: HomeOption = None,
    config: ConfigOption = None,
    jobs: JobsOption = None,
    cluster: Annotated[
        str | None, typer.Option(help="Train on the Dask cluster at this address, tcp://host:port.", show_default=False)
    ] = None,
    keep_models: Annotated[
        bool, typer.Option("--keep-models", help="Keep each fold's models in models/trained.")
    ] = False,
    sort: SortOption = False,
    note: NoteOption = "",
    mlflow: MlflowOption = None,
    *,
    flags: dict[str, Any],
) -> None:
    """Retrain on a schedule, and trade the bars after each training by its models alone."""
    from data.candles import read_candles
    from data.errors import DataError
    from data.files import require_writable
    from runners.backtesting.checkpoint import Checkpoint, fold_folder
    from runners.backtesting.runs import find_run
    from runners.backtesting.walk_forward import fit_all, require_regime_source, trade_folds
    from runners.commands.backtest import tell_if_changed, write_run
    from runners.commands.compare import compare_runs
    from runners.terminal import notice, print_backtest, print_folds, tell_doubts, working
    from runners.tracking.mlflow import log_run, open_store

    place = Home.find(home)
    given = place.given(config)
    settings = given.make(TrainSettings, "train", flags)
    schedule = given.make(WalkForwardSettings, "walk_forward", flags)
    table = {name: value for name, value in given.content.get("backtest", {}).items() if name not in _RANGE}
    trading = make_settings(BacktestSettings, table, given.source, flags)

    names = files or ([given.content["file"]] if "file" in given.content else [])
    paths = {path.stem: path for path in [place.candle_file(name) for name in names] or place.candle_files()}
    if len(paths) < len(names):
        raise DataError(f"two of {', '.join(names)} have the same name; a file's name is that of its dataset.")
    for dataset in paths:
        require_writable(place.results / dataset)
        if keep_models:
            require_writable(place.trained / dataset)
    series = {dataset: read_candles(path, sort=sort) for dataset, path in paths.items()}
    require_regime_source(series, trading)
    for dataset, candles in series.items():
        tell_doubts(paths[dataset], candles)
        if dataset == Path(given.content.get("file", "")).stem:
            tell_if_changed(paths[dataset], candles, given.content.get("fingerprint"))
    checkpoints = {
        dataset: Checkpoint(place.results, dataset, candles, settings, schedule, place.code)
        for dataset, candles in series.items()
    }
    store = open_store(mlflow) if mlflow else None
    model_sets = fit_all(series, settings, schedule, checkpoints, cluster=cluster, jobs=jobs)
    of_dataset = {
        dataset: [model_set for fold, model_set in sorted(model_sets.items()) if fold.dataset == dataset]
        for dataset in series
    }
    with working("trading"):
        results = {
            dataset: trade_folds(dataset, candles, of_dataset[dataset], settings, schedule, trading)
            for dataset, candles in series.items()
        }
    runs = []
    for dataset, result in results.items():
        lengths = schedule.for_bars(len(series[dataset]))._asdict()
        origin = {"walk_forward": {**schedule.model_dump(), **lengths}, "train": settings.model_dump(mode="json")}
        trials, folder = write_run(place.results, paths[dataset], result, origin, note=note)
        kept = place.trained / dataset / "walk_forward" / folder.name if keep_models else None
        if kept:
            for number, model_set in enumerate(of_dataset[dataset]):
                model_set.write(fold_folder(kept, number))
        checkpoints[dataset].remove()
        print_backtest(result, trials, folder)
        print_folds(result, kept)
        runs.append(find_run(place.results, str(folder)))
        if store:
            log_run(store, runs[-1])
    if len(runs) > 1:
        try:
            compare_runs(place, {"walk-forward": runs})
        except DataError as error:
            notice(str(error))
