"""`regimes train`: a model set for each CSV."""

from pathlib import Path
from typing import Annotated, Any

import typer

from runners.command import ConfigOption, HomeOption, SortOption, run_alone, with_settings
from runners.home import Home
from runners.settings import CONFIG_NAME, make_settings, read_config
from training.settings import TrainSettings


@with_settings(TrainSettings)
def train(
    files: Annotated[
        list[str] | None,
        typer.Argument(metavar="[FILE.csv]...", help="Candles; default: every CSV in data/csv.", show_default=False),
    ] = None,
    home: HomeOption = None,
    config: ConfigOption = None,
    jobs: Annotated[
        int | None, typer.Option(min=1, help="Networks trained side by side; default: one a core.", show_default=False)
    ] = None,
    sort: SortOption = False,
    *,
    flags: dict[str, Any],
) -> None:
    """Train one LSTM per regime from a CSV of candles."""
    place = Home.find(home)
    table = (read_config(config) if config else place.config).get("train", {})
    settings = make_settings(TrainSettings, table, str(config or CONFIG_NAME), flags)
    for file in [place.candle_file(name) for name in files or []] or place.candle_files():
        train_file(place, file, settings, jobs=jobs, sort=sort)


def train_file(home: Home, file: Path, settings: TrainSettings, *, jobs: int | None = None, sort: bool = False) -> Path:
    """Train on one CSV, save the model set in the home and print its table; gives the set's folder."""
    import pandas as pd

    from data.candles import interval_of, interval_text, missing_bars, read_candles
    from runners.console import notice, print_experts, training_progress
    from training.train import train as train_model_set

    candles = read_candles(file, sort=sort)
    index = pd.DatetimeIndex(candles.index)
    missing = missing_bars(index)
    if missing:
        interval = interval_text(interval_of(index))
        notice(f"{file.name}: {missing} bars of {interval} are missing (closed days, or gaps); none is invented.")
    with training_progress(file.stem, settings.epochs) as on_epoch:
        model_set = train_model_set(candles, file.stem, settings, jobs=jobs, progress=on_epoch)
    folder = model_set.save(home.trained)
    print_experts(model_set, folder)
    return folder


if __name__ == "__main__":
    run_alone(train)
