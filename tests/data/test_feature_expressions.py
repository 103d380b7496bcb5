from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
import talib
from hypothesis import assume, given
from hypothesis import strategies as st

from data.errors import DataError
from data.features import FAMILIES, FEATURES, columns_of, compute_features, lookback_of
from data.intervals import interval_of
from data.synthetic import VISIBLE

TALIB = [
    *("CCI(20)", "ADX(14)", "BBANDS(20,2)", "BBANDS(20,2).upper", "EMA(10)", "MACD()", "STOCH()", "MFI(14)"),
    *("STDDEV(5)", "ATR(14)", "CDLENGULFING()", "LINEARREG_SLOPE(14)", "TRIX(9)"),
]
ONE_PERIOD = [name for name, family in FAMILIES.items() if len(family.defaults) == 1]


@pytest.fixture(scope="module")
def candles() -> pd.DataFrame:
    return VISIBLE.candles(6000, seed=3).drop(columns="regime")


def expressions() -> st.SearchStrategy[str]:
    family = st.builds("{}({})".format, st.sampled_from(ONE_PERIOD), st.integers(2, 40))
    macd = st.builds("macd({},{})".format, st.integers(2, 20), st.integers(21, 50))
    plain = st.sampled_from(["log_return", "rsi", "range", "hour_of_day", "macd"])
    lag = st.one_of(st.just(""), st.builds("[{}]".format, st.integers(1, 9)))
    timeframe = st.sampled_from(["", "", "@8h", "@12h", "@1d", "@2d"])
    return st.builds("{}{}{}".format, st.one_of(family, macd, plain, st.sampled_from(TALIB)), lag, timeframe)


@given(expression=expressions(), draw=st.integers(0, 10**9), gaps=st.booleans())
def test_a_value_depends_on_its_lookback_and_on_no_later_bar(expression: str, draw: int, *, gaps: bool) -> None:
    candles = VISIBLE.candles(4000, seed=3).drop(columns="regime")
    if gaps:
        candles = candles[np.random.default_rng(draw).random(len(candles)) > 0.1]
    back = lookback_of([expression], interval_of(pd.DatetimeIndex(candles.index)))
    assume(back < len(candles))
    whole = compute_features(candles, [expression])
    bar = back + draw % (len(candles) - back)
    piece = compute_features(candles.iloc[bar - back : bar + 1], [expression])
    spread = whole.std().to_numpy()
    allowed = 1e-7 * np.where(spread > 0, spread, 1)
    assert np.all(np.abs(piece.iloc[-1] - whole.iloc[bar]) <= allowed)
    assert whole.iloc[back:].notna().all(axis=None)
    assert list(whole) == columns_of([expression])


def test_periods_of_the_plain_name_are_the_defaults(candles: pd.DataFrame) -> None:
    pairs = {"rsi": "rsi(14)", "macd": "macd(12,26)", "volatility": "volatility(20)", "atr": "atr(14)"}
    table = compute_features(candles, [*pairs, *pairs.values()])
    for plain, given_periods in pairs.items():
        pd.testing.assert_series_equal(table[plain], table[given_periods], check_names=False)
        assert FEATURES[plain].lookback == FEATURES[given_periods].lookback


def test_a_lag_is_the_value_of_an_earlier_bar(candles: pd.DataFrame) -> None:
    table = compute_features(candles, ["rsi(28)", "rsi(28)[3]"])
    pd.testing.assert_series_equal(table["rsi(28)[3]"], table["rsi(28)"].shift(3), check_names=False)
    assert table["rsi(28)[3]"].first_valid_index() == candles.index[31]


def test_a_higher_timeframe_is_known_once_its_bar_has_closed(candles: pd.DataFrame) -> None:
    """Against pandas: the day's last 4 h candle ends with the day, so the day's value is known at it."""
    ours = compute_features(candles, ["log_return@1d"])["log_return@1d"]
    days = candles["close"].resample("1D").last()
    daily = np.log(days).diff()
    ends = candles.index + pd.Timedelta("4h")
    known = (ends.floor("1D") - pd.Timedelta("1D")).map(daily)
    known_from = ours.first_valid_index()
    np.testing.assert_allclose(ours.loc[known_from:], known[candles.index >= known_from], rtol=1e-9)
    assert known_from is not None
    assert known_from <= candles.index[0] + pd.Timedelta("4D")


