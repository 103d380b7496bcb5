"""Feeds as Backtrader's users have them: with sessions and gaps, preloaded or streamed, and called daily by mistake."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import backtrader as bt
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from data.errors import DataError
from models import ModelSet
from models.recorded import RecordedForecasts
from strategies import LSTMRegimeStrategy
from strategies.feed import candle_feed
from tests.conftest import flat, sessions

US_4H = sessions("America/New_York", "9:30 13:30", half_days=True)
DAYS = sessions("UTC", "0:00")


def models_of(index: pd.DatetimeIndex, interval: str) -> RecordedForecasts:
    table = pd.DataFrame({"regime": 1.0, "member_1": 0.0}, index=index)
    return RecordedForecasts("RECORDED", pd.Timedelta(interval), table)


def run(models: Any, feed: bt.feed.DataBase, *, preload: bool, **resample: int) -> int:
    """Run the strategy and return the number of bars."""
    engine = bt.Cerebro(preload=preload, stdstats=False)
    (engine.resampledata if resample else engine.adddata)(feed, **resample)
    engine.addstrategy(LSTMRegimeStrategy, models=models)
    return len(engine.run()[0].datas[0])


@settings(max_examples=15)
@given(some.integers(0, len(US_4H) - 120), some.sampled_from([40, 60, 120]), some.sampled_from([0.0, 0.15, 0.3]))
@pytest.mark.parametrize("preload", [True, False])
def test_sessions_from_any_day_on_are_four_hour_bars(preload: bool, start: int, n_bars: int, share: float) -> None:
    part = US_4H[start : start + n_bars]
    part = part[np.random.default_rng(start).random(len(part)) >= share]
    assert run(models_of(part, "4h"), candle_feed(flat(part)), preload=preload) == len(part)


@pytest.mark.parametrize("start", range(0, 130, 13))
def test_months_resampled_from_any_day_on_are_months(start: int) -> None:
    months = {"timeframe": bt.TimeFrame.Months, "compression": 1}
    for preload in (True, False):
        feed = candle_feed(flat(DAYS[start:]), checked=True)
        assert run(models_of(DAYS, "31D"), feed, preload=preload, **months) > 28


def changed(before: pd.DatetimeIndex, then: str, n_bars: int) -> pd.DatetimeIndex:
    return before.append(pd.date_range(before[-1], periods=n_bars + 1, freq=then)[1:])


FOUR_HOURS = pd.date_range("2024-01-01", periods=300, freq="4h", tz="UTC", unit="us")


@pytest.mark.parametrize(
    ("index", "message"),
    [
        (FOUR_HOURS[::6], "the feed: bars are 1 d apart, but the models of RECORDED were trained on bars 4 h apart"),
        (changed(FOUR_HOURS[1:], "1h", 40), "row 299: this bar opens 1 h after the one before"),
        (changed(FOUR_HOURS, "1D", 40), "row 300: this bar opens 1 d after the one before"),
        (FOUR_HOURS[::2], "the feed: bars are 8 h apart"),
    ],
)
@pytest.mark.parametrize("preload", [True, False])
def test_what_a_preloaded_feed_would_be_refused_for_a_streamed_one_is(
    preload: bool, index: pd.DatetimeIndex, message: str
) -> None:
    feed = bt.feeds.PandasData(
        dataname=flat(index).tz_localize(None),
        openinterest=None,
        timeframe=bt.TimeFrame.Minutes,
        compression=240,
    )
    with pytest.raises(DataError, match=message):
        run(models_of(FOUR_HOURS, "4h"), feed, preload=preload)


@pytest.mark.parametrize("preload", [True, False])
def test_a_feed_without_a_timeframe_is_refused_with_the_one_to_pass(
    candles: pd.DataFrame, model_set: ModelSet, tmp_path: Path, preload: bool
) -> None:
    path = tmp_path / "candles.csv"
    candles.to_csv(path, date_format="%Y-%m-%d %H:%M:%S")
    for feed in (
        bt.feeds.PandasData(dataname=candles.tz_localize(None), openinterest=None),
        bt.feeds.GenericCSVData(dataname=str(path), openinterest=-1),
    ):
        with pytest.raises(
            DataError,
            match=r"calls itself daily, .* by default, but has several bars on 2022-01-01\. Pass .*"
            r"timeframe=bt\.TimeFrame\.Minutes, compression=240",
        ):
            run(model_set, feed, preload=preload)
        feed.stop()  # a failed run leaves its file open
