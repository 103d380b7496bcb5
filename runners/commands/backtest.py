"""`regimes backtest`: trade the unseen bars of a dataset and write a run."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from runners.backtesting.settings import BacktestSettings
from runners.commands import options
from runners.workspace.workspace import Workspace

if TYPE_CHECKING:
    import pandas as pd

    from models.model_set import ModelSet
    from runners.backtesting.result import Backtest
    from runners.backtesting.runs import Run
    from runners.backtesting.trials import Trials
    from runners.report.write_run import Written


@options.with_settings(BacktestSettings)
def backtest(
    dataset: options.DatasetArgument = None,
    workspace_folder: options.WorkspaceOption = None,
    config: options.ConfigOption = None,
    models: options.ModelsOption = None,
    forecasts: Annotated[
        str | None,
        typer.Option(help="Trade the recorded forecasts of this run instead of models.", show_default=False),
    ] = None,
    note: options.NoteOption = "",
    tearsheet: options.TearsheetOption = True,
    json: options.JsonOption = False,
    mlflow: options.MlflowOption = None,
    *,
    flags: dict[str, Any],
) -> None:
    """Trade the bars that training has not seen, and write a report."""
    from data.errors import SettingsError
    from models.settings import ForecastSettings
    from runners.backtesting.runs import find_run
    from runners.tracking.mlflow import log_run, open_store

    workspace = Workspace.open(workspace_folder, config)
    given = workspace.given
    content = given.content
    if config and "walk_forward" in content and "fingerprint" in content:
        raise SettingsError(f"{config}: describes a walk-forward. Use regimes walk-forward --config {config}")
    recorded: Run | None = None
    if forecasts:
        excluded = {"DATASET": dataset, "--models": models, "--config": config}
        fixed = (*ForecastSettings.model_fields, "in_sample")
        excluded |= {f"--{name.replace('_', '-')}": flags[name] for name in fixed}
        for flag, value in excluded.items():
            if value is not None:
                raise SettingsError(f"{flag} cannot be used with --forecasts: the run fixes its candles and forecasts.")
        content = {}
        recorded = find_run(workspace.results, forecasts)
        settings = BacktestSettings.from_table(recorded.config["backtest"], recorded.id, flags)
    else:
        settings = given.make(BacktestSettings, flags)
        if "forecasts" in content and not models:
            recorded = find_run(workspace.results, content["forecasts"])
    store = open_store(mlflow) if mlflow else None
    fingerprint, chosen_from = content.get("fingerprint"), content.get("chosen_from", 0)
    if recorded:
        written = _replay(workspace, recorded, settings, chosen_from, fingerprint, note=note, json=json)
    else:
        file = workspace.candle_file(dataset or content.get("file"))
        models = models or Path(content.get("models", workspace.trained / file.stem))
        written = backtest_file(
            workspace, file, models, settings, fingerprint, chosen_from=chosen_from, note=note, json=json
        )
    if tearsheet:
        add_tearsheet(written.result, written.folder)
    if store:
        log_run(store, find_run(workspace.results, str(written.folder)))


def backtest_file(
    workspace: Workspace,
    file: Path,
    models: Path,
    settings: BacktestSettings,
    fingerprint: str | None = None,
    *,
    chosen_from: int = 0,
    note: str = "",
    json: bool = False,
) -> "Written":
    """Backtest one CSV, write the run, and print its figures; see `backtest_candles`."""
    from data.candles import candle_warnings, read_candles
    from data.files import require_writable
    from models.model_set import ModelSet, find_model_set
    from runners.terminal import warn, working

    require_writable(workspace.results / file.stem)
    candles = read_candles(file)
    warn(candle_warnings(candles), file.name)
    warn_if_changed(file, candles, fingerprint)
    with working("trading"):
        models = find_model_set(models)
        model_set = ModelSet.load(models)
        written = backtest_candles(
            workspace, file, candles, model_set, models, settings, chosen_from=chosen_from, note=note
        )
    print_run(*written, json=json)
    return written


def backtest_candles(
    workspace: Workspace,
    file: Path,
    candles: "pd.DataFrame",
    model_set: "ModelSet",
    models: Path,
    settings: BacktestSettings,
    *,
    chosen_from: int = 0,
    note: str = "",
) -> "Written":
    """Backtest the candles of ``file`` on the model set in the folder ``models``, and write the run.

    ``chosen_from`` as in `Source`, if the settings are those of a run that has it.
    """
    from models.forecaster import Forecaster, require_compatible
    from runners.backtesting.engine import backtest_forecaster
    from runners.report.write_run import write_run
    from runners.terminal import warn
    from training.plausibility import implausible_inputs

    forecaster = Forecaster(model_set, settings)
    require_compatible(candles, forecaster, source=str(file))
    warn(forecaster.warnings(candles, file.stem))
    result = backtest_forecaster(candles, forecaster, settings, file.stem)
    warn(implausible_inputs(candles, forecaster.features), file.name)
    origin = {"models": str(models.resolve())}
    return write_run(workspace.results, file, result, origin, chosen_from=chosen_from, note=note)


def _replay(
    workspace: Workspace,
    run: "Run",
    settings: BacktestSettings,
    chosen_from: int,
    fingerprint: str | None,
    *,
    note: str,
    json: bool,
) -> "Written":
    """Trade a run's recorded forecasts, write the new run, and print its figures."""
    from data.files import require_writable
    from runners.backtesting.engine import replay_run
    from runners.backtesting.grid import traded_candles
    from runners.report.write_run import write_replay
    from runners.terminal import working

    require_writable(workspace.results / run.dataset)
    candles = traded_candles(run)
    warn_if_changed(run.file, candles, fingerprint)
    with working("trading"):
        result = replay_run(run, candles, settings, chosen_from=chosen_from)
        written = write_replay(workspace.results, run, result, note=note)
    print_run(*written, json=json)
    return written


