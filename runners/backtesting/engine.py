"""Runs a strategy in Backtrader and records its equity and trades."""

from __future__ import annotations

from array import array
from pathlib import Path
from typing import Any

import backtrader as bt
import numpy as np
import pandas as pd

from data.candles import check_candles, fingerprint
from data.errors import DataError, SettingsError
from data.intervals import bars_per_year, interval_of
from models.forecaster import Forecaster, require_compatible
from models.model_set import ModelSet
from models.recorded import RecordedForecasts
from runners.backtesting.metrics import metrics_of
from runners.backtesting.recording import record_trial
from runners.backtesting.result import Backtest, Source
from runners.backtesting.round_trip import TRADE_COLUMNS, RoundTrip
from runners.backtesting.runs import Run
from runners.backtesting.settings import BacktestSettings
from runners.backtesting.yardsticks import buy_and_hold, compare_with_yardsticks
from strategies import LSTMRegimeStrategy, TradingCosts
from strategies.feed import bar_times, candle_feed, first_stamp
from strategies.rule_settings import RuleSettings
from strategies.signals import VOLATILITY_BARS
from strategies.trading_rule import FORECAST
from strategies.vote import Vote


def backtest(
    candles: pd.DataFrame,
    model_set: ModelSet,
    settings: BacktestSettings | None = None,
    record: str | Path | None = None,
) -> Backtest:
    """Run `LSTMRegimeStrategy` over a range of the candles; default: the bars after training and validation.

    Bars before the range fill the lookback without trading. A decision at a bar's close fills at the next open. The
    command `regimes backtest` does the same, and writes a report.

    Parameters
    ----------
    candles
        ``(n_bars, >= 5)`` from `data.candles.read_candles`, including the bars before the range.
    model_set
        From `training.train` or `ModelSet.load`.
    settings
        Range, rule, exposure, cash and costs.
    record
        Folder ``results`` of a workspace. The backtest then counts as a trial in it, and its deflated Sharpe ratio
        takes all trials on its bars into account. Default: it writes no files and does not count.

    Returns
    -------
    Backtest
        Curves, trades and figures of the strategy and of buy and hold; a notebook shows it as a table.

    Raises
    ------
    SettingsError
        If the range includes bars that training has seen, without ``in_sample``.
    DataError
        If the range has fewer than two bars, or the candles do not fit the models.
    """
    settings = settings or BacktestSettings()
    check_candles(candles)
    forecaster = Forecaster(model_set, settings)
    require_compatible(candles, forecaster, source="candles")
    result = backtest_forecaster(candles, forecaster, settings, model_set.dataset)
    return result if record is None else record_trial(result, Path(record))


def backtest_forecaster(
    candles: pd.DataFrame, forecaster: Forecaster, settings: BacktestSettings, dataset: str
) -> Backtest:
    """`backtest` for candles that are already checked against the models."""
    model_set = forecaster.model_set
    traded, in_sample = trading_range(pd.DatetimeIndex(candles.index), model_set, settings)
    regime_returns = (model_set.regime_returns,)
    source = Source(dataset, model_set.interval, model_set.provenance, model_set, regime_returns=regime_returns)
    table = forecaster.forecast_with_all_regimes(candles.iloc[_feed(traded, forecaster.history)])
    recorded = RecordedForecasts(dataset, model_set.interval, table, forecaster.lookback)
    return _trade(candles, traded, recorded, settings, source, in_sample=in_sample)


