"""`regimes train`: a model set for each CSV."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from runners.commands.options import ConfigOption, HomeOption, JobsOption, SortOption, with_settings
from runners.workspace.settings import make_settings
from runners.workspace.workspace import Home
from training.settings import NetworkSettings, TrainSettings

if TYPE_CHECKING:
    from runners.search.found_settings import FoundSettings


@with_settings(TrainSettings)
def train(
    files: Annotated[
        list[str] | None,
        typer.Argument(metavar="[FILE.csv]...", help="Candles; default: every CSV in data/csv.", show_default=False),
    ] = None,
    home: HomeOption = None,
    config: ConfigOption = None,
    jobs: JobsOption = None,
    from_study: Annotated[
        bool, typer.Option("--from-study", help="Train with the best that `regimes optimize` has found.")
    ] = False,
    sort: SortOption = False,
    tensorboard: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Log losses for TensorBoard here.", show_default=False)
    ] = None,
    *,
    flags: dict[str, Any],
) -> None:
    """Train one LSTM per regime from a CSV of candles."""
    place = Home.find(home)
    given = place.given(config)
    table, source = given.content.get("train", {}), given.source
    for file in [place.candle_file(name) for name in files or []] or place.candle_files():
        found = _found_settings(place, file, flags) if from_study else None
        if found:
            table, source = found.table, f"study {found.id}"
        settings = make_settings(TrainSettings, table, source, flags)
        train_file(place, file, settings, found=found, jobs=jobs, sort=sort, tensorboard=tensorboard)


def _found_settings(home: Home, file: Path, flags: dict[str, Any]) -> "FoundSettings":
    """What the dataset's last search has found; refuses flags of what was searched."""
    from data.errors import SettingsError
    from runners.search.found_settings import FoundSettings

    for name in NetworkSettings.model_fields:
        if flags[name] is not None:
            raise SettingsError(f"--{name.replace('_', '-')} was searched, and --from-study takes what was found.")
    return FoundSettings.newest(home.results, file.stem)


def train_file(
    home: Home,
    file: Path,
    settings: TrainSettings,
    *,
    found: "FoundSettings | None" = None,
    jobs: int | None = None,
    sort: bool = False,
    tensorboard: Path | None = None,
) -> Path:
    """Train on one CSV, save the model set in the home and print its table; gives the set's folder.

    ``found`` is what the settings come from, if from a search; ``tensorboard`` is a folder for TensorBoard's logs.
    """
    from contextlib import nullcontext
    from dataclasses import replace

    import pandas as pd

    from data.candles import interval_of, interval_text, missing_bars, read_candles
    from data.files import require_writable
    from runners.backtesting.compatibility import tell_unknown_regimes
    from runners.terminal import notice, print_experts, tell_doubts, training_progress
    from runners.tracking.tensorboard import TensorBoardLog
    from training.trainer import Progress
    from training.trainer import train as train_model_set

    require_writable(home.trained / file.stem)
    log = TensorBoardLog(tensorboard, file.stem, settings) if tensorboard else None
    candles = read_candles(file, sort=sort)
    index = pd.DatetimeIndex(candles.index)
    missing = missing_bars(index)
    if missing:
        interval = interval_text(interval_of(index))
        notice(f"{file.name}: {missing} bars of {interval} are missing (closed days, or gaps); none is invented.")
    tell_doubts(file, candles)
    if found:
        found.require_seen(candles, settings, file.name)
        notice(f"settings from study {found.id}")
    with log or nullcontext():
        with training_progress(file.stem, settings.epochs) as move_bar:

            def on_epoch(report: Progress) -> None:
                move_bar(report)
                if log:
                    log.on_epoch(report)

            model_set = train_model_set(candles, file.stem, settings, jobs=jobs, progress=on_epoch)
        if found:
            model_set = replace(model_set, provenance={**model_set.provenance, "study": found.provenance})
        folder = model_set.save(home.trained)
        if log:
            log.end(model_set, folder)
    print_experts(model_set, folder)
    if model_set.detector.name == "labels":
        tell_unknown_regimes(file, candles, model_set)
    return folder
