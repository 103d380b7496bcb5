"""`regimes retrain`: train again on the current candles, and compare old and new models on unseen bars."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from runners.commands import options
from runners.workspace.workspace import Workspace

if TYPE_CHECKING:
    import pandas as pd

    from models.model_set import ModelSet
    from training.settings import TrainSettings


def retrain(
    dataset: options.DatasetArgument = None,
    workspace_folder: options.WorkspaceOption = None,
    jobs: options.JobsOption = None,
) -> None:
    """Retrain with the last settings on the current candles, and compare old and new models on unseen bars.

    Only after the comparison are the new models the dataset's newest.
    """
    from data.candles import read_candles
    from data.files import mark_latest, require_writable
    from models.model_set import ModelSet, find_model_set
    from runners.backtesting.runs import find_run, read_runs
    from runners.backtesting.settings import BacktestSettings
    from runners.commands.backtest import backtest_candles
    from runners.commands.compare import compare_runs
    from runners.commands.train import train_candles
    from runners.search.best_settings import BestSettings
    from runners.terminal import notice, warn
    from training.settings import TrainSettings

    workspace = Workspace.open(workspace_folder)
    file = workspace.candle_file(dataset)
    require_writable(workspace.results / file.stem)
    earlier, warnings = read_runs(workspace.results / file.stem)
    if earlier and not file.exists():  # not in data/csv: the last run names the CSV
        file = earlier[-1].file
    candles = read_candles(file)
    old_folder = find_model_set(workspace.trained / file.stem)
    old = ModelSet.load(old_folder)
    warn(warnings)
    notice(describe_difference(old, candles))
    settings = TrainSettings(**old.provenance.settings)
    searched = BestSettings.from_model_set(old)
    start = _first_unseen_bar(file, candles, old, settings)
    trading = (earlier[-1].settings if earlier else BacktestSettings()).model_copy(
        update={"start": start.to_pydatetime(), "end": None, "in_sample": False}
    )
    new_folder = train_candles(workspace, file, candles, settings, searched=searched, jobs=jobs)
    new = ModelSet.load(new_folder)
    runs = []
    for model_set, folder, note in (
        (old, old_folder, f"before {new_folder.name}"),
        (new, new_folder, f"retrained from {old_folder.name}"),
    ):
        written = backtest_candles(workspace, file, candles, model_set, folder, trading, note=note)
        runs.append(find_run(workspace.results, str(written.folder)))
    compare_runs(workspace, {f"{file.stem}: models before (A) and after (B) retraining": runs})
    mark_latest(new_folder)


def _first_unseen_bar(file: Path, candles: pd.DataFrame, old: ModelSet, settings: TrainSettings) -> pd.Timestamp:
    """The first bar that neither the old models have seen nor the new ones will have seen.

    Raises a `DataError` if there are no two such bars to trade.
    """
    from data.errors import DataError
    from data.splits import chronological_split

    validation = chronological_split(len(candles), settings.train_fraction, settings.validation_fraction).validation
    seen = max(old.validation_end, candles.index[validation.stop - 1])
    unseen = candles.index[candles.index > seen]
    if len(unseen) < 2:
        raise DataError(
            f"{file}: ends at {candles.index[-1]}, but training and validation of the old or the new models use the "
            f"bars up to {seen}, so no bars are left to compare them on. Bring newer candles, or train without a "
            f"comparison: regimes train {file}"
        )
    return unseen[0]


def describe_difference(old: ModelSet, candles: pd.DataFrame) -> str:
    """Describe how the candles differ from those that the models were trained on."""
    from data.candles import fingerprint

    trained_on = old.provenance
    same = candles.loc[: trained_on.last_bar]
    if len(same) and fingerprint(same) == trained_on.fingerprint:
        added = len(candles) - len(same)
        if not added:
            return "the candles have not changed since training; the same settings give the same models."
        return f"{added:,} bars were appended since training, from {candles.index[len(same)]}."
    return (
        f"the candles were replaced: now {len(candles):,} bars from {candles.index[0]} to {candles.index[-1]}; the "
        f"models were trained on {trained_on.n_bars:,} from {trained_on.first_bar} to {trained_on.last_bar}. They may "
        "have seen bars that are traded now."
    )