def add_tearsheet(result: "Backtest", folder: Path) -> None:
    """Write quantstats' page of a run that is written and printed."""
    from runners.report.write_run import write_tearsheet
    from runners.terminal import working

    with working("writing the tearsheet"):
        write_tearsheet(result, folder)


def warn_if_changed(file: Path, candles: "pd.DataFrame", expected: str | None) -> None:
    """Warn if the candles do not have the fingerprint ``expected``, that of the run to repeat; None: no run."""
    from data.candles import fingerprint
    from runners.terminal import notice

    if expected is not None and expected != fingerprint(candles):
        notice(f"{file} has changed since the run, so the figures may differ from the run's.")


def print_run(result: "Backtest", trials: "Trials", folder: Path, *, json: bool = False) -> None:
    """Print a run's figures and verdict, or its metrics as JSON."""
    from runners.backtesting.recording import metrics_json
    from runners.report import backtest_tables
    from runners.report.verdict import verdict
    from runners.terminal import print_json, print_path, print_table, say, warn

    warn(trials.warnings)
    if json:
        deflated = {**trials.to_dict(), "deflated_sharpe": trials.deflated_sharpe(result.metrics)}
        print_json({"run": folder.name, "folder": str(folder), "mark": result.mark, **deflated, **metrics_json(result)})
        return
    index = result.equity.index
    mark = f"  {result.mark.upper()}" if result.mark else ""
    title = f"{result.source.dataset}\n{index[0]:%Y-%m-%d} to {index[-1]:%Y-%m-%d}, {len(index)} bars{mark}"
    print_table(title, backtest_tables.FIGURE_COLUMNS, backtest_tables.figures(result, trials))
    members = backtest_tables.members(result.members)
    if members:
        print_table("", backtest_tables.MEMBER_COLUMNS, members)
    title = "diff.: the strategy's figure minus that of the yardstick"
    print_table(title, backtest_tables.YARDSTICK_COLUMNS[:-1], [row[:-1] for row in backtest_tables.yardsticks(result)])
    say(verdict(result, trials))
    if trials.count > 1:
        say(trials.sentence())
    for note in backtest_tables.name_notes(result):
        say(note)
    print_path("report", folder / "report.html")
