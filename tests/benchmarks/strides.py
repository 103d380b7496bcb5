"""Are passes over blocks of bars worse on unseen bars than a window for each? ``python -m tests.benchmarks.strides``"""

from __future__ import annotations

import time

import numpy as np
import pandas as pd

from data.candles import REGIME, read_candles
from data.samples import sp500_candles
from data.synthetic import HIDDEN, VISIBLE
from data.windows import targets
from models.forecaster import Forecaster
from models.model_set import ModelSet
from models.settings import ForecastSettings
from tests.benchmarks.subject import BTC, ETH
from training.scores import relative_error
from training.settings import TrainSettings
from training.trainer import train

_SEEDS = 6
_KINDS = {
    "a window a bar": {"stride": 1, "batch_size": 32, "lr": 1e-3},
    "stride 10": {"stride": 10},
    "stride 20": {"stride": 20},
    "stride 40": {"stride": 40},
}


def main() -> None:
    sets = {
        "planted, no labels": VISIBLE.candles(8000, 1).drop(columns="regime"),
        "planted, labels": VISIBLE.candles(4000, 7),
        "hidden, labels": HIDDEN.candles(6000, 3),
        "S&P 500 daily": sp500_candles(),
        **{path.stem: read_candles(path) for path in (BTC, ETH) if path.exists()},
    }
    for name, candles in sets.items():
        for kind, settings in _KINDS.items():
            losses, seconds = [], 0.0
            for seed in range(_SEEDS):
                begin = time.perf_counter()
                models = train(candles, "STRIDES", TrainSettings(members=1, seed=seed, **settings))
                losses.append(unseen_loss(models, candles))
                seconds += (time.perf_counter() - begin) / _SEEDS
            spread = f"{np.mean(losses):.4f} +- {np.std(losses):.4f}"
            print(f"{name:30} {kind:15} test loss {spread}, a training {seconds:.1f} s", flush=True)


def unseen_loss(models: ModelSet, candles: pd.DataFrame) -> float:
    """The experts' squared error over all test bars, relative to the forecast 0's."""
    source = ForecastSettings(regime_source="column" if REGIME in candles else "detector")
    forecast = Forecaster(models, source).forecast(candles)["forecast"].to_numpy()
    unseen = candles.index > models.validation_end
    return relative_error(forecast[unseen], targets(candles["close"].to_numpy())[unseen])


if __name__ == "__main__":
    main()
