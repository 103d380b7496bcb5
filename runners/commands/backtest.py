"""`regimes backtest`: trade the unseen bars of a dataset, and write the run's folder."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from runners.backtesting.settings import BacktestSettings
from runners.commands.options import (
    ConfigOption,
    DatasetArgument,
    JsonOption,
    MlflowOption,
    ModelsOption,
    NoteOption,
    SortOption,
    WorkspaceOption,
    with_settings,
)
from runners.workspace.workspace import Workspace

if TYPE_CHECKING:
    import pandas as pd

    from models.model_set import ModelSet
    from runners.backtesting.result import Backtest
    from runners.backtesting.runs import Run, Trials

_FORECASTING = ("blend", "regime_source", "in_sample")


@with_settings(BacktestSettings)
def backtest(
    dataset: DatasetArgument = None,
    workspace_folder: WorkspaceOption = None,
    config: ConfigOption = None,
    models: ModelsOption = None,
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

    workspace = Workspace.open(workspace_folder)
    given = workspace.settings(config)
    known = given.content
    if config and "walk_forward" in known and "fingerprint" in known:
        raise SettingsError(
            f"{config}: describes a walk-forward; repeat it with regimes walk-forward --config {config}"
        )
    recorded: Run | None = None
    if forecasts:
        forecasting = {name: flags[name] for name in _FORECASTING}
        _refuse_beside_forecasts(dataset=dataset, models=models, config=config, **forecasting)
        known = {}
        recorded = find_run(workspace.results, forecasts)
        settings = BacktestSettings.from_table(recorded.config["backtest"], recorded.id, flags)
    else:
        settings = given.make(BacktestSettings, flags)
        if "forecasts" in known and not models:
            recorded = find_run(workspace.results, known["forecasts"])
    store = open_store(mlflow) if mlflow else None
    repeated, chosen_from = known.get("fingerprint"), known.get("chosen_from", 0)
    if recorded:
        folder = trade_forecasts(
            workspace, recorded, settings, chosen_from=chosen_from, repeated=repeated, note=note, json=json
        )
    else:
        file = workspace.candle_file(dataset or known.get("file"))
        models = models or Path(known.get("models", workspace.trained / file.stem))
        folder = backtest_file(workspace, file, models, settings, sort=sort, repeated=repeated, note=note, json=json)
    if store:
        log_run(store, find_run(workspace.results, str(folder)))


def _refuse_beside_forecasts(**given: object) -> None:
    """Refuse what makes forecasts, or says where they are from, beside a run that has both."""
    from data.errors import SettingsError

    for name, value in given.items():
        if value is not None:
            what = "DATASET" if name == "dataset" else f"--{name.replace('_', '-')}"
            raise SettingsError(f"{what} cannot be given with --forecasts, whose run has its candles and forecasts.")


def backtest_file(
    workspace: Workspace,
    file: Path,
    models: Path,
    settings: BacktestSettings,
    *,
    sort: bool = False,
    repeated: str | None = None,
    note: str = "",
    json: bool = False,
) -> Path:
    """Backtest one CSV, write the run into the workspace and print its figures; gives the run's folder.

    ``repeated`` is the fingerprint of the candles of a run that this one is to repeat.
    """
    from data.candles import candle_warnings, read_candles
    from data.files import require_writable
    from models.model_set import ModelSet, find_model_set
    from runners.terminal import warn, working

    require_writable(workspace.results / file.stem)
    candles = read_candles(file, sort=sort)
    warn(candle_warnings(candles), file.name)
    warn_if_changed(file, candles, repeated)
    with working("trading"):
        folder = find_model_set(models)
        result, trials, run = backtest_candles(
            workspace, file, candles, ModelSet.load(folder), folder, settings, note=note
        )
    print_run(result, trials, run, json=json)
    return run


def backtest_candles(
    workspace: Workspace,
    file: Path,
    candles: "pd.DataFrame",
    model_set: "ModelSet",
    models: Path,
    settings: BacktestSettings,
    *,
    note: str = "",
) -> "tuple[Backtest, Trials, Path]":
    """Backtest candles that came from ``file`` by the set in the folder ``models``, and write the run."""
    from models.forecaster import Forecaster, require_compatible
    from runners.backtesting.engine import backtest_forecaster
    from runners.report.write_run import write_run
    from runners.terminal import warn

    forecaster = Forecaster(model_set, settings)
    require_compatible(candles, forecaster, source=str(file))
    warn(forecaster.warnings(candles, file.stem))
    result = backtest_forecaster(candles, forecaster, settings, file.stem)
    trials, folder = write_run(workspace.results, file, result, {"models": str(models.resolve())}, note=note)
    return result, trials, folder


def trade_forecasts(
    workspace: Workspace,
    run: "Run",
    settings: BacktestSettings,
    *,
    chosen_from: int = 0,
    repeated: str | None = None,
    note: str = "",
    json: bool = False,
) -> Path:
    """Trade a run's recorded forecasts again, write that run and print its figures; gives the new run's folder.

    ``repeated`` as in `backtest_file`.
    """
    from data.files import require_writable
    from runners.backtesting.engine import replay_run
    from runners.backtesting.grid import traded_candles
    from runners.report.write_run import write_replay
    from runners.terminal import working

    require_writable(workspace.results / run.dataset)
    candles = traded_candles(run)
    warn_if_changed(run.file, candles, repeated)
    with working("trading"):
        result = replay_run(run, candles, settings, chosen_from=chosen_from)
        trials, folder = write_replay(workspace.results, run, result, note=note)
    print_run(result, trials, folder, json=json)
    return folder


def warn_if_changed(file: Path, candles: "pd.DataFrame", repeated: str | None) -> None:
    """Warn, before anything is done, that the candles are not those of the run to repeat."""
    from data.candles import fingerprint
    from runners.terminal import notice

    if repeated is not None and repeated != fingerprint(candles):
        notice(f"{file} has changed since the run that is to be repeated; this is not a repetition of it.")


def print_run(result: "Backtest", trials: "Trials", folder: Path, *, json: bool = False) -> None:
    """A run's figures and verdict, or its metrics as JSON."""
    from runners.report import backtest_tables
    from runners.report.write_run import metrics_json
    from runners.terminal import print_json, print_path, print_table, say

    if json:
        worth = {"trials": trials.count, "deflated_sharpe": trials.deflated_sharpe(result.metrics)}
        print_json({"run": folder.name, "folder": str(folder), **worth, **metrics_json(result)})
        return
    index = result.equity.index
    mark = f"  {result.mark.upper()}" if result.mark else ""
    title = f"{result.source.dataset}\n{index[0]:%Y-%m-%d} to {index[-1]:%Y-%m-%d}, {len(index)} bars{mark}"
    print_table(title, backtest_tables.FIGURE_COLUMNS, backtest_tables.figures(result, trials))
    say(backtest_tables.verdict(result))
    print_path("report", folder / "report.html")
