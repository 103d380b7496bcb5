from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from data.candles import check_candles
from data.errors import DataError, ModelSetError
from data.features import FEATURES, compute_features
from models import Forecaster, ForecastSettings, ModelSet
from models.forecaster import densities, intervals
from tests.conftest import SMALL
from training import TrainSettings, train

EVERYTHING = (*FEATURES, "funding")


@pytest.fixture(scope="module")
def funded(labelled: pd.DataFrame) -> pd.DataFrame:
    """Labelled candles with a column of the user's own."""
    return labelled.assign(funding=np.random.default_rng(1).standard_normal(len(labelled)))


def every_bar(forecaster: Forecaster, candles: pd.DataFrame, start: int, stop: int) -> tuple[pd.DataFrame, list[Any]]:
    batch = forecaster.forecast(candles).iloc[start:stop]
    stream = forecaster.stream(candles.iloc[:start])
    rows = candles.iloc[start:stop]
    return batch, [stream.push({"timestamp": time, **row}) for time, row in rows.iterrows()]


@pytest.mark.parametrize(
    ("settings", "source"),
    [
        ({"detector": "hmm"}, "detector"),
        ({"detector": "trend"}, "detector"),
        ({"detector": "labels"}, "detector"),
        ({"detector": "labels"}, "column"),
        ({"detector": "hmm", "min_confidence": 0.7, "min_dwell": 3}, "detector"),
    ],
)
def test_batch_and_stream_agree_on_every_bar_for_every_feature(
    funded: pd.DataFrame, settings: dict[str, Any], source: Any
) -> None:
    model_set = train(funded, "ALL", TrainSettings(**{**SMALL, "epochs": 1, "features": EVERYTHING, **settings}))
    for options in ({}, {"blend": True}, {"shrinkage": "learnt"}):
        forecaster = Forecaster(model_set, ForecastSettings(regime_source=source, **options))
        batch, stream = every_bar(forecaster, funded, 900, 1000)
        assert not batch.isna().any(axis=None)
        tolerance = 1e-6 * batch["forecast"].abs()
        for (_, row), pushed, allowed in zip(batch.iterrows(), stream, tolerance, strict=True):
            assert pushed.regime == row["regime"]
            assert abs(pushed.log_return - row["forecast"]) <= allowed
            assert pushed.members == pytest.approx((row["member_1"], row["member_2"]), rel=1e-6)
        stored = densities(batch)
        assert stored is not None
        for bar, pushed in enumerate(stream):
            for name in ("weights", "location", "scale", "df"):
                np.testing.assert_allclose(getattr(pushed.density, name), getattr(stored[bar], name), rtol=1e-6)
            assert list(pushed.levels) == pytest.approx(batch[["level_50", "level_80", "level_95"]].iloc[bar].tolist())


def test_the_intervals_of_a_table_are_those_of_the_stream(model_set: ModelSet, candles: pd.DataFrame) -> None:
    batch, stream = every_bar(Forecaster(model_set), candles, 1000, 1005)
    by_share = intervals(batch)
    assert by_share is not None
    for bar, pushed in enumerate(stream):
        for share, ends in pushed.intervals().items():
            np.testing.assert_allclose(by_share[share][bar], ends, rtol=1e-6)


def test_forecasts_begin_exactly_after_the_lookback(model_set: ModelSet, candles: pd.DataFrame) -> None:
    forecaster = Forecaster(model_set)
    batch = forecaster.forecast(candles)
    assert batch.iloc[: forecaster.lookback].isna().all(axis=None)
    assert batch.iloc[forecaster.lookback :].notna().all(axis=None)
    stream = forecaster.stream()
    pushed = [
        stream.push({"timestamp": time, **row}) for time, row in candles.iloc[: forecaster.lookback + 1].iterrows()
    ]
    assert pushed[:-1] == [None] * forecaster.lookback
    assert pushed[-1].log_return == pytest.approx(batch["forecast"].iloc[forecaster.lookback], rel=1e-6)


