from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from models import Forecaster, ModelSet
from tests.conftest import SMALL
from training import TrainSettings, train
from training.regime_returns import regime_returns

BEARISH, SIDEWAYS, BULLISH = 0.0, 1.0, 2.0


def blocks(n_bars: int, length: int) -> np.ndarray:
    """The three regimes in turn, each for so many bars."""
    return (np.arange(n_bars) // length % 3).astype(float)


def test_the_statistic_is_welch_s_where_returns_are_independent() -> None:
    random, regimes = np.random.default_rng(0), blocks(6000, 10)
    outcome = random.standard_normal(6000) * np.array([0.02, 0.01, 0.005])[regimes.astype(int)] + 0.001 * regimes
    result = regime_returns(regimes, outcome)
    bearish, bullish = outcome[regimes == BEARISH], outcome[regimes == BULLISH]
    error = math.sqrt(bearish.var() / len(bearish) + bullish.var() / len(bullish))
    assert result.t_statistic == pytest.approx((bullish.mean() - bearish.mean()) / error, rel=0.1)
    assert result.by_regime["bullish"].mean == pytest.approx(bullish.mean())
    assert result.by_regime["bullish"].volatility == pytest.approx(bullish.std(ddof=1))
    assert [one.n_bars for one in result.by_regime.values()] == [2000, 2000, 2000]
    assert not result.names_fail


def test_autocorrelated_returns_give_a_larger_error() -> None:
    """An AR(1) of 0.6 has a long-run variance of (1 + 0.6) / (1 - 0.6) = 4 times its variance."""
    random, regimes = np.random.default_rng(1), blocks(20_000, 200)
    noise = np.zeros(20_000)
    for bar, shock in enumerate(random.standard_normal(20_000)):
        noise[bar] = 0.6 * noise[bar - 1] + shock
    result = regime_returns(regimes, noise)
    bearish, bullish = noise[regimes == BEARISH], noise[regimes == BULLISH]
    error = math.sqrt(bearish.var() / len(bearish) + bullish.var() / len(bullish))
    independent = (bullish.mean() - bearish.mean()) / error
    assert independent / result.t_statistic == pytest.approx(2, rel=0.15)


def test_regimes_of_equal_mean_seldom_keep_their_names() -> None:
    random, regimes = np.random.default_rng(2), blocks(1500, 15)
    volatility = np.array([0.02, 0.01, 0.005])[regimes.astype(int)]
    results = [regime_returns(regimes, volatility * random.standard_normal(1500)) for _ in range(200)]
    assert np.mean([one.p_value < 0.05 for one in results]) < 0.1
    assert sum(not one.names_fail for one in results) < 12  # only a positive difference lets them hold


def test_a_regime_of_a_few_bars_is_left_out() -> None:
    regimes, outcome = blocks(300, 10), np.random.default_rng(3).standard_normal(300)
    regimes[regimes == BULLISH] = SIDEWAYS
    regimes[:9] = BULLISH
    result = regime_returns(regimes, outcome)
    assert list(result.by_regime) == ["bearish", "sideways"]
    assert (result.t_statistic, result.p_value, result.names_fail) == (None, None, False)


def test_a_training_measures_the_regimes_of_its_forecasts_on_the_training_part(
    model_set: ModelSet, candles: pd.DataFrame
) -> None:
    seen = candles.iloc[:840]
    regimes = Forecaster(model_set).forecast(candles)["regime"].iloc[:840]
    following = np.log(seen["close"]).diff().shift(-1)
    assert model_set.provenance.split["train"].last_bar == seen.index[-1]
    for number, name in enumerate(("bearish", "sideways", "bullish")):
        after, measured = following[regimes == number].dropna(), model_set.regime_returns.by_regime[name]
        assert measured.n_bars == pytest.approx(len(after), abs=20)  # forecasts begin some bars later
        assert measured.volatility == pytest.approx(after.std(), rel=0.08)
    assert not model_set.regime_returns.names_fail  # the drift of these candles is planted


def test_labels_made_in_hindsight_do_not_make_the_names_hold(candles: pd.DataFrame) -> None:
    """A column that knows the next bar names it perfectly; what a forecast can use of it is the classifier."""
    random = np.random.default_rng(4)
    close = 100 * np.exp(np.cumsum(0.01 * random.standard_normal(len(candles))))
    walk = candles.assign(open=close, high=close, low=close, close=close)
    following = np.append(np.diff(np.log(close)), 0.0)
    labels = np.digitize(following, np.quantile(following, [1 / 3, 2 / 3])).astype(float)
    known = regime_returns(labels[:839], following[:839])
    assert known.t_statistic > 30
    model_set = train(walk.assign(regime=labels), "HINDSIGHT", TrainSettings(**SMALL))
    assert model_set.regime_returns.names_fail
