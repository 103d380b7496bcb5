from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import talib

from data.errors import DataError, SettingsError
from data.features import DEFAULT_FEATURES, FEATURES, compute_features, feature, lookback_of

BUILT_IN = list(FEATURES)


@pytest.mark.parametrize("name", BUILT_IN)
def test_a_feature_does_not_change_when_later_bars_are_cut_off(sp500: pd.DataFrame, name: str) -> None:
    whole = compute_features(sp500, [name])
    for last in (60, 500, 3000):
        cut = compute_features(sp500.iloc[: last + 1], [name])
        np.testing.assert_array_equal(cut.iloc[-1], whole.iloc[last])


@pytest.mark.parametrize("name", BUILT_IN)
def test_a_feature_depends_on_nothing_before_its_lookback(sp500: pd.DataFrame, name: str) -> None:
    whole = compute_features(sp500, [name])
    lookback = FEATURES[name].lookback
    for bar in (lookback, 777, 5030):
        cut = compute_features(sp500.iloc[bar - lookback : bar + 1], [name])
        np.testing.assert_allclose(cut.iloc[-1], whole.iloc[bar], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", BUILT_IN)
def test_a_feature_is_finite_exactly_from_its_lookback_on(sp500: pd.DataFrame, name: str) -> None:
    finite = np.isfinite(compute_features(sp500, [name])).all(axis=1).to_numpy()
    assert finite.argmax() == FEATURES[name].lookback
    assert finite[FEATURES[name].lookback :].all()


@pytest.mark.parametrize("name", BUILT_IN)
def test_a_series_shorter_than_the_lookback_gives_no_value(sp500: pd.DataFrame, name: str) -> None:
    n_bars = FEATURES[name].lookback
    assert compute_features(sp500.iloc[:n_bars], [name]).isna().all(axis=None)


@pytest.mark.parametrize(
    "name", [name for name in BUILT_IN if name not in ("volume_zscore", "hour_of_day", "day_of_week")]
)
def test_price_features_do_not_depend_on_the_unit_of_the_price(sp500: pd.DataFrame, name: str) -> None:
    in_cents = sp500.assign(**{column: 1e-5 * sp500[column] for column in ("open", "high", "low", "close")})
    np.testing.assert_allclose(
        compute_features(in_cents, [name]), compute_features(sp500, [name]), rtol=1e-8, atol=1e-11
    )


def test_features_of_a_small_series_match_a_computation_by_hand() -> None:
    close = np.array([100.0] * 14 + [110.0])
    candles = frame(close)
    features = compute_features(candles, ["log_return", "rsi", "range", "momentum"]).iloc[-1]
    assert features["log_return"] == pytest.approx(np.log(1.1))
    assert features["rsi"] == pytest.approx(100)  # the only change is a gain
    assert features["momentum"] == pytest.approx(np.log(1.1))
    assert features["range"] == pytest.approx(2 / 110)


def test_a_constant_price_has_an_rsi_of_50() -> None:
    features = compute_features(frame(np.full(80, 50.0)), ["rsi", "volatility", "trend_strength", "boll_width"])
    assert features.iloc[-1].tolist() == [50.0, 0.0, 0.0, 0.0]


def test_the_band_width_is_that_of_talib_bollinger_bands(sp500: pd.DataFrame) -> None:
    upper, middle, lower = talib.BBANDS(sp500["close"].to_numpy(), 20, 2.0, 2.0)
    ours = compute_features(sp500, ["boll_width"])["boll_width"]
    np.testing.assert_allclose(ours[19:], ((upper - lower) / middle)[19:], rtol=1e-6)


def test_time_features_are_points_on_a_circle() -> None:
    index = pd.date_range("2024-01-01 06:00", periods=1, tz="UTC")  # a Monday
    features = compute_features(frame(np.array([1.0])).set_axis(index), ["hour_of_day", "day_of_week"]).iloc[0]
    assert features.tolist() == pytest.approx([1, 0, 0, 1])
    assert list(features.index) == ["hour_of_day_sin", "hour_of_day_cos", "day_of_week_sin", "day_of_week_cos"]


def test_a_column_of_the_candles_is_a_feature_of_its_own(sp500: pd.DataFrame) -> None:
    own = sp500.assign(funding=np.arange(len(sp500)))
    assert compute_features(own, ["funding", "log_return"])["funding"].tolist() == list(range(len(sp500)))
    assert lookback_of(["funding"], pd.Timedelta("1D")) == 0


def test_an_unknown_feature_is_refused_with_the_known_ones(sp500: pd.DataFrame) -> None:
    with pytest.raises(DataError, match=r"'rsj' is neither built in \(log_return, .* nor a column"):
        compute_features(sp500, ["rsj"])


def test_a_built_in_feature_cannot_be_replaced() -> None:
    with pytest.raises(SettingsError, match=r"feature 'rsi' of .*test_features\.py is already defined in the package"):
        feature("rsi", lookback=0)(len)


def test_a_registered_feature_is_computed_like_a_built_in_one(sp500: pd.DataFrame) -> None:
    @feature("two_bar_high", lookback=1)
    def two_bar_high(candles: pd.DataFrame) -> np.ndarray:
        return candles["high"].rolling(2).max().to_numpy()

    assert compute_features(sp500, ["two_bar_high"]).iloc[5, 0] == sp500["high"].iloc[4:6].max()
    assert lookback_of(["two_bar_high", "log_return"], pd.Timedelta("1D")) == 1


def test_the_default_features_are_those_of_the_settings() -> None:
    from training.settings import TrainSettings

    assert TrainSettings().features == DEFAULT_FEATURES


def frame(close: np.ndarray) -> pd.DataFrame:
    index = pd.date_range("2024-01-01", periods=len(close), freq="D", tz="UTC")
    return pd.DataFrame(
        {"open": close, "high": close + 1, "low": close - 1, "close": close, "volume": np.ones(len(close))}, index=index
    )
