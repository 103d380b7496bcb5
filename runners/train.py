"""`regimes train`: a model set for each CSV."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from data.candles import interval_of, interval_text, missing_bars, read_candles
from runners.cli import main
from runners.console import notice, print_experts, training_progress
from runners.home import Home
from runners.settings import CONFIG_NAME, make_settings, read_config
from training.settings import TrainSettings
from training.train import train


def run_train(
    home: Home, names: list[str], flags: dict[str, Any], *, config: Path | None, jobs: int | None, sort: bool
) -> list[Path]:
    """Train on each file named, or on every CSV of the home; gives the folders of the model sets."""
    table = (read_config(config) if config else home.config).get("train", {})
    settings = make_settings(TrainSettings, table, str(config or CONFIG_NAME), flags)
    files = [home.candle_file(name) for name in names] or home.candle_files()
    return [_train_one(home, file, settings, jobs, sort) for file in files]


def _train_one(home: Home, file: Path, settings: TrainSettings, jobs: int | None, sort: bool) -> Path:
    candles = read_candles(file, sort=sort)
    index = pd.DatetimeIndex(candles.index)
    missing = missing_bars(index)
    if missing:
        interval = interval_text(interval_of(index))
        notice(f"{file.name}: {missing} bars of {interval} are missing (closed days, or gaps); none is invented.")
    with training_progress(file.stem, settings.epochs) as on_epoch:
        model_set = train(candles, file.stem, settings, jobs=jobs, progress=on_epoch)
    folder = model_set.save(home.trained)
    print_experts(model_set, folder)
    return folder


if __name__ == "__main__":
    main("train")
