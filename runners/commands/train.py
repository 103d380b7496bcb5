"""`regimes train`: train a model set for each dataset."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from runners.commands import options
from runners.workspace.workspace import Workspace
from training.settings import NetworkSettings, TrainSettings

if TYPE_CHECKING:
    import pandas as pd

    from models.model_set import ModelSet
    from runners.search.best_settings import BestSettings


@options.with_settings(TrainSettings)
def train(
    datasets: options.DatasetsArgument = None,
    workspace_folder: options.WorkspaceOption = None,
    config: options.ConfigOption = None,
    jobs: options.JobsOption = None,
    from_study: Annotated[
        bool, typer.Option("--from-study", help="Train with the best settings of `regimes optimize`.")
    ] = False,
    sort: options.SortOption = False,
    tensorboard: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Log losses for TensorBoard to this folder.", show_default=False)
    ] = None,
    *,
    flags: dict[str, Any],
) -> None:
    """Train one LSTM per regime on each CSV of candles."""
    workspace = Workspace.open(workspace_folder, config)
    given = workspace.given
    for file in workspace.candle_files(datasets):
        if from_study:
            searched = _newest_study(workspace, file, flags)
            settings = TrainSettings.from_table(searched.table, f"study {searched.study.id}", flags)
        else:
            searched, settings = None, given.make(TrainSettings, flags)
        train_file(workspace, file, settings, searched=searched, jobs=jobs, sort=sort, tensorboard=tensorboard)


def _newest_study(workspace: Workspace, file: Path, flags: dict[str, Any]) -> "BestSettings":
    """The best settings of the dataset's last search; raise a `SettingsError` if a flag would override them."""
    from data.errors import SettingsError
    from runners.search.best_settings import BestSettings

    for name in NetworkSettings.model_fields:
        if flags[name] is not None:
            raise SettingsError(f"--{name.replace('_', '-')} cannot be used with --from-study: the study sets it.")
    return BestSettings.newest(workspace.results, file.stem)


def train_file(
    workspace: Workspace,
    file: Path,
    settings: TrainSettings,
    *,
    searched: "BestSettings | None" = None,
    jobs: int | None = None,
    sort: bool = False,
    tensorboard: Path | None = None,
) -> Path:
    """Train on one CSV, save the model set as the dataset's ``latest``, print its table, and return its folder.

    Options as in `train_candles`.
    """
    from data.candles import read_candles
    from data.files import mark_latest

    candles = read_candles(file, sort=sort)
    folder = train_candles(workspace, file, candles, settings, searched=searched, jobs=jobs, tensorboard=tensorboard)
    mark_latest(folder)
    return folder


def train_candles(
    workspace: Workspace,
    file: Path,
    candles: "pd.DataFrame",
    settings: TrainSettings,
    *,
    searched: "BestSettings | None" = None,
    jobs: int | None = None,
    tensorboard: Path | None = None,
) -> Path:
    """Train on the candles of ``file``, write the model set, print its table, and return its folder.

    The set is not the dataset's ``latest`` yet. ``searched`` is the study that the settings come from; ``tensorboard``
    is a folder for TensorBoard's logs.
    """
    from contextlib import nullcontext

    import pandas as pd

    from data.calendar import missing_bars
    from data.candles import candle_warnings, interval_of, interval_text
    from data.files import require_writable
    from models.forecaster import regime_warnings
    from runners.terminal import notice, training_progress, warn
    from runners.tracking.tensorboard import TensorBoardLog
    from training.trainer import Progress
    from training.trainer import train as train_model_set

    require_writable(workspace.trained / file.stem)
    log = TensorBoardLog(tensorboard, file.stem, settings) if tensorboard else None
    index = pd.DatetimeIndex(candles.index)
    missing = missing_bars(index)
    if missing:
        interval = interval_text(interval_of(index))
        notice(f"{file.name}: {missing} bars of {interval} are missing (market closed, or gaps); they are not filled.")
    warn(candle_warnings(candles), file.name)
    if searched:
        searched.require_unseen_test_part(candles, settings, file.name)
        notice(f"settings from study {searched.study.id}")
    with log or nullcontext():
        with training_progress(file.stem, settings.epochs) as update_bar:

            def on_epoch(report: Progress) -> None:
                update_bar(report)
                if log:
                    log.on_epoch(report)

            study = searched.study if searched else None
            model_set = train_model_set(candles, file.stem, settings, study=study, jobs=jobs, progress=on_epoch)
        folder = model_set.save(workspace.trained, promote=False)
        if log:
            log.end(model_set, folder)
    _print(model_set, folder)
    if model_set.detector.name == "labels":
        warn(regime_warnings(candles, model_set), file.name)
    return folder


def _print(model_set: "ModelSet", folder: Path) -> None:
    from runners.report import backtest_tables
    from runners.terminal import print_path, print_table, say

    title = f"{model_set.dataset}\nloss relative to the zero forecast's; below 1 is better"
    print_table(title, backtest_tables.EXPERT_COLUMNS, backtest_tables.experts(model_set))
    for note in model_set.notes():
        say(note)
    if model_set.shrinkage:
        say(f"Shrinkage weights: {model_set.shrinkage}; {model_set.shrinkage.meaning}.")
    print_path("models", folder)