def test_a_stream_may_begin_at_any_bar_and_bars_may_be_missing(model_set: ModelSet, candles: pd.DataFrame) -> None:
    """At random, as in a market with few trades; the first bar after an outage is off the grid."""
    gappy = candles[np.random.default_rng(0).random(len(candles)) > 0.2]
    outage = gappy.index[905] - pd.Timedelta(hours=1)
    gappy = gappy.set_axis(gappy.index.where(gappy.index != gappy.index[905], outage))
    check_candles(gappy)
    forecaster = Forecaster(model_set)
    batch = forecaster.forecast(gappy)
    for start in range(900, 900 + SMALL["stride"] + 1):
        _, stream = every_bar(forecaster, gappy, start, start + 40)
        for expected, pushed in zip(batch["forecast"].iloc[start : start + 40], stream, strict=True):
            assert pushed.log_return == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("blend", [False, True])
def test_later_bars_change_no_forecast(model_set: ModelSet, candles: pd.DataFrame, blend: bool) -> None:
    forecaster = Forecaster(model_set, ForecastSettings(blend=blend))
    whole = forecaster.forecast(candles)
    for last in (400, 801, 1100):
        cut = forecaster.forecast(candles.iloc[: last + 1])
        pd.testing.assert_series_equal(cut.iloc[-1], whole.iloc[last], rtol=1e-9)


def test_a_forecast_depends_on_its_lookback_and_its_intervals_on_the_history(
    model_set: ModelSet, candles: pd.DataFrame
) -> None:
    forecaster = Forecaster(model_set)
    whole = forecaster.forecast(candles)
    for last in (801, 1100):
        pieces = [candles.iloc[last - before : last + 1] for before in (forecaster.history, forecaster.lookback)]
        recalled, short = (forecaster.forecast(piece).iloc[-1] for piece in pieces)
        pd.testing.assert_series_equal(recalled, whole.iloc[last], rtol=1e-9)
        levels = [name for name in whole if name.startswith("level_")]
        pd.testing.assert_series_equal(short.drop(levels), whole.iloc[last].drop(levels), rtol=1e-9)
        assert short[levels].tolist() == [0.5, 0.8, 0.95]


def test_the_forecast_is_that_of_the_regimes_expert(model_set: ModelSet, candles: pd.DataFrame) -> None:
    import torch

    table = Forecaster(model_set).forecast(candles)
    for bar in (500, 700, 1100):
        expert = model_set.experts[int(table["regime"].iloc[bar])]
        scaled = (compute_features(candles, expert.features).to_numpy() - expert.mean) / expert.scale
        interval = pd.Timedelta(hours=4)
        bars_into_block = (candles.index[bar] - pd.Timestamp(0, tz="UTC")) // interval % expert.stride
        first = bar - bars_into_block - (expert.window - 1)
        with torch.no_grad():
            bars = torch.from_numpy(scaled[first : bar + 1].copy())[None]
            outputs = [float(network(bars)[0][0, -1]) for network in expert.networks]
        expected = np.array(outputs) * expert.target_scale
        assert table[["member_1", "member_2"]].iloc[bar].tolist() == pytest.approx(expected.tolist(), rel=1e-9)
        assert table["forecast"].iloc[bar] == pytest.approx(expected.mean(), rel=1e-9)


def test_learnt_shrinkage_combines_each_members_forecast_with_the_all_regimes_networks(
    model_set: ModelSet, candles: pd.DataFrame
) -> None:
    weights = model_set.shrinkage
    shrunk, experts, one_lstm = (
        Forecaster(models, settings).forecast(candles)[["forecast", "member_1", "member_2"]]
        for models, settings in (
            (model_set, ForecastSettings(shrinkage="learnt")),
            (model_set, ForecastSettings()),
            (replace(model_set, experts={}), ForecastSettings()),
        )
    )
    np.testing.assert_allclose(shrunk, weights.experts * experts + weights.all_regimes * one_lstm, atol=1e-15)


