from __future__ import annotations

from pathlib import Path
from typing import Any

import backtrader as bt
import numpy as np
import pandas as pd
import pytest
import torch

from data.errors import DataError, ModelSetError, SettingsError
from models import Forecaster, ModelSet
from models.detectors.labels import ColumnDetector
from models.expert import Expert, member_names
from models.forecaster import Forecast, member_forecasts
from models.network import RegimeLSTM
from models.recorded import RecordedForecasts
from models.regimes import Regime, regime_name
from strategies import BuyAndHold, LSTMRegimeStrategy
from strategies.feed import candle_feed
from strategies.settings import TradingSettings
from tests.conftest import SMALL, switching_candles
from training import TrainSettings, train

# Thresholds that the small networks' members pass often enough for a test to see every turn.
EAGER = {"long_threshold": -0.0004, "short_threshold": -0.0012}


class Watched(LSTMRegimeStrategy):
    """The strategy, and what it knew and held at each bar."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[float, ...]] = []

    def next(self) -> None:
        super().next()
        size, equity = self.getposition(self.traded).size, self.broker.getvalue()
        self.seen.append((self.regime, self.forecast, size, equity, self.vote.mean))


def run(candles: pd.DataFrame, models: Any, *, feed: Any = None, settings: Any = None, **cerebro: Any) -> np.ndarray:
    engine = bt.Cerebro(**cerebro)
    engine.adddata(feed if feed is not None else candle_feed(candles))
    engine.addstrategy(Watched, models=models, **{**EAGER, **(settings or {})})
    engine.broker.setcommission(commission=0.001)
    return np.array(engine.run()[0].seen)


@pytest.fixture(scope="module")
def preloaded(candles: pd.DataFrame, model_set: ModelSet) -> np.ndarray:
    return run(candles.iloc[:500], model_set)


def test_each_bar_has_the_forecasters_regime_and_forecast(
    preloaded: np.ndarray, candles: pd.DataFrame, model_set: ModelSet
) -> None:
    expected = Forecaster(model_set).forecast(candles.iloc[:500])
    np.testing.assert_array_equal(preloaded[:, 0], expected["regime"])
    np.testing.assert_allclose(preloaded[:, 1], expected["forecast"], rtol=1e-9)


def test_an_order_decided_at_a_close_fills_at_the_next_open(
    preloaded: np.ndarray, candles: pd.DataFrame, model_set: ModelSet
) -> None:
    """Hand arithmetic of the whole path: the target, sized at the close, filled at the next open, with commission."""
    members = member_forecasts(Forecaster(model_set).forecast(candles.iloc[:500]))
    cash, size, states, mean = 10_000.0, 0.0, np.zeros(members.shape[1]), 0.0
    wanted_size = None
    for bar, (_, forecast, position, equity, _) in enumerate(preloaded):
        opened, close = candles["open"].iloc[bar], candles["close"].iloc[bar]
        if wanted_size is not None:
            traded = wanted_size - size
            cash -= traded * opened + abs(traded) * opened * 0.001
            size, wanted_size = wanted_size, None
        assert position == pytest.approx(size)
        assert equity == pytest.approx(cash + size * close)
        if np.isfinite(forecast):
            short = members[bar] < EAGER["short_threshold"]
            states = np.where(members[bar] > EAGER["long_threshold"], 1, np.where(short, -1, states))
            if states.mean() != mean:
                mean = states.mean()
                wanted_size = mean * 0.95 * (cash + size * close) / close
    assert len(np.unique(np.sign(preloaded[:, 2]))) == 3  # it was flat, long and short


def constant_expert(name: str, log_returns: list[float]) -> Expert:
    """An expert whose members forecast the same log returns at every bar."""
    networks = tuple(RegimeLSTM(n_features=1, hidden_dim=2, num_layers=1).double().eval() for _ in log_returns)
    for network, log_return in zip(networks, log_returns, strict=True):
        torch.nn.init.zeros_(network.head.weight)
        torch.nn.init.constant_(network.head.bias, log_return)
    return Expert(name, ("log_return",), np.zeros(1), np.ones(1), 1.0, networks, window=2, stride=1)


def constant_models(candles: pd.DataFrame, of_regime: dict[Regime, list[float]]) -> ModelSet:
    experts = {int(regime): constant_expert(regime_name(regime), members) for regime, members in of_regime.items()}
    return ModelSet(
        "CONSTANT",
        experts,
        constant_expert("all", [0.0] * len(of_regime[Regime.BULLISH])),
        ColumnDetector(tuple(experts)),
        candles.index[1] - candles.index[0],
        candles.index[-1],
        provenance=None,
    )


@pytest.mark.parametrize(
    ("of_regime", "fractions"),
    [
        (
            {Regime.BEARISH: [-0.002], Regime.SIDEWAYS: [0.001], Regime.BULLISH: [0.002]},
            {Regime.BEARISH: -1.0, Regime.BULLISH: 1.0},
        ),
        (
            {
                Regime.BEARISH: [-0.002, -0.002, -0.0011, -0.002, 0.002],
                Regime.SIDEWAYS: [0.001, -0.001, 0.001, -0.001, 0.0],  # the thresholds themselves change nothing
                Regime.BULLISH: [0.002, 0.002, 0.002, -0.002, 0.0011],
            },
            {Regime.BEARISH: -0.6, Regime.BULLISH: 0.6},
        ),
    ],
    ids=["one member", "five members"],
)
def test_in_each_regime_its_own_expert_decides_what_the_next_open_fills(
    of_regime: dict[Regime, list[float]], fractions: dict[Regime, float]
) -> None:
    """The task of the strategy, in closed form, on the series of a regime that switches."""
    labelled = switching_candles(400)
    engine = bt.Cerebro()
    engine.adddata(candle_feed(labelled))
    models = constant_models(labelled, of_regime)
    engine.addstrategy(Watched, models=models, regime_source="column")
    regime, forecast, size, equity, vote = np.array(engine.run()[0].seen).T
    opened, close = labelled["open"].to_numpy(), labelled["close"].to_numpy()
    first = Forecaster(models, TradingSettings(regime_source="column")).lookback
    np.testing.assert_array_equal(regime[first:], labelled["regime"].iloc[first:])
    expected, units, fills = 0.0, 0.0, 0
    for bar in range(first, len(close) - 1):
        assert forecast[bar] == np.mean(of_regime[Regime(regime[bar])])
        before, expected = expected, fractions.get(Regime(regime[bar]), expected)
        assert vote[bar] == expected
        if expected != before:
            units = expected * 0.95 * equity[bar] / close[bar]  # sized at the close that decides
            fills += 1
        assert size[bar + 1] == pytest.approx(units, rel=1e-12)
        change = size[bar] * (opened[bar + 1] - close[bar]) + units * (close[bar + 1] - opened[bar + 1])
        assert equity[bar + 1] == pytest.approx(equity[bar] + change)
    assert fills > 4


@pytest.mark.parametrize(
    "mode",
    [
        {"runonce": False},
        {"preload": False},
        {"preload": False, "runonce": False},
        {"exactbars": 1},
        {"stdstats": False},
        {"live": True},
    ],
)
def test_every_mode_of_cerebro_gives_the_same_run(
    preloaded: np.ndarray, candles: pd.DataFrame, model_set: ModelSet, mode: dict[str, Any]
) -> None:
    same(run(candles.iloc[:500], model_set, **mode), preloaded)


def hours_of(candles: pd.DataFrame) -> pd.DataFrame:
    """One-hour bars, stamped with their close as Backtrader's resampling wants them, that make up four-hour ones."""
    hourly = candles.loc[candles.index.repeat(4)]
    for_close = np.tile([False, False, False, True], len(candles))
    return hourly.assign(
        close=np.where(for_close, hourly["close"], hourly["open"]), volume=hourly["volume"] / 4
    ).set_axis(pd.date_range(candles.index[0] + pd.Timedelta(hours=1), periods=len(hourly), freq="h", name="timestamp"))


