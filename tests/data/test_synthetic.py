"""Synthetic series have the properties that they claim."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from data.candles import check_candles
from data.features import log_returns
from data.synthetic import HIDDEN, VISIBLE, RegimeSeries, martingale_like, with_noise_from, with_permuted_columns


@pytest.mark.parametrize("series", [VISIBLE, HIDDEN], ids=["visible", "hidden"])
def test_best_r2_is_what_the_true_parameters_reach(series: RegimeSeries) -> None:
    candles = series.candles(200_000, seed=3)
    returns = log_returns(candles["close"].to_numpy())[1:]
    regime = candles["regime"].to_numpy(dtype=int)[1:-1]
    best = np.array(series.drift)[regime] + np.array(series.slope)[regime] * returns[:-1]
    reached = 1 - np.sum((returns[1:] - best) ** 2) / np.sum(returns[1:] ** 2)
    assert reached == pytest.approx(series.best_r2(), abs=0.01)


def test_best_r2_of_one_autoregression_is_its_squared_slope() -> None:
    same = RegimeSeries(drift=(0, 0, 0), slope=(0.5, 0.5, 0.5), volatility=(0.01, 0.01, 0.01), stay=0.9)
    assert same.best_r2() == pytest.approx(0.25)


def test_synthetic_candles_are_candles_and_repeat_with_their_seed(sp500: pd.DataFrame) -> None:
    for candles in (VISIBLE.candles(500, seed=1), martingale_like(sp500, seed=1), with_noise_from(sp500, 4000, seed=1)):
        check_candles(candles, source="synthetic")
    pd.testing.assert_frame_equal(VISIBLE.candles(500, seed=1), VISIBLE.candles(500, seed=1))
    assert not VISIBLE.candles(500, seed=1).equals(VISIBLE.candles(500, seed=2))


def test_a_martingale_keeps_every_bars_volatility_and_expects_the_present_price(sp500: pd.DataFrame) -> None:
    move = np.abs(np.log(sp500["close"] / sp500["open"]))
    growth = []
    for seed in range(200):
        candles = martingale_like(sp500, seed)
        np.testing.assert_allclose(np.abs(np.log(candles["close"] / candles["open"])), move, atol=1e-12)
        assert candles["volume"].equals(sp500["volume"])
        growth.append((candles["close"] / candles["open"]).to_numpy() - 1)
    mean, error = np.mean(growth), np.std(growth) / np.sqrt(np.size(growth))
    assert abs(mean) < 4 * error  # simple returns, not log returns: what an account earns


def test_noise_keeps_the_earlier_bars_and_changes_all_later_ones(labelled: pd.DataFrame) -> None:
    noisy = with_noise_from(labelled, 900, seed=0)
    pd.testing.assert_frame_equal(noisy.iloc[:900], labelled.iloc[:900])
    assert noisy.index.equals(labelled.index)
    later, before = (np.std(log_returns(one["close"].to_numpy())[900:]) for one in (noisy, labelled))
    assert later > 3 * before
    assert noisy["volume"].iloc[900:].min() > 2 * labelled["volume"].mean()


def test_permuted_columns_keep_their_values_and_lose_their_relation_to_the_candles(labelled: pd.DataFrame) -> None:
    returns = np.log(labelled["close"]).diff().fillna(0.0)
    permuted = with_permuted_columns(labelled.assign(signal=returns), seed=0)
    assert sorted(permuted["signal"]) == sorted(returns)
    assert abs(np.corrcoef(permuted["signal"], returns)[0, 1]) < 0.1
    pd.testing.assert_frame_equal(permuted[list(labelled)], labelled)
