"""A backtest of a model set on the bars that its training never saw, or of forecasts that were made before."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import backtrader as bt
import pandas as pd

from data.candles import OHLCV, fingerprint, interval_of
from data.errors import DataError, SettingsError
from models.forecaster import Forecaster
from models.model_set import ModelSet
from models.recorded import RecordedForecasts
from runners.backtesting.metrics import Metrics, equity_returns, metrics_of
from runners.backtesting.recorder import Recorder
from runners.backtesting.settings import BacktestSettings
from strategies import BuyAndHold, LSTMRegimeStrategy, TradingCosts
from training.sharpe import SharpeDifference, sharpe_difference


@dataclass(frozen=True)
class TradedFold:
    """One refit of a walk-forward: the bars that it learnt from, and those that it forecast.

    Attributes
    ----------
    notes
        What to know of its experts.
    names_fit
        Whether its regimes' mean returns stand in the order of their names, which they keep from the folds before.
    """

    fit_first: pd.Timestamp
    fit_last: pd.Timestamp
    first_bar: pd.Timestamp
    last_bar: pd.Timestamp
    notes: tuple[str, ...] = ()
    names_fit: bool = True


@dataclass(frozen=True)
class Source:
    """Where the forecasts of a backtest come from.

    Attributes
    ----------
    training
        What their training tells of itself (`ModelSet.provenance`): fingerprint, last bar, settings, versions.
    model_set
        None where there is not one: recorded forecasts, a walk-forward.
    folds
        Of a walk-forward.
    chosen_from
        How many settings these were chosen from in hindsight, on the very bars of the backtest; 0 where they were not.
    """

    dataset: str
    interval: pd.Timedelta
    training: dict[str, Any]
    model_set: ModelSet | None = None
    folds: tuple[TradedFold, ...] = ()
    chosen_from: int = 0


@dataclass(frozen=True)
class Backtest:
    """What a backtest gives.

    Attributes
    ----------
    equity
        ``(n_bars, 7)`` of `runners.backtesting.recorder.Recorder.equity`.
    trades
        A row per closed round trip.
    metrics, holding
        Figures of the strategy, and of buying and holding over the same bars with the same exposure and costs.
    holding_equity
        ``(n_bars,)`` of buying and holding.
    difference
        The strategy's Sharpe ratio less that of buying and holding; None where one of them never moves.
    candles
        Of the bars traded.
    in_sample
        Whether bars that training or validation has seen were traded.
    """

    source: Source
    settings: BacktestSettings
    candles: pd.DataFrame
    equity: pd.DataFrame
    trades: pd.DataFrame
    metrics: Metrics
    holding_equity: pd.Series
    holding: Metrics
    difference: SharpeDifference | None
    in_sample: bool
    fingerprint: str
    cerebro: bt.Cerebro

    @property
    def mark(self) -> str:
        """What must be said wherever its figures appear: ``in-sample``, ``chosen in hindsight``, or nothing."""
        return "in-sample" if self.in_sample else "chosen in hindsight" if self.source.chosen_from else ""


def backtest(candles: pd.DataFrame, model_set: ModelSet, settings: BacktestSettings | None = None) -> Backtest:
    """Run `LSTMRegimeStrategy` over a range of the candles, by default those after training and validation.

    Bars before the range fill the lookback without trading; a decision at a bar's close fills at the next open. Nothing
    is written; the command `regimes backtest` leaves a run in ``results``.

    Parameters
    ----------
    candles
        ``(n_bars, >= 5)`` as `data.candles.read_candles` gives it, with the bars before the range.
    model_set
        As `training.trainer` gives it, or `ModelSet.load`.
    settings
        Range, rule, exposure, cash and costs; None for the defaults.

    Returns
    -------
    Backtest
        Curves, trades and figures, and those of buying and holding; a notebook shows it as a table.

    Raises
    ------
    SettingsError
        If the range begins among bars that training has seen without ``in_sample``.
    DataError
        If the range holds no two bars, or the candles do not fit the models.
    """
    settings = settings or BacktestSettings()
    traded, in_sample = trading_range(pd.DatetimeIndex(candles.index), model_set, settings)
    source = Source(model_set.dataset, model_set.interval, model_set.provenance, model_set)
    lookback = Forecaster(model_set, blend=settings.blend, regime_source=settings.regime_source).lookback
    return _trade(candles, traded, model_set, lookback, settings, source, in_sample=in_sample)


def backtest_recorded(
    candles: pd.DataFrame,
    recorded: RecordedForecasts,
    settings: BacktestSettings,
    source: Source,
    *,
    in_sample: bool = False,
) -> Backtest:
    """Run `LSTMRegimeStrategy` on forecasts that were made before, over their bars.

    Raises
    ------
    DataError
        If the candles do not hold these bars, or fewer than two of them lie between ``start`` and ``end``.
    """
    first, last = recorded.table.index[0], recorded.table.index[-1]
    start, end = settings.start or first, settings.end or last
    index = pd.DatetimeIndex(candles.index)
    traded = slice(
        int(index.searchsorted(max(_utc(start), first))), int(index.searchsorted(min(_utc(end), last), side="right"))
    )
    if not index[traded].isin(recorded.table.index).all() or traded.stop - traded.start < 2:
        raise DataError(
            f"the candles of {recorded.dataset} and the forecasts of {first} to {last} share no two bars in the range "
            "to trade, or the candles have bars in it that were never forecast. Bring the candles that were forecast."
        )
    return _trade(candles, traded, recorded, recorded.lookback, settings, source, in_sample=in_sample)


def _trade(
    candles: pd.DataFrame,
    traded: slice,
    models: ModelSet | RecordedForecasts,
    lookback: int,
    settings: BacktestSettings,
    source: Source,
    *,
    in_sample: bool,
) -> Backtest:
    fed, bars = candles.iloc[max(0, traded.start - lookback) : traded.stop], candles.iloc[traded]
    trade_from = bars.index[0].tz_convert(None).to_pydatetime()
    names = ("long_threshold", "short_threshold", "between", "exposure", "blend", "regime_source")
    ours = {"models": models, "trade_from": trade_from, **{name: getattr(settings, name) for name in names}}
    cerebro, run = run_strategy(fed, settings, LSTMRegimeStrategy, ours)
    held = {"exposure": settings.exposure, "trade_from": trade_from}
    _, holding_run = run_strategy(fed, settings, BuyAndHold, held)
    equity, trades, held_equity = run.equity(), run.trades(), holding_run.equity()
    metrics, holding_equity = metrics_of(equity, trades, settings.cash), held_equity["equity"]
    returns = equity_returns(equity["equity"], settings.cash).to_numpy()
    holding_returns = equity_returns(holding_equity, settings.cash).to_numpy()
    return Backtest(
        source=source,
        settings=settings,
        candles=bars,
        equity=equity,
        trades=trades,
        metrics=metrics,
        holding_equity=holding_equity,
        holding=metrics_of(held_equity, holding_run.trades(), settings.cash),
        difference=sharpe_difference(returns, holding_returns, metrics.bars_per_year),
        in_sample=in_sample,
        fingerprint=fingerprint(candles),
        cerebro=cerebro,
    )


def trading_range(index: pd.DatetimeIndex, model_set: ModelSet, settings: BacktestSettings) -> tuple[slice, bool]:
    """The bars to trade, and whether the first was seen in training.

    Raises
    ------
    SettingsError
        If they begin among bars that training has seen without ``in_sample``.
    DataError
        If they are fewer than two.
    """
    unseen = int(index.searchsorted(model_set.validation_end, side="right"))
    start = unseen if settings.start is None else int(index.searchsorted(_utc(settings.start)))
    end = len(index) if settings.end is None else int(index.searchsorted(_utc(settings.end), side="right"))
    in_sample = start < unseen
    if in_sample and not settings.in_sample:
        raise SettingsError(
            f"the range begins at {index[start]}, but training and validation have seen the bars up to "
            f"{model_set.validation_end}. Begin later, or add --in-sample to have the result marked so."
        )
    if end - start < 2:
        raise DataError(
            f"only {max(0, end - start)} bars lie in the range to trade: the candles end at {index[-1]}, and training "
            f"has seen those up to {model_set.validation_end}. Bring newer candles, or choose another range."
        )
    return slice(start, end), in_sample


def _utc(time: Any) -> pd.Timestamp:
    stamp = pd.Timestamp(time)
    return stamp.tz_localize("UTC") if stamp.tz is None else stamp.tz_convert("UTC")


def run_strategy(
    candles: pd.DataFrame,
    settings: BacktestSettings,
    strategy: type[bt.Strategy],
    strategy_settings: dict[str, Any],
    cerebro: bt.Cerebro | None = None,
) -> tuple[bt.Cerebro, Recorder]:
    """Run any strategy over the candles with the cash and costs of ``settings``; records from its ``trade_from`` on.

    Pass a fresh ``cerebro`` to be able to look into it where the run fails.
    """
    cerebro = cerebro or bt.Cerebro()
    cerebro.adddata(candle_feed(candles))
    cerebro.broker.setcash(settings.cash)
    costs = TradingCosts(commission=settings.commission, borrow_rate=settings.borrow_rate)
    cerebro.broker.addcommissioninfo(costs)
    cerebro.broker.set_int2pnl(False)  # the recorder tells the fee for borrowing apart from the commission
    cerebro.broker.set_slippage_perc(settings.slippage, slip_open=True, slip_match=True, slip_out=True)
    cerebro.addstrategy(strategy, **strategy_settings)
    cerebro.addanalyzer(Recorder, _name="recorder", trade_from=strategy_settings.get("trade_from"))
    ran = cerebro.run()[0]
    return cerebro, ran.analyzers.recorder


def candle_feed(candles: pd.DataFrame) -> bt.feeds.PandasData:
    """Candles as a Backtrader feed, with a line for every further column."""
    own = tuple(name for name in candles if name not in OHLCV)
    feed = bt.feeds.PandasData
    if own:  # a class made here cannot be pickled for optstrategy's processes, so only where lines are added
        feed = type("CandleFeed", (feed,), {"lines": own, "params": tuple((name, name) for name in own)})
    index = pd.DatetimeIndex(candles.index)
    minutes = interval_of(index) / pd.Timedelta(minutes=1)
    timeframe, compression = (bt.TimeFrame.Days, 1) if minutes >= 1440 else (bt.TimeFrame.Minutes, int(minutes))
    return feed(
        dataname=candles.set_axis(index.tz_convert(None)),
        timeframe=timeframe,
        compression=compression,
        openinterest=None,
    )