def test_an_unfinished_higher_bar_changes_nothing(candles: pd.DataFrame) -> None:
    candles = candles.iloc[:-2]
    changed = candles.copy()
    late = candles.index >= candles.index[-1].floor("1D")  # the last day
    assert 0 < late.sum() < 6
    changed.loc[late, "close"] *= 1.01
    changed.loc[late, "high"] *= 1.02
    names = ["rsi(5)@1d", "atr(5)@1d"]
    pd.testing.assert_frame_equal(compute_features(changed, names), compute_features(candles, names))


def test_weeks_begin_on_mondays(candles: pd.DataFrame) -> None:
    weekly = compute_features(candles, ["log_return@1w"])["log_return@1w"].dropna()
    changes = weekly.index[1:][np.diff(weekly) != 0] + pd.Timedelta("4h")  # the close at which a new value is known
    assert len(changes) > 50
    assert set(changes.day_of_week) == {0}
    assert set(changes.hour) == {0}


def test_a_talib_function_is_that_of_talib_relative_to_the_close(candles: pd.DataFrame) -> None:
    table = compute_features(candles, ["EMA(20)", "CCI(20)", "BBANDS(20,3).lower", "VAR(10)"])
    arrays = {name: candles[name].to_numpy() for name in ("high", "low", "close")}
    close = arrays["close"]
    expected = {
        "EMA(20)": talib.EMA(close, 20) / close,
        "CCI(20)": talib.CCI(arrays["high"], arrays["low"], close, 20),
        "BBANDS(20,3).lower": talib.BBANDS(close, 20, 3, 3)[2] / close,
        "VAR(10)": talib.VAR(close, 10) / close**2,
    }
    for name, values in expected.items():
        known = table[name].notna().to_numpy()
        np.testing.assert_allclose(table[name][known], values[known], rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize("factor", [1e-6, 1e5])
def test_features_have_no_unit_of_price(candles: pd.DataFrame, factor: float) -> None:
    scaled = candles.copy()
    scaled[["open", "high", "low", "close"]] *= factor
    one, other = (compute_features(frame, TALIB) for frame in (candles, scaled))
    assert ((one - other).abs() / one.std()).max(axis=None) < 1e-5


def test_the_memory_of_an_exponential_average_is_that_of_its_weights() -> None:
    """A weight of (1 - a)^k falls below about 1e-9 of the values' spread after ln(1e-9) / ln(1 - a) bars."""
    expected = math.log(1e-9) / math.log(1 - 2 / 21)
    assert FEATURES["EMA(20)"].lookback == pytest.approx(expected, rel=0.15)
    assert FEATURES["SMA(20)"].lookback == 19


@pytest.mark.parametrize(
    ("expression", "reason"),
    [
        ("rsi(28", "cannot be read"),
        ("rsi(0)", "smallest period of rsi is 2"),
        ("rsi(1.5)", "whole periods"),
        ("rsi(2,3)", "for example rsi(14)"),
        ("rssi(3)", "Did you mean 'rsi'"),
        ("OBV()", "no finite memory"),
        ("HT_TRENDLINE()", "no finite memory"),
        ("VWAP()", "more than 6,000 bars"),
        ("ADOSC()", "unit of the volume"),
        ("CCI(1,2,3)", "takes timeperiod"),
        ("SMA(-1)", "numbers from 0"),
        ("SMA(0)", "TA-Lib refuses"),
        ("BBANDS(20).top", "has the outputs upperband"),
        ("log_return[0]", "from 1 to 10,000"),
        ("volatility@7x", "unknown timeframe"),
        ("volatility@6h", "not a multiple"),
        ("volatility@4h", "not a multiple"),
        ("rsi(14).upper", "has no outputs"),
    ],
)
def test_an_expression_that_cannot_be_is_refused_with_the_reason(
    candles: pd.DataFrame, expression: str, reason: str
) -> None:
    with pytest.raises(DataError, match=reason.replace("(", r"\(").replace(")", r"\)")):
        compute_features(candles, [expression])


def test_a_column_of_the_candles_may_have_the_name_of_a_function(candles: pd.DataFrame) -> None:
    own = candles.assign(RSI=1.0, **{"close (USD)": 2.0})
    table = compute_features(own, ["RSI", "close (USD)"])
    assert table.iloc[0].tolist() == [1.0, 2.0]