def test_trading_begins_at_the_same_bar_of_a_resampled_feed(candles: pd.DataFrame, model_set: ModelSet) -> None:
    part, closes = candles.iloc[:260], []

    class Asked(LSTMRegimeStrategy):
        def wanted_size(self, forecast: Forecast, held: float) -> float:
            closes.append(self.traded.close[0])
            return held

    trade_from = part.index[220].tz_localize(None).to_pydatetime()
    for resampled in (True, False):
        closes.clear()
        engine = bt.Cerebro()
        if resampled:
            engine.resampledata(candle_feed(hours_of(part)), timeframe=bt.TimeFrame.Minutes, compression=240)
        else:
            engine.adddata(candle_feed(part))
        engine.addstrategy(Asked, models=model_set, trade_from=trade_from)
        engine.run()
        assert closes == part["close"].iloc[220:].tolist()


def test_a_resampled_feed_gives_the_run_of_its_bars(candles: pd.DataFrame, model_set: ModelSet) -> None:
    n_bars = 300
    hourly = hours_of(candles.iloc[:n_bars])
    for preload in (True, False):
        engine = bt.Cerebro(preload=preload)
        engine.resampledata(candle_feed(hourly), timeframe=bt.TimeFrame.Minutes, compression=240)
        engine.addstrategy(Watched, models=model_set, **EAGER)
        engine.broker.setcommission(commission=0.001)
        seen = np.array(engine.run()[0].seen)
        expected = run(candles.iloc[:n_bars], model_set)[: len(seen)]
        assert len(seen) == n_bars
        np.testing.assert_array_equal(seen[:, 0], expected[:, 0])
        np.testing.assert_allclose(seen[:, 1], expected[:, 1], rtol=1e-6)


