"""Densities learnt from series whose true density is known."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from data.windows import targets
from models import Forecaster, ModelSet
from models.forecaster import densities
from tests.conftest import SMALL
from training import TrainSettings, train

DF = 5.0
TEST_SHARE = 0.3


def planted(n_bars: int = 6000, seed: int = 0) -> tuple[pd.DataFrame, np.ndarray]:
    """Candles whose next log return is a Student's t of a known scale ``(n_bars,)``.

    The scale follows the last 20 returns, as in ARCH (Engle 1982).
    """
    random = np.random.default_rng(seed)
    drawn = stats.t(DF).rvs(n_bars, random_state=random) * math.sqrt((DF - 2) / DF)
    returns, scale = np.zeros(n_bars), np.empty(n_bars)
    for bar in range(n_bars):
        deviation = math.sqrt(2e-5 + 0.8 * np.mean(returns[max(0, bar - 19) : bar + 1] ** 2))
        scale[bar] = deviation * math.sqrt((DF - 2) / DF)
        if bar + 1 < n_bars:
            returns[bar + 1] = deviation * drawn[bar]
    close = 100 * np.exp(np.cumsum(returns))
    open_ = np.append(100.0, close[:-1])
    index = pd.date_range("2015-01-01", periods=n_bars, freq="4h", tz="UTC", name="timestamp", unit="us")
    edges = np.maximum(open_, close), np.minimum(open_, close)
    return pd.DataFrame(
        {"open": open_, "high": edges[0], "low": edges[1], "close": close, "volume": 1.0}, index=index
    ), scale


@pytest.fixture(scope="module")
def known() -> tuple[pd.DataFrame, np.ndarray]:
    return planted()


@pytest.fixture(scope="module")
def learnt(known: tuple[pd.DataFrame, np.ndarray]) -> ModelSet:
    settings = TrainSettings(**{**SMALL, "epochs": 12, "train_fraction": 0.6, "members": 2, "detector": "trend"})
    return train(known[0], "PLANTED", settings)


def test_the_log_score_is_that_of_the_true_density_within_two_percent(
    known: tuple[pd.DataFrame, np.ndarray], learnt: ModelSet
) -> None:
    candles, scale = known
    outcome = targets(candles["close"].to_numpy())
    unseen = np.flatnonzero(candles.index > learnt.validation_end)[:-1]
    forecast = densities(Forecaster(learnt).forecast(candles))
    assert forecast is not None
    score = forecast[unseen].log_density(outcome[unseen]).mean()
    best = stats.t(DF, scale=scale[unseen]).logpdf(outcome[unseen]).mean()
    assert best - 0.02 * abs(best) < score < best + 0.005


@pytest.mark.parametrize("level", [0.5, 0.8, 0.95])
def test_intervals_cover_as_many_bars_as_they_say(
    known: tuple[pd.DataFrame, np.ndarray], learnt: ModelSet, level: float
) -> None:
    candles, _ = known
    outcome = targets(candles["close"].to_numpy())
    unseen = np.flatnonzero(candles.index > learnt.validation_end)[:-1]
    forecast = densities(Forecaster(learnt).forecast(candles))
    assert forecast is not None
    low, high = forecast[unseen].quantiles([(1 - level) / 2, (1 + level) / 2]).T
    covered = np.mean((low < outcome[unseen]) & (outcome[unseen] <= high))
    assert abs(covered - level) < 3 * math.sqrt(level * (1 - level) / len(unseen))


def test_a_regime_that_says_nothing_more_corrects_next_to_nothing(learnt: ModelSet) -> None:
    density = learnt.density
    assert density is not None
    assert set(density.corrections) == {0, 1, 2}
    for correction in density.corrections.values():
        assert abs(correction.log_scale) < 0.05


def test_a_forecast_gives_scale_quantiles_and_probabilities(model_set: ModelSet, candles: pd.DataFrame) -> None:
    stream = Forecaster(model_set).stream(candles.iloc[:-1])
    forecast = stream.push({"timestamp": candles.index[-1], **candles.iloc[-1]})
    assert forecast is not None
    assert forecast.density is not None
    quantiles = forecast.quantiles((0.05, 0.95))
    assert quantiles is not None
    assert forecast.probability_above(quantiles["0.95"]) == pytest.approx(0.05, abs=1e-8)
    assert 0 < quantiles["0.95"] - quantiles["0.05"] < 10 * forecast.scale


def test_without_densities_forecasts_have_a_mean_only(candles: pd.DataFrame) -> None:
    models = train(candles, "MEAN", TrainSettings(**{**SMALL, "epochs": 1, "density": False}))
    table = Forecaster(models).forecast(candles)
    assert densities(table) is None
    assert models.density is None
    last = Forecaster(models).stream(candles.iloc[:-1]).push({"timestamp": candles.index[-1], **candles.iloc[-1]})
    assert last is not None
    assert last.scale is last.quantiles() is last.probability_above(0.0) is None


def test_a_series_too_short_for_densities_still_gives_means(candles: pd.DataFrame) -> None:
    models = train(candles.iloc[:260], "SHORT", TrainSettings(**{**SMALL, "epochs": 1, "detector": "trend"}))
    assert models.density is None
