"""The candles and models that the comparisons use."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from data.candles import read_candles
from data.intervals import interval_of
from data.synthetic import VISIBLE
from models import Forecaster, ModelSet
from models.recorded import RecordedForecasts
from training.prepare import Prepared, prepare
from training.settings import TrainSettings
from training.trainer import train

_DATA = Path(__file__).parents[3] / "shared" / "data"
BTC, ETH = (_DATA / f"{name}.csv" for name in ("BTCUSDT_4h_20220101_20250707", "ETHUSDT_4h_20200101_20241231"))
_BARS = 7704  # of the BTC file


@dataclass(frozen=True)
class Subject:
    """Candles, what a training with default settings makes of them, and the data of a training with one member.

    Attributes
    ----------
    recorded
        The forecasts of all bars.
    """

    name: str
    candles: pd.DataFrame
    models: ModelSet
    prepared: Prepared
    recorded: RecordedForecasts

    @classmethod
    def of(cls, name: str, candles: pd.DataFrame) -> Subject:
        models = train(candles, name)
        table = Forecaster(models).forecast(candles)
        return cls(
            name,
            candles,
            models,
            prepare(candles, name, TrainSettings(members=1)),
            RecordedForecasts(name, interval_of(pd.DatetimeIndex(candles.index)), table),
        )


def subject_candles() -> tuple[str, pd.DataFrame]:
    """Name and candles of the BTC file if it is there, else of a synthetic series of the same length."""
    if BTC.exists():
        return BTC.stem, read_candles(BTC)
    return "PLANTED", VISIBLE.candles(_BARS, seed=1).drop(columns="regime")


def many_candles(n_bars: int) -> pd.DataFrame:
    """As many one-minute candles as wanted: a planted series without drift, with the volatility of minutes."""
    quiet = replace(VISIBLE, drift=(0.0, 0.0, 0.0), volatility=tuple(one / 10 for one in VISIBLE.volatility))
    minutes = pd.date_range("2020-01-01", periods=n_bars, freq="min", tz="UTC", name="timestamp", unit="us")
    return quiet.candles(n_bars, seed=0).drop(columns="regime").set_axis(minutes)


def write_csv(candles: pd.DataFrame, file: Path) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    candles.to_csv(file, date_format="%Y-%m-%dT%H:%M:%SZ")
    return file
