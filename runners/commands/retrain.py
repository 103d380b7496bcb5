"""`regimes retrain`: train again on the candles as they are now, and compare old and new models on unseen bars."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from runners.commands.options import HomeOption, JobsOption, SortOption
from runners.workspace.workspace import Home

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd

    from models.model_set import ModelSet


def retrain(
    dataset: Annotated[
        str | None,
        typer.Argument(
            metavar="[DATASET]",
            help="A dataset's name or its CSV; default: the only CSV in data/csv.",
            show_default=False,
        ),
    ] = None,
    home: HomeOption = None,
    jobs: JobsOption = None,
    sort: SortOption = False,
) -> None:
    """Train with the last run's settings on the candles as they are now; trade old and new models on the same bars."""
    from data.candles import read_candles
    from data.files import require_writable
    from models.model_set import ModelSet, find_model_set
    from runners.backtesting.runs import find_run, read_runs
    from runners.backtesting.settings import BacktestSettings
    from runners.commands.backtest import backtest_candles
    from runners.commands.compare import compare_runs
    from runners.commands.train import train_file
    from runners.search.found_settings import FoundSettings
    from runners.terminal import notice
    from training.settings import TrainSettings

    place = Home.find(home)
    file = _candle_file(place, dataset)
    require_writable(place.results / file.stem)
    candles = read_candles(file, sort=sort)
    old_folder = find_model_set(place.trained / file.stem)
    old = ModelSet.load(old_folder)
    earlier = read_runs(place.results / file.stem)
    notice(what_changed(old, candles))
    new_folder = train_file(
        place, file, TrainSettings(**old.provenance["settings"]), found=FoundSettings.of(old), jobs=jobs, sort=sort
    )
    new = ModelSet.load(new_folder)
    unseen = candles.index[candles.index > max(old.validation_end, new.validation_end)]
    settings = BacktestSettings(**(earlier[-1].config["backtest"] if earlier else {})).model_copy(
        update={"start": unseen[0].to_pydatetime(), "end": None, "in_sample": False}
    )
    folders = []
    for folder, note in ((old_folder, f"before {new_folder.name}"), (new_folder, f"retrained from {old_folder.name}")):
        _, _, written = backtest_candles(place, file, candles, folder, settings, note=note)
        folders.append(written)
    runs = [find_run(place.results, str(folder)) for folder in folders]
    compare_runs(place, {f"{file.stem}: models before (A) and after (B) retraining": runs})


def _candle_file(home: Home, dataset: str | None) -> Path:
    """The dataset's CSV in data/csv, or else the one that its last run was made from."""
    from runners.backtesting.runs import read_runs

    file = home.candle_file(dataset)
    earlier = read_runs(home.results / file.stem)
    return earlier[-1].file if earlier and not file.exists() else file


def what_changed(old: ModelSet, candles: pd.DataFrame) -> str:
    """How the candles differ from those that the models were trained on."""
    import pandas as pd

    from data.candles import fingerprint

    known = old.provenance
    same = candles.loc[: pd.Timestamp(known["last_bar"])]
    if len(same) and fingerprint(same) == known["fingerprint"]:
        added = len(candles) - len(same)
        if not added:
            return "the candles are those that the models were trained on; the same settings give the same models."
        return f"{added:,} bars were appended since the models were trained, from {candles.index[len(same)]} on."
    return (
        f"the candles were replaced: now {len(candles):,} bars, {candles.index[0]} to {candles.index[-1]}; the models "
        f"were trained on {known['n_bars']:,}, {known['first_bar']} to {known['last_bar']}. What the old models have "
        "seen may lie among the bars traded now."
    )