def test_a_set_without_weights_cannot_be_shrunk(model_set: ModelSet) -> None:
    with pytest.raises(ModelSetError, match=r"have no shrinkage weights.*Train again"):
        Forecaster(replace(model_set, shrinkage=None), ForecastSettings(shrinkage="learnt"))


def test_a_blend_is_the_mean_of_the_experts_weighted_by_probability(model_set: ModelSet, candles: pd.DataFrame) -> None:
    blended = Forecaster(model_set, ForecastSettings(blend=True)).forecast(candles).iloc[-200:]
    single = []
    for regime in (0, 1, 2):
        fixed = candles.assign(regime=float(regime))
        single.append(
            Forecaster(model_set, ForecastSettings(regime_source="column")).forecast(fixed)["forecast"].iloc[-200:]
        )
    weights = blended[["p_bearish", "p_sideways", "p_bullish"]].to_numpy()
    np.testing.assert_allclose(blended["forecast"], (weights * np.stack(single, axis=1)).sum(axis=1), rtol=1e-9)


def test_a_nan_in_a_users_column_gives_no_forecast_at_the_bars_that_may_read_it(funded: pd.DataFrame) -> None:
    settings = TrainSettings(**{**SMALL, "epochs": 1, "features": ("log_return", "funding"), "detector": "trend"})
    model_set = train(funded, "GAP", settings)
    gappy = funded.copy()
    gappy.iloc[1000, gappy.columns.get_loc("funding")] = np.nan
    forecaster = Forecaster(model_set)
    silent = forecaster.forecast(gappy)["forecast"].isna().to_numpy().nonzero()[0]
    assert silent[silent >= forecaster.lookback].tolist() == list(
        range(1000, 1000 + SMALL["window"] + SMALL["stride"] - 1)
    )


@pytest.mark.parametrize(
    ("column", "source", "settings"),
    [
        ("funding", "detector", {"features": ("log_return", "funding"), "detector": "trend"}),
        ("regime", "column", {"detector": "labels"}),
    ],
)
def test_a_stream_has_no_forecast_where_the_batch_has_none(
    funded: pd.DataFrame, column: str, source: Any, settings: dict[str, Any]
) -> None:
    model_set = train(funded, "GAP", TrainSettings(**{**SMALL, "epochs": 1, **settings}))
    forecaster = Forecaster(model_set, ForecastSettings(regime_source=source))
    gappy = funded.copy()
    gappy.iloc[905, gappy.columns.get_loc(column)] = np.nan
    batch, stream = every_bar(forecaster, gappy, 900, 930)
    silent = [pushed is None for pushed in stream]
    assert silent == batch["forecast"].isna().tolist()
    assert silent[:7] == [False] * 5 + [True, column == "funding"]  # what reads several bars misses it for as many
    assert not silent[-1]


def test_a_missing_column_is_named(funded: pd.DataFrame) -> None:
    settings = TrainSettings(**{**SMALL, "epochs": 1, "features": ("log_return", "funding"), "detector": "trend"})
    forecaster = Forecaster(train(funded, "OWN", settings))
    assert forecaster.columns() == ["open", "high", "low", "close", "volume", "funding"]
    with pytest.raises(DataError, match="funding"):
        forecaster.forecast(funded.drop(columns="funding"))
    with pytest.raises(DataError, match="needs column funding"):
        forecaster.stream(funded.drop(columns="funding"))


def test_an_invalid_candle_is_refused_and_does_not_change_the_stream(
    model_set: ModelSet, candles: pd.DataFrame
) -> None:
    forecaster = Forecaster(model_set)
    stream = forecaster.stream(candles.iloc[:600])
    following = {"timestamp": candles.index[600], **candles.iloc[600]}
    with pytest.raises(DataError, match="push each candle once"):
        stream.push({**following, "timestamp": candles.index[599]})
    with pytest.raises(DataError, match="close is -1"):
        stream.push({**following, "close": -1.0})
    pushed = stream.push(following)
    assert pushed is not None
    assert pushed.log_return == pytest.approx(forecaster.forecast(candles)["forecast"].iloc[600], rel=1e-6)
