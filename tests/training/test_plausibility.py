"""Skill that is too good to be true is flagged, and that of markets is not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from data.features import FEATURES
from data.synthetic import martingale_like
from training.plausibility import (
    MOST_CORRELATED,
    MOST_EXPLAINED,
    implausible_inputs,
    implausible_scores,
    implausible_sharpe,
    input_skills,
)
from training.scores import score


def with_column(candles: pd.DataFrame, values: pd.Series) -> pd.DataFrame:
    return candles.assign(signal=values.fillna(0.0))


def test_the_next_return_as_a_column_is_flagged_with_its_correlation(candles: pd.DataFrame) -> None:
    leaking = with_column(candles, np.log(candles["close"]).diff().shift(-1))
    (warning,) = implausible_inputs(leaking, ["signal", "rsi"])
    assert warning.startswith("signal has a rank correlation (IC) of +1.00 with the next return.")


# A change of an average over 51 bars holds a 51st of each of the 25 later returns: they are half of its variance.
@pytest.mark.parametrize("length", [5, 51])
def test_a_centred_average_as_a_column_is_flagged(candles: pd.DataFrame, length: int) -> None:
    centred = candles["close"].rolling(length, center=True, min_periods=1).mean()
    (warning,) = implausible_inputs(with_column(candles, centred), ["signal"])
    assert "signal" in warning
    assert "too good to be true" in warning


def test_an_average_of_the_past_is_not_flagged(candles: pd.DataFrame) -> None:
    assert implausible_inputs(with_column(candles, candles["close"].rolling(51).mean().bfill()), ["signal"]) == []


def test_no_feature_is_flagged_on_martingales(candles: pd.DataFrame) -> None:
    for seed in range(3):
        skills = input_skills(martingale_like(candles, seed), [name for name in FEATURES if "_of_" not in name])
        assert max(abs(skill.correlation) for skill in skills) < MOST_CORRELATED
        assert max(skill.explained for skill in skills) < MOST_EXPLAINED


def test_a_forecast_that_knows_the_outcome_is_flagged() -> None:
    outcome = np.random.default_rng(0).standard_normal(500)
    known = score(0.5 * outcome, outcome, 0.0)
    (warning,) = implausible_scores({"ridge": known, "zero": score(np.zeros(500), outcome, 0.0)})
    assert warning.startswith("the forecast of ridge has an R2 of 75 % and an IC of +1.00 on unseen bars.")
    assert implausible_scores({"ridge": replace(known, bars=100)}) == []


@pytest.mark.parametrize(
    ("sharpe", "low", "trades", "flagged"),
    [(6.1, 4.0, 200, True), (6.1, 4.0, 199, False), (9.0, 6.1, 199, True), (5.9, 5.0, 900, False)],
)
def test_a_sharpe_ratio_is_flagged_above_6_with_200_trades_or_a_narrow_interval(
    sharpe: float, low: float, trades: int, flagged: bool
) -> None:
    assert bool(implausible_sharpe(sharpe, low, trades)) == flagged