def test_optstrategy_with_many_processes_gives_the_runs_of_one(candles: pd.DataFrame, saved: Path) -> None:
    thresholds = [0.0001, 0.0005, 0.05]
    values = []
    for processes in (1, 2):
        engine = bt.Cerebro(maxcpus=processes, optreturn=True)
        engine.adddata(candle_feed(candles.iloc[:400]))
        engine.optstrategy(LSTMRegimeStrategy, models=[str(saved)], long_threshold=thresholds)
        engine.addanalyzer(bt.analyzers.TimeReturn, timeframe=bt.TimeFrame.NoTimeFrame, _name="total")
        values.append([list(result[0].analyzers.total.get_analysis().values()) for result in engine.run()])
    assert values[0] == values[1]
    assert len(values[0]) == len(thresholds)
    assert values[0][0] != values[0][2]


def test_a_feed_of_generic_csv_data_gives_the_same_run(
    preloaded: np.ndarray, candles: pd.DataFrame, saved: Path, tmp_path: Path
) -> None:
    path = tmp_path / "candles.csv"
    candles.iloc[:500].to_csv(path, date_format="%Y-%m-%d %H:%M:%S")
    feed = bt.feeds.GenericCSVData(dataname=str(path), timeframe=bt.TimeFrame.Minutes, compression=240, openinterest=-1)
    same(run(candles, saved, feed=feed), preloaded)


def test_daily_bars_stamped_with_the_end_of_their_session_keep_their_date(sp500: pd.DataFrame, tmp_path: Path) -> None:
    daily = sp500.iloc[-800:]
    settings = TrainSettings(**{**SMALL, "epochs": 1, "detector": "trend", "features": ("log_return", "day_of_week")})
    model_set = train(daily, "DAILY", settings)
    path = tmp_path / "daily.csv"
    daily.to_csv(path, date_format="%Y-%m-%d")
    feed = bt.feeds.GenericCSVData(dataname=str(path), dtformat="%Y-%m-%d", openinterest=-1)
    expected = Forecaster(model_set).forecast(daily)["forecast"]
    for preload in (True, False):
        seen = run(daily, model_set, feed=feed, preload=preload)
        np.testing.assert_allclose(seen[:, 1], expected, rtol=1e-6)


def test_a_second_feed_of_a_shorter_interval_changes_nothing(
    preloaded: np.ndarray, candles: pd.DataFrame, model_set: ModelSet
) -> None:
    hourly = candles.iloc[:500].set_axis(pd.date_range(candles.index[0], periods=500, freq="h", name="timestamp"))
    engine = bt.Cerebro()
    engine.adddata(candle_feed(candles.iloc[:500]))
    engine.adddata(candle_feed(hourly))
    engine.addstrategy(LSTMRegimeStrategy, models=model_set, **EAGER)
    engine.broker.setcommission(commission=0.001)
    engine.run()
    assert engine.broker.getvalue() == pytest.approx(preloaded[-1, 3])


