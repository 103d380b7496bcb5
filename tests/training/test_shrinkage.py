from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from data.splits import chronological_split
from models import Forecaster, ModelSet
from models.provenance import Study
from tests.conftest import SMALL
from training import TrainSettings, train
from training.shrinkage import fit_shrinkage


def forecasts(n_bars: int, slopes: tuple[float, float], noise: float = 1.0) -> pd.DataFrame:
    """Two independent forecasts of deviation 1, and an outcome of these slopes and noise."""
    random = np.random.default_rng(0)
    experts, all_regimes, errors = random.standard_normal((3, n_bars))
    outcome = slopes[0] * experts + slopes[1] * all_regimes + noise * errors
    return pd.DataFrame({"experts": experts, "all_regimes": all_regimes, "outcome": outcome})


def test_many_bars_outweigh_the_prior() -> None:
    weights = fit_shrinkage(forecasts(40_000, (0.7, 0.2)))
    assert (weights.experts, weights.all_regimes) == pytest.approx((0.7, 0.2), abs=0.02)
    assert (weights.experts_error, weights.all_regimes_error) == pytest.approx((1 / 200, 1 / 200), rel=0.05)


def test_noise_leaves_the_prior() -> None:
    weights = fit_shrinkage(forecasts(50, (0.0, 0.0), noise=1000.0))
    assert (weights.experts, weights.all_regimes) == pytest.approx((0.125, 0.125), abs=0.01)
    assert weights.experts_error == pytest.approx(0.15, rel=0.01)


def test_precisions_add_up_as_of_two_measurements() -> None:
    bars = forecasts(400, (0.5, 0.0))
    experts, _, outcome = bars.to_numpy().T
    plain = fit_shrinkage(bars.assign(all_regimes=0.0))
    estimate = experts @ outcome / (experts @ experts)
    variance = (experts * (outcome - estimate * experts)) @ (experts * (outcome - estimate * experts))
    variance /= (experts @ experts) ** 2
    expected = (estimate / variance + 0.125 / 0.15**2) / (1 / variance + 1 / 0.15**2)
    assert plain.experts == pytest.approx(expected, rel=1e-9)
    assert plain.all_regimes == pytest.approx(0.125)  # says nothing


def test_equal_forecasts_share_the_weight_of_their_sum() -> None:
    bars = forecasts(40_000, (0.6, 0.0))
    weights = fit_shrinkage(bars.assign(all_regimes=bars["experts"]))
    assert weights.experts == pytest.approx(weights.all_regimes)
    assert weights.experts + weights.all_regimes == pytest.approx(0.6, abs=0.02)


def test_weights_are_not_negative_and_sum_to_at_most_one() -> None:
    negative = fit_shrinkage(forecasts(40_000, (-0.5, 0.4)))
    assert negative.experts == 0
    assert negative.all_regimes == pytest.approx(0.4, abs=0.02)
    large = fit_shrinkage(forecasts(40_000, (1.5, 0.5)))
    assert large.experts + large.all_regimes == pytest.approx(1.0)
    assert large.experts == pytest.approx(0.75, abs=0.02)


def test_without_held_out_bars_the_weights_are_the_priors() -> None:
    weights = fit_shrinkage(forecasts(0, (0.0, 0.0)))
    assert (weights.experts, weights.all_regimes, weights.n_bars) == (pytest.approx(0.125), pytest.approx(0.125), 0)


def test_the_weights_come_from_the_validation_part_alone(model_set: ModelSet, candles: pd.DataFrame) -> None:
    seen = candles.iloc[:960]
    table = Forecaster(model_set).forecast(seen)
    bars = table.loc[candles.index[840] : candles.index[958], "forecast"]
    assert model_set.shrinkage is not None
    assert model_set.shrinkage.n_bars == len(bars) == 119
    later = candles.copy()
    later.iloc[960:, :4] *= 2
    again = train(later, "SWITCH", TrainSettings(**SMALL))
    assert again.shrinkage == model_set.shrinkage


def test_after_a_search_the_weights_come_from_the_bars_that_it_held_back(
    model_set: ModelSet, candles: pd.DataFrame
) -> None:
    end = candles.index[chronological_split(1200).for_search().validation.stop - 1]
    study = Study(id="S", validation_end=end, bars=90, trials={}, sharpes={})
    trained = train(candles, "SWITCH", TrainSettings(**SMALL), study=study)
    assert trained.provenance.study == study
    assert trained.shrinkage is not None
    assert trained.shrinkage.n_bars == 29  # of the last 30 bars of validation, the last has no outcome in it
