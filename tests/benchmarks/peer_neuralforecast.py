"""Trains neuralforecast's LSTM and prints what ``fit`` cost; runs in an environment of its own, without our packages.

``python peer_neuralforecast.py DATA.npz SETTINGS``, with settings as JSON; the last line of its output is JSON.
"""

import json
import logging
import math
import resource
import sys
import time
import warnings

import numpy as np
import pandas as pd

warnings.simplefilter("ignore")
logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)

from neuralforecast import NeuralForecast, __version__  # noqa: E402
from neuralforecast.models import LSTM  # noqa: E402


def main() -> None:
    data, settings = np.load(sys.argv[1]), json.loads(sys.argv[2])
    features = {f"feature_{number}": column for number, column in enumerate(data["features"].T)}
    table = pd.DataFrame({"unique_id": "candles", "ds": data["time"], "y": data["target"], **features})
    n_validation = int(data["n_validation"])
    steps = math.ceil((len(table) - n_validation - settings["window"]) / settings["batch_size"])
    _fit(table, features, settings, n_validation, steps, max_steps=1)  # what the first training imports
    cpu, wall = _cpu_seconds(), time.perf_counter()
    _fit(table, features, settings, n_validation, steps, max_steps=settings["epochs"] * steps)
    cost = {"cpu": _cpu_seconds() - cpu, "wall": time.perf_counter() - wall}
    print(json.dumps({"version": __version__, **cost}))


def _fit(
    table: pd.DataFrame, features: dict, settings: dict, n_validation: int, steps_per_epoch: int, max_steps: int
) -> None:
    model = LSTM(
        h=1,
        input_size=settings["window"],
        encoder_n_layers=settings["num_layers"],
        encoder_hidden_size=settings["hidden_dim"],
        decoder_layers=1,
        hist_exog_list=list(features),
        max_steps=max_steps,
        learning_rate=settings["lr"],
        windows_batch_size=settings["batch_size"],
        val_check_steps=steps_per_epoch,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    NeuralForecast([model], freq=table["ds"].diff().mode()[0]).fit(table, val_size=n_validation)


def _cpu_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


if __name__ == "__main__":
    main()