@pytest.mark.parametrize("preload", [True, False])
def test_a_second_feed_that_begins_later_does_not_shift_the_forecasts(
    preloaded: np.ndarray, candles: pd.DataFrame, model_set: ModelSet, preload: bool
) -> None:
    engine = bt.Cerebro(preload=preload)
    engine.adddata(candle_feed(candles.iloc[:500]))
    engine.adddata(candle_feed(candles.iloc[200:500]))
    engine.addstrategy(Watched, models=model_set, **EAGER)
    seen = np.array(engine.run()[0].seen)
    np.testing.assert_array_equal(seen[:, 0], preloaded[200:, 0])
    np.testing.assert_allclose(seen[:, 1], preloaded[200:, 1], rtol=1e-6)


@pytest.mark.parametrize("preload", [True, False])
@pytest.mark.parametrize("feeds", [(0, 1), ("first", "second")])
def test_several_instruments_are_each_traded_on_their_own_models(
    candles: pd.DataFrame, model_set: ModelSet, second: tuple[pd.DataFrame, ModelSet], feeds: Any, preload: bool
) -> None:
    instruments = [(candles.iloc[:500], model_set), (second[0].iloc[:500], second[1])]
    engine = bt.Cerebro(preload=preload)
    for name, feed, (series, models) in zip(("first", "second"), feeds, instruments, strict=True):
        engine.adddata(candle_feed(series), name=name)
        engine.addstrategy(Watched, models=models, feed=feed, exposure=0.4, **EAGER)
    for strategy, (series, models) in zip(engine.run(), instruments, strict=True):
        regime, forecast, size, equity, vote = np.array(strategy.seen).T
        expected = Forecaster(models).forecast(series)
        np.testing.assert_array_equal(regime, expected["regime"])
        np.testing.assert_allclose(forecast, expected["forecast"], rtol=1e-6)
        (turned,) = np.nonzero(size[1:] != size[:-1])  # decided there, held at the next bar
        assert len(turned) > 3
        worth = vote[turned] * 0.4 * equity[turned]
        np.testing.assert_allclose(size[turned + 1] * series["close"].to_numpy()[turned], worth)


@pytest.fixture(scope="module")
def second() -> tuple[pd.DataFrame, ModelSet]:
    """Another instrument's candles, and its models."""
    candles = switching_candles(seed=1).drop(columns="regime")
    return candles, train(candles, "OTHER", TrainSettings(**SMALL))


def test_a_subclass_decides_what_to_hold_at_each_known_bar(candles: pd.DataFrame, model_set: ModelSet) -> None:
    class Growing(Watched):
        """A unit more at every bar that it is called at."""

        def wanted_size(self, forecast: Forecast, held: float) -> float:
            assert (forecast.regime, forecast.log_return) == (self.regime, self.forecast)
            assert forecast.timestamp == candles.index[len(self) - 1]
            assert sum(forecast.probabilities.values()) == pytest.approx(1)
            assert len(forecast.members) == len(self.vote.states) == model_set.n_members
            return held + 1

    engine = bt.Cerebro()
    engine.adddata(candle_feed(candles.iloc[:300]))
    engine.addstrategy(Growing, models=model_set)
    engine.broker.setcash(1e6)
    size = np.array(engine.run()[0].seen)[:, 2]
    lookback = Forecaster(model_set).lookback
    np.testing.assert_array_equal(size, np.maximum(0, np.arange(300) - lookback))


def test_no_second_order_is_sent_while_one_is_pending(candles: pd.DataFrame, model_set: ModelSet) -> None:
    engine = bt.Cerebro()
    engine.adddata(candle_feed(candles.iloc[:500]))
    engine.addstrategy(Watched, models=model_set, long_threshold=-1.0, short_threshold=-2.0)
    engine.broker.set_filler(bt.broker.fillers.FixedSize(size=5))  # about twenty bars for the whole of it
    lookback = Forecaster(model_set).lookback
    wanted = 0.95 * 10_000 / candles["close"].iloc[lookback]
    sizes = np.array(engine.run()[0].seen)[:, 2]
    np.testing.assert_allclose(sizes[lookback + 1 : lookback + 5], [5, 10, 15, 20])
    assert sizes[-1] == pytest.approx(wanted)