def backtest_recorded(
    candles: pd.DataFrame,
    recorded: RecordedForecasts,
    settings: BacktestSettings,
    source: Source,
    *,
    in_sample: bool = False,
) -> Backtest:
    """Run `LSTMRegimeStrategy` on recorded forecasts.

    Raises
    ------
    DataError
        If the candles lack these bars, or fewer than two of the bars are between ``start`` and ``end``.
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
            "to trade, or the range has candles without a forecast. Use the candles that the forecasts were made from."
        )
    return _trade(candles, traded, recorded, settings, source, in_sample=in_sample)


def replay_run(run: Run, candles: pd.DataFrame, settings: BacktestSettings, *, chosen_from: int = 0) -> Backtest:
    """Trade the recorded forecasts of a run with other settings; ``chosen_from`` as in `Source`."""
    interval = interval_of(pd.DatetimeIndex(candles.index))
    recorded = RecordedForecasts(run.dataset, interval, run.forecasts())
    source = Source(run.dataset, interval, run.training, chosen_from=chosen_from, regime_returns=run.regime_returns)
    return backtest_recorded(candles, recorded, settings, source, in_sample=run.in_sample)


def _trade(
    candles: pd.DataFrame,
    traded: slice,
    recorded: RecordedForecasts,
    settings: BacktestSettings,
    source: Source,
    *,
    in_sample: bool,
) -> Backtest:
    fed = _feed(traded, max(recorded.lookback, VOLATILITY_BARS))
    feed, bars = candles.iloc[fed][recorded.columns()], candles.iloc[traded]
    trade_from = bars.index[0].tz_convert(None).to_pydatetime()
    rule = settings.model_dump(include=set(RuleSettings.model_fields))
    periods = bars_per_year(pd.DatetimeIndex(bars.index))
    options = {"models": recorded, "trade_from": trade_from, "bars_per_year": periods, **rule}
    strategy = run_strategy(feed, settings, LSTMRegimeStrategy, options)
    equity, trades, held = strategy.equity(), strategy.trades(), buy_and_hold(bars, settings)
    forecasts = recorded.forecast(bars).drop(columns="forecast")
    compared = compare_with_yardsticks(equity["equity"], held, candles.iloc[: traded.stop], forecasts, settings)
    return Backtest(
        source=source,
        settings=settings,
        candles=bars,
        forecasts=forecasts,
        equity=equity,
        trades=trades,
        open_trade=strategy.open_trade(),
        metrics=metrics_of(equity, trades, settings.cash, compared.strategy),
        holding=metrics_of(held, trades.iloc[:0], settings.cash, compared.holding),
        members=compared.members,
        yardsticks=compared.yardsticks,
        curves=compared.curves,
        in_sample=in_sample,
        fingerprint=fingerprint(candles),
    )


def _feed(traded: slice, n_before: int) -> slice:
    """The traded bars, and so many bars before them."""
    return slice(max(0, traded.start - n_before), traded.stop)


def trading_range(index: pd.DatetimeIndex, model_set: ModelSet, settings: BacktestSettings) -> tuple[slice, bool]:
    """The bars to trade, and whether training has seen the first of them.

    Raises
    ------
    SettingsError
        If training has seen the first bar, without ``in_sample``.
    DataError
        If there are fewer than two bars.
    """
    unseen = int(index.searchsorted(model_set.validation_end, side="right"))
    start = unseen if settings.start is None else int(index.searchsorted(_utc(settings.start)))
    end = len(index) if settings.end is None else int(index.searchsorted(_utc(settings.end), side="right"))
    in_sample = start < unseen
    if in_sample and not settings.in_sample:
        raise SettingsError(
            f"the range begins at {index[start]}, but training and validation have seen the bars up to "
            f"{model_set.validation_end}. Begin later, or add --in-sample; the result is then marked."
        )
    if end - start < 2:
        raise DataError(
            f"only {max(0, end - start)} bars lie in the range to trade: the candles end at {index[-1]}, and training "
            f"has seen the bars up to {model_set.validation_end}. Use newer candles, or choose another range."
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
) -> Recorder:
    """Run any strategy with the cash and costs of ``settings`` and record it, from its ``trade_from`` on.

    Pass a new ``cerebro`` to inspect it after a failed run.
    """
    cerebro = cerebro or bt.Cerebro(stdstats=False)  # its observers would cost a third of the time
    cerebro.adddata(candle_feed(candles, checked=True))
    cerebro.broker.setcash(settings.cash)
    costs = TradingCosts(**settings.model_dump(include={"commission", "borrow_rate", "funding"}))
    cerebro.broker.addcommissioninfo(costs)
    cerebro.broker.set_int2pnl(False)  # the recorder separates borrowing fees from commission
    cerebro.broker.set_slippage_perc(settings.slippage, slip_open=True, slip_match=True, slip_out=True)
    cerebro.addstrategy(strategy, **strategy_settings)
    cerebro.addanalyzer(Recorder, _name="recorder", trade_from=strategy_settings.get("trade_from"))
    return cerebro.run()[0].analyzers.recorder


BANKRUPTCY, END = "bankruptcy", "end"  # why a trade ends without an order
EQUITY_COLUMNS = ["equity", "position", "regime", "forecast", "vote", "traded", "commission", "borrowing"]


class Recorder(bt.Analyzer):
    """Records each bar and each trade from ``trade_from`` on.

    A trade runs from flat, or a turn, to flat or a turn; its regime and forecast are those of the bar before its first
    fill. An account with an equity of 0 or below at a close is bankrupt: its position is closed at that close, its
    equity stays constant, and later orders are ignored. The broker must not count borrowing fees as commission
    (``set_int2pnl(False)``).
    """

    params = (("trade_from", None),)

    def start(self) -> None:
        self._bars = array("d")  # in rows; a list of tuples would take five times the memory
        self._trades: list[dict[str, object]] = []
        self._open: RoundTrip | None = None
        self._decision = (float("nan"), float("nan"))
        self._traded = self._commission = self._borrowed_before = 0.0
        self._from = first_stamp(self.strategy.data, self.p.trade_from)
        self._final_equity: float | None = None  # of a bankrupt account

    def notify_order(self, order: bt.Order) -> None:
        if self._final_equity is not None:
            return
        for fill in order.executed.iterpending():  # those since the last notification of this order
            self._traded += abs(fill.size * fill.price)
            self._commission += fill.comm
            if fill.closed and self._open:
                self._open.reduce(fill.closed, fill.price, fill.pnl)
                self._open.pay(order.ref, fill.closedcomm)
                if not self._open.size:
                    self._trades.append(self._row(self._open, order.info.get("closed_by", FORECAST)))
                    self._open = None
            if fill.opened:
                feed = self.strategy.data
                self._open = self._open or RoundTrip(
                    feed.datetime.datetime(0), len(feed), self._decision, self._borrowed()
                )
                self._open.enlarge(fill.opened, fill.price)
                self._open.pay(order.ref, fill.openedcomm)

    def _row(self, trip: RoundTrip, closed_by: str) -> dict[str, object]:
        feed = self.strategy.data
        return {**trip.row(feed.datetime.datetime(0), len(feed), self._borrowed()), "closed_by": closed_by}

    def _closed_at_close(self, trip: RoundTrip, closed_by: str) -> dict[str, object]:
        """The row of an open trade, as if it were closed at the bar's close without costs."""
        close = self.strategy.data.close[0]
        return self._row(trip.closed(close, trip.size * (close - self.strategy.position.price)), closed_by)

    def _borrowed(self) -> float:
        """Borrowing fees since the start of the run."""
        return float(self.strategy.broker.d_credit[self.strategy.data])

    def next(self) -> None:
        strategy, feed = self.strategy, self.strategy.data
        self._decision = (getattr(strategy, "regime", float("nan")), getattr(strategy, "forecast", float("nan")))
        vote = getattr(strategy, "vote", None)
        mean = vote.mean if isinstance(vote, Vote) else float("nan")
        now = feed.datetime[0]
        if now < self._from:
            return
        if self._final_equity is not None:
            self._bars.extend((now, self._final_equity, 0.0, *self._decision, mean, 0.0, 0.0, 0.0))
            return
        equity, position, borrowed = strategy.broker.getvalue(), strategy.position.size, self._borrowed()
        if equity <= 0:
            self._final_equity, position = equity, 0.0
            if self._open:
                self._trades.append(self._closed_at_close(self._open, BANKRUPTCY))
                self._open = None
        costs = self._traded, self._commission, borrowed - self._borrowed_before
        self._bars.extend((now, equity, position, *self._decision, mean, *costs))
        self._traded, self._commission, self._borrowed_before = 0.0, 0.0, borrowed

    def equity(self) -> pd.DataFrame:
        """``(n_bars, 8)`` by time in UTC, columns `EQUITY_COLUMNS`.

        Equity, position in units, regime, forecast and vote (mean of the members' states, NaN for a strategy without
        one) are at the close; value traded, commission and borrowing fees are those of the bar.
        """
        times, *values = np.array(self._bars).reshape(-1, 1 + len(EQUITY_COLUMNS)).T
        return pd.DataFrame(dict(zip(EQUITY_COLUMNS, values, strict=True)), index=bar_times(self.strategy.data, times))

    def trades(self) -> pd.DataFrame:
        """One row per closed round trip, columns `TRADE_COLUMNS`; prices include slippage, amounts are in currency."""
        return pd.DataFrame(self._trades, columns=TRADE_COLUMNS)

    def open_trade(self) -> pd.DataFrame:
        """The round trip that is open at the last bar, or no row, as if it were closed at the close without costs."""
        rows = [self._closed_at_close(self._open, END)] if self._open else []
        return pd.DataFrame(rows, columns=TRADE_COLUMNS)
