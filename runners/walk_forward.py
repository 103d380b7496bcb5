"""`regimes walk-forward`: retrain on a schedule, forecast what follows each time, and trade it all as one backtest."""

from typing import Annotated, Any

import typer

from runners.command import ConfigOption, HomeOption, SortOption, run_alone, with_settings
from runners.home import Home
from runners.settings import CONFIG_NAME, BacktestSettings, TradingSettings, make_settings, read_config
from training.settings import TrainSettings, WalkForwardSettings


@with_settings(WalkForwardSettings, TrainSettings, TradingSettings)
def walk_forward(
    files: Annotated[
        list[str] | None,
        typer.Argument(metavar="[FILE.csv]...", help="Candles; default: every CSV in data/csv.", show_default=False),
    ] = None,
    home: HomeOption = None,
    config: ConfigOption = None,
    jobs: Annotated[
        int | None, typer.Option(min=1, help="Networks trained side by side; default: one a core.", show_default=False)
    ] = None,
    cluster: Annotated[
        str | None, typer.Option(help="Train on the Dask cluster at this address, tcp://host:port.", show_default=False)
    ] = None,
    keep_models: Annotated[
        bool, typer.Option("--keep-models", help="Keep each fold's models in models/trained.")
    ] = False,
    sort: SortOption = False,
    note: Annotated[str, typer.Option(help="Something to remember of the run.", show_default=False)] = "",
    *,
    flags: dict[str, Any],
) -> None:
    """Retrain on a schedule, and trade the bars after each training by its models alone."""
    from data.candles import read_candles
    from data.errors import DataError
    from runners.backtest import write_run
    from runners.checkpoint import Checkpoint
    from runners.compare import compare_runs
    from runners.console import notice, print_backtest, print_folds
    from runners.folds import fit_all, trade_folds
    from runners.registry import find_run

    place = Home.find(home)
    given = read_config(config) if config else place.config
    source = str(config or CONFIG_NAME)
    settings = make_settings(TrainSettings, given.get("train", {}), source, flags)
    schedule = make_settings(WalkForwardSettings, given.get("walk_forward", {}), source, flags)
    trading = make_settings(BacktestSettings, given.get("backtest", {}), source, flags)

    names = files or ([given["file"]] if "file" in given else [])
    paths = {path.stem: path for path in [place.candle_file(name) for name in names] or place.candle_files()}
    if len(paths) < len(names):
        raise DataError(f"two of {', '.join(names)} have the same name; a file's name is that of its dataset.")
    series = {dataset: read_candles(path, sort=sort) for dataset, path in paths.items()}
    checkpoints = {
        dataset: Checkpoint(place.results, dataset, candles, settings, schedule) for dataset, candles in series.items()
    }
    model_sets = fit_all(series, settings, schedule, checkpoints, cluster=cluster, jobs=jobs)

    runs = []
    for dataset, candles in series.items():
        of_dataset = [model_set for fold, model_set in sorted(model_sets.items()) if fold.dataset == dataset]
        result = trade_folds(dataset, candles, of_dataset, settings, schedule, trading)
        if given.get("fingerprint") not in (None, result.fingerprint):
            notice(f"{paths[dataset]} has changed since the run that {source} describes; this does not repeat it.")
        lengths = schedule.for_bars(len(candles))._asdict()
        repeats = {"walk_forward": {**schedule.model_dump(), **lengths}, "train": settings.model_dump(mode="json")}
        trials, folder = write_run(place, paths[dataset], result, repeats, note=note)
        kept = place.trained / dataset / "walk_forward" / folder.name if keep_models else None
        checkpoints[dataset].close(kept)
        print_backtest(result, trials, folder)
        print_folds(result, kept)
        runs.append(find_run(place.results, str(folder)))
    if len(runs) > 1:
        compare_runs(place, {"walk-forward": runs})


if __name__ == "__main__":
    run_alone(walk_forward)