def test_recorded_forecasts_trade_the_same_on_a_streamed_feed(candles: pd.DataFrame) -> None:
    bars = candles.iloc[:60]
    recorded_table = pd.DataFrame(
        {"regime": np.arange(60) % 3.0, "member_1": 0.01 * np.sin(np.arange(60))}, index=bars.index
    )
    recorded_table.iloc[5:10] = np.nan
    recorded = RecordedForecasts("RECORDED", pd.Timedelta(hours=4), recorded_table.drop(bars.index[20:30]))
    known = run(bars, recorded)
    assert np.flatnonzero(np.isnan(known[:, 1])).tolist() == [*range(5, 10), *range(20, 30)]
    assert len(np.unique(np.sign(known[:, 2]))) == 3
    np.testing.assert_array_equal(run(bars, recorded, preload=False, runonce=False), known)


def test_a_regime_is_known_where_only_a_member_has_no_forecast(candles: pd.DataFrame) -> None:
    bars = candles.iloc[:10]
    recorded_table = pd.DataFrame({"regime": 2.0, "member_1": 0.01, "member_2": 0.01}, index=bars.index)
    recorded_table.iloc[3, 2] = np.nan
    seen = run(bars, RecordedForecasts("RECORDED", pd.Timedelta(hours=4), recorded_table))
    assert (seen[:, 0] == 2).all()
    assert np.flatnonzero(np.isnan(seen[:, 1])).tolist() == [3]


def test_a_mean_forecast_above_the_threshold_can_go_with_a_part_of_the_exposure(candles: pd.DataFrame) -> None:
    bars = candles.iloc[:10]
    table = pd.DataFrame([[0.01, 0.0, 0.0, 0.0]] * 10, columns=member_names(4), index=bars.index).assign(regime=0.0)
    models = RecordedForecasts("RECORDED", pd.Timedelta(hours=4), table)
    seen = run(bars, models, settings={"long_threshold": 0.001, "short_threshold": -0.001})
    assert (seen[:, 1] == 0.0025).all()
    assert (seen[:, 4] == 0.25).all()
    np.testing.assert_allclose(seen[1:, 2], 0.25 * 0.95 * 10_000 / bars["close"].iloc[0])


def test_a_partly_filled_order_of_a_vote_is_not_sent_again(candles: pd.DataFrame) -> None:
    bars = candles.iloc[:30]
    table = pd.DataFrame([[0.01, 0.01, 0.0]] * 30, columns=member_names(3), index=bars.index).assign(regime=0.0)
    engine = bt.Cerebro()
    engine.adddata(candle_feed(bars))
    engine.addstrategy(Watched, models=RecordedForecasts("RECORDED", pd.Timedelta(hours=4), table))
    engine.broker.set_filler(bt.broker.fillers.FixedSize(size=10))
    sizes = np.array(engine.run()[0].seen)[:, 2]
    assert len(engine.broker.orders) == 1
    assert sizes[-1] == pytest.approx(2 / 3 * 0.95 * 10_000 / bars["close"].iloc[0])


def test_a_bankrupt_account_sends_no_more_orders(candles: pd.DataFrame) -> None:
    bars = candles.iloc[:60].copy()
    bars.iloc[20:40, :4] *= 4  # the prices fall back, and the short position would be worth something again
    recorded_table = pd.DataFrame(
        {"regime": 0.0, "member_1": np.where(np.arange(60) < 10, -1.0, 1.0)}, index=bars.index
    )
    recorded_table.iloc[10:20, 1] = 0.0
    engine = bt.Cerebro()
    engine.adddata(candle_feed(bars))
    engine.addstrategy(Watched, models=RecordedForecasts("RECORDED", pd.Timedelta(hours=4), recorded_table))
    strategy = engine.run()[0]
    position, equity = np.array(strategy.seen)[:, 2:4].T
    assert strategy.bankrupt
    assert (equity[20:40] < 0).all()
    assert (equity[40:] > 0).all()
    assert len(engine.broker.orders) == 1
    assert len(np.unique(position[1:])) == 1


def test_nothing_trades_before_trade_from(candles: pd.DataFrame, model_set: ModelSet) -> None:
    start = 300
    trade_from = candles.index[start].tz_convert(None).to_pydatetime()
    positions = run(candles.iloc[:500], model_set, settings={"trade_from": trade_from})[:, 2]
    assert not positions[: start + 1].any()  # decided at the bar's close, filled at the next one's open
    assert positions[start + 1 :].any()


