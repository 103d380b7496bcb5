"""`regimes train`: train a model set for each dataset."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from data.files import mark_latest
from runners.commands import options
from runners.workspace.workspace import Workspace
from training.settings import NetworkSettings, TrainSettings

if TYPE_CHECKING:
    import pandas as pd

    from models.model_set import ModelSet
    from models.provenance import Study
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
    tensorboard: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Log losses for TensorBoard to this folder.", show_default=False)
    ] = None,
    *,
    flags: dict[str, Any],
) -> None:
    """Train one LSTM per regime on each CSV of candles."""
    from data.candles import read_candles

    workspace = Workspace.open(workspace_folder, config)
    given = workspace.given
    plans = []
    for file in workspace.candle_files(datasets):
        candles = read_candles(file)
        searched = _newest_study(workspace, file, flags) if from_study else None
        if searched:
            settings = TrainSettings.from_table(searched.table, f"study {searched.study.id}", flags)
        else:
            settings = given.make(TrainSettings, flags)
        plans.append(_Plan(file, candles, settings, searched))
    if len(plans) > 1 and not tensorboard:
        _train_side_by_side(workspace, plans, jobs)
        return
    for plan in plans:
        mark_latest(_train_alone(workspace, plan, jobs=jobs, tensorboard=tensorboard))


def _newest_study(workspace: Workspace, file: Path, flags: dict[str, Any]) -> "BestSettings":
    """The best settings of the dataset's last search; raise a `SettingsError` if a flag would override them."""
    from data.errors import SettingsError
    from runners.search.best_settings import BestSettings

    for name in NetworkSettings.model_fields:
        if flags[name] is not None:
            raise SettingsError(f"--{name.replace('_', '-')} cannot be used with --from-study: the study sets it.")
    return BestSettings.newest(workspace.results, file.stem)


def train_candles(
    workspace: Workspace,
    file: Path,
    candles: "pd.DataFrame",
    settings: TrainSettings,
    *,
    searched: "BestSettings | None" = None,
    jobs: int | None = None,
) -> Path:
    """Train on the candles of ``file``, write the model set, print its table, and return its folder.

    The set is not the dataset's ``latest`` yet. ``searched`` is the study that the settings come from.
    """
    return _train_alone(workspace, _Plan(file, candles, settings, searched), jobs=jobs)


@dataclass(frozen=True)
class _Plan:
    """What to train on, and the study that the settings come from."""

    file: Path
    candles: "pd.DataFrame"
    settings: TrainSettings
    searched: "BestSettings | None" = None

    @property
    def dataset(self) -> str:
        return self.file.stem

    @property
    def study(self) -> "Study | None":
        return self.searched.study if self.searched else None

    def check(self, workspace: Workspace) -> None:
        """Raise an error if the model set cannot be written or the study saw the test part; print warnings."""
        import pandas as pd

        from data.calendar import missing_bars
        from data.candles import candle_warnings
        from data.files import require_writable
        from data.intervals import interval_of, interval_text
        from runners.terminal import notice, warn

        require_writable(workspace.trained / self.dataset)
        index, name = pd.DatetimeIndex(self.candles.index), self.file.name
        missing = missing_bars(index)
        if missing:
            interval = interval_text(interval_of(index))
            notice(f"{name}: {missing} bars of {interval} are missing (market closed, or gaps); they are not filled.")
        warn(candle_warnings(self.candles), name)
        if self.searched:
            self.searched.require_unseen_test_part(self.candles, self.settings, name)
            notice(f"{name}: settings from study {self.searched.study.id}")


def _train_alone(
    workspace: Workspace, plan: _Plan, *, jobs: int | None = None, tensorboard: Path | None = None
) -> Path:
    from contextlib import nullcontext

    from runners.terminal import training_progress
    from runners.tracking.tensorboard import TensorBoardLog
    from training.trainer import Progress
    from training.trainer import train as train_model_set

    plan.check(workspace)
    log = TensorBoardLog(tensorboard, plan.dataset, plan.settings) if tensorboard else None
    with log or nullcontext():
        with training_progress(plan.dataset, plan.settings.epochs) as update_bar:

            def on_epoch(report: Progress) -> None:
                update_bar(report)
                if log:
                    log.on_epoch(report)

            model_set = train_model_set(
                plan.candles, plan.dataset, plan.settings, study=plan.study, jobs=jobs, progress=on_epoch
            )
        folder = model_set.save(workspace.trained, promote=False)
        if log:
            log.end(model_set, folder)
    _print(plan, model_set, folder)
    return folder


def _train_side_by_side(workspace: Workspace, plans: list[_Plan], jobs: int | None) -> None:
    """Train all model sets in one queue, and save each as its dataset's ``latest`` as soon as it is ready."""
    from runners.backtesting.cluster import workers
    from runners.terminal import counting_progress
    from training.queue import Training, fit_detectors, fit_networks

    for plan in plans:
        plan.check(workspace)
    trainings = {plan.dataset: Training(plan.dataset, plan.candles, plan.settings, plan.study) for plan in plans}
    trained: dict[str, tuple[ModelSet, Path]] = {}
    with workers(None, jobs), counting_progress("training", {"datasets": len(plans)}) as advance:
        for dataset, model_set in fit_networks(trainings, fit_detectors(trainings)):
            folder = model_set.save(workspace.trained, promote=False)
            mark_latest(folder)
            trained[dataset] = model_set, folder
            advance("datasets")
    for plan in plans:
        _print(plan, *trained[plan.dataset])


def _print(plan: _Plan, model_set: "ModelSet", folder: Path) -> None:
    from models.forecaster import Forecaster, regime_warnings
    from runners.report import backtest_tables
    from runners.terminal import print_path, print_table, say, warn
    from training.plausibility import implausible_inputs

    title = f"{model_set.dataset}\nloss relative to the zero forecast's; below 1 is better"
    print_table(title, backtest_tables.EXPERT_COLUMNS, backtest_tables.experts(model_set))
    for note in model_set.notes():
        say(note)
    if model_set.shrinkage:
        say(f"Shrinkage weights: {model_set.shrinkage}; {model_set.shrinkage.meaning}.")
    print_path("models", folder)
    seen = plan.candles.loc[: model_set.provenance.split["train"].last_bar]
    warn(implausible_inputs(seen, Forecaster(model_set).features), plan.file.name)
    if model_set.detector.name == "labels":
        warn(regime_warnings(plan.candles, model_set), plan.file.name)
