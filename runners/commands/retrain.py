"""`regimes retrain`: train again on the candles as they are now, and compare old and new models on unseen bars."""

from __future__ import annotations

from typing import TYPE_CHECKING

from runners.commands.options import DatasetArgument, JobsOption, SortOption, WorkspaceOption
from runners.workspace.workspace import Workspace

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd

    from models.model_set import ModelSet


def retrain(
    dataset: DatasetArgument = None,
    workspace_folder: WorkspaceOption = None,
    jobs: JobsOption = None,
    sort: SortOption = False,
) -> None:
    """Train with the last training's settings on the candles as they are now; trade old and new models on them."""
    from data.candles import read_candles
    from data.files import require_writable
    from models.model_set import ModelSet, find_model_set
    from runners.backtesting.runs import find_run, read_runs
    from runners.backtesting.settings import BacktestSettings
    from runners.commands.backtest import backtest_candles
    from runners.commands.compare import compare_runs
    from runners.commands.train import train_file
    from runners.search.found_settings import FoundSettings
    from runners.terminal import notice, warn
    from training.settings import TrainSettings

    workspace = Workspace.open(workspace_folder)
    file = _candle_file(workspace, dataset)
    require_writable(workspace.results / file.stem)
    candles = read_candles(file, sort=sort)
    old_folder = find_model_set(workspace.trained / file.stem)
    old = ModelSet.load(old_folder)
    earlier, warnings = read_runs(workspace.results / file.stem)
    warn(warnings)
    notice(describe_difference(old, candles))
    settings = TrainSettings(**old.provenance.settings)
    new_folder = train_file(workspace, file, settings, searched=FoundSettings.of(old), jobs=jobs, sort=sort)
    new = ModelSet.load(new_folder)
    unseen = candles.index[candles.index > max(old.validation_end, new.validation_end)]
    trading = (earlier[-1].settings if earlier else BacktestSettings()).model_copy(
        update={"start": unseen[0].to_pydatetime(), "end": None, "in_sample": False}
    )
    runs = []
    for model_set, folder, note in (
        (old, old_folder, f"before {new_folder.name}"),
        (new, new_folder, f"retrained from {old_folder.name}"),
    ):
        _, _, written = backtest_candles(workspace, file, candles, model_set, folder, trading, note=note)
        runs.append(find_run(workspace.results, str(written)))
    compare_runs(workspace, {f"{file.stem}: models before (A) and after (B) retraining": runs})


def _candle_file(workspace: Workspace, dataset: str | None) -> Path:
    """The dataset's CSV in data/csv, or else the one that its last run was made from."""
    from runners.backtesting.runs import read_runs

    file = workspace.candle_file(dataset)
    earlier, _ = read_runs(workspace.results / file.stem)
    return earlier[-1].file if earlier and not file.exists() else file


def describe_difference(old: ModelSet, candles: pd.DataFrame) -> str:
    """How the candles differ from those that the models were trained on."""
    from data.candles import fingerprint

    known = old.provenance
    same = candles.loc[: known.last_bar]
    if len(same) and fingerprint(same) == known.fingerprint:
        added = len(candles) - len(same)
        if not added:
            return "the candles are those that the models were trained on; the same settings give the same models."
        return f"{added:,} bars were appended since the models were trained, from {candles.index[len(same)]} on."
    return (
        f"the candles were replaced: now {len(candles):,} bars, {candles.index[0]} to {candles.index[-1]}; the models "
        f"were trained on {known.n_bars:,}, {known.first_bar} to {known.last_bar}. What the old models have "
        "seen may lie among the bars traded now."
    )