def test_flat_between_the_thresholds_closes_what_hold_keeps(candles: pd.DataFrame, model_set: ModelSet) -> None:
    wide = {"long_threshold": 0.0008, "short_threshold": -0.0008}
    exposures = []
    for neutral in ("hold", "flat"):
        engine = bt.Cerebro()
        engine.adddata(candle_feed(candles.iloc[:500]))
        engine.addstrategy(Watched, models=model_set, neutral=neutral, **wide)
        exposures.append(np.mean(np.array(engine.run()[0].seen)[:, 2] != 0))
    assert 0 < exposures[1] < exposures[0]


def test_a_feed_shorter_than_the_lookback_is_refused_with_the_number_needed(
    candles: pd.DataFrame, model_set: ModelSet
) -> None:
    lookback = Forecaster(model_set).lookback
    for preload in (True, False):
        with pytest.raises(DataError, match=f"the feed: has 100 bars, but at least {lookback + 1} are needed"):
            run(candles.iloc[:100], model_set, preload=preload)


def test_a_feed_of_one_bar_is_refused(candles: pd.DataFrame, model_set: ModelSet) -> None:
    alone = bt.feeds.PandasData(dataname=candles.iloc[:1].tz_localize(None), openinterest=None)
    needed = Forecaster(model_set).lookback + 1
    with pytest.raises(DataError, match=f"the feed: has 1 bars, but at least {needed} are needed"):
        run(candles, model_set, feed=alone)


def test_a_feed_of_another_interval_is_refused(candles: pd.DataFrame, model_set: ModelSet) -> None:
    hourly = candles.set_axis(pd.date_range(candles.index[0], periods=len(candles), freq="h", name="timestamp"))
    for preload in (True, False):
        with pytest.raises(DataError, match=r"the feed: bars are 1 h apart, but .* trained on bars 4 h apart"):
            run(hourly, model_set, preload=preload)


def test_a_feed_without_a_line_that_the_models_need_is_refused(candles: pd.DataFrame, model_set: ModelSet) -> None:
    with pytest.raises(DataError, match="the feed has no line regime, which the models need"):
        run(candles, model_set, settings={"regime_source": "column"})


def test_a_replayed_feed_is_refused(candles: pd.DataFrame, model_set: ModelSet) -> None:
    engine = bt.Cerebro()
    engine.replaydata(candle_feed(candles), timeframe=bt.TimeFrame.Days, compression=1)
    engine.addstrategy(LSTMRegimeStrategy, models=model_set)
    with pytest.raises(SettingsError, match="replayed feed shows unfinished bars"):
        engine.run()


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"models": None}, SettingsError, "needs models=PATH"),
        ({"models": "nowhere"}, ModelSetError, "nowhere: there is no model set"),
        ({"exposure": 0.0}, SettingsError, "exposure: Input should be greater than 0"),
        ({"neutral": "keep"}, SettingsError, "neutral: Input should be"),
        ({"feed": "BTC"}, SettingsError, r"there is no feed 'BTC'; the Cerebro's feeds are 0 \(no name\)\."),
        ({"feed": 1}, SettingsError, "there is no feed 1; the Cerebro's feeds are 0"),
    ],
)
def test_invalid_settings_are_refused_before_the_run(
    candles: pd.DataFrame, model_set: ModelSet, settings: dict[str, Any], error: type[Exception], message: str
) -> None:
    engine = bt.Cerebro()
    engine.adddata(candle_feed(candles))
    engine.addstrategy(LSTMRegimeStrategy, **{"models": model_set, **settings})
    with pytest.raises(error, match=message):
        engine.run()


def test_buying_and_holding_buys_once(candles: pd.DataFrame) -> None:
    engine = bt.Cerebro()
    engine.adddata(candle_feed(candles))
    engine.addstrategy(BuyAndHold, exposure=0.5, trade_from=candles.index[10].tz_convert(None).to_pydatetime())
    engine.run()
    size = 0.5 * 10_000 / candles["close"].iloc[10]
    change = candles["close"].iloc[-1] - candles["open"].iloc[11]
    assert engine.broker.getvalue() == pytest.approx(10_000 + size * change)


def same(seen: np.ndarray, expected: np.ndarray) -> None:
    np.testing.assert_array_equal(seen[:, 0], expected[:, 0])
    np.testing.assert_allclose(seen[:, 1:], expected[:, 1:], rtol=1e-6)
