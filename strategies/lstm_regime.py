"""The Backtrader strategy that trades on the forecasts of one LSTM per regime."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

import backtrader as bt
import numpy as np

from data.candles import check_intervals
from data.errors import SettingsError
from data.settings import RENAMED, require_known
from models.forecaster import (
    Forecast,
    Forecaster,
    ForecastSource,
    Stream,
    forecasts_by_bar,
    require_bars,
    require_compatible,
    require_interval,
)
from models.model_set import ModelSet
from models.recorded import RecordedForecasts
from models.settings import ForecastSettings
from strategies.account import order_waits
from strategies.feed import bar_times, first_stamp, is_preloaded, newest_candle, preloaded_candles
from strategies.protective_orders import ProtectiveOrders
from strategies.rule_settings import RuleSettings
from strategies.settings import TradingSettings, broker_round_trip, unit_value
from strategies.signals import VOLATILITY_BARS, Signal, day_numbers, past_volatility, require_densities
from strategies.trading_rule import FORECAST, BarClose, Target, TradingRule, closing_reason
from strategies.vote import Vote

# Trading settings that are parameters of the strategy; costs and cash belong to the broker.
TRADED_BY = (*RuleSettings.model_fields, *ForecastSettings.model_fields)
_FEED = "the feed"
_FEWEST_JUDGED = 32  # bars of a streamed feed that show its interval, not only a half day or a short month


class LSTMRegimeStrategy(bt.Strategy):
    """Trades one feed on the forecasts of one LSTM per regime.

    At each bar's close, each member of the regime's expert forecasts the next log return, and wants to be long above
    ``long_threshold`` and short below ``short_threshold``. The position is the mean of what they want, a fraction of
    ``exposure``; when this mean changes, an order fills at the next bar's open (see `strategies.vote.Vote`). So the
    mean of the forecasts can lie above the threshold while the position is smaller than ``exposure``.

    The strategy runs in any Cerebro: preloaded or not, ``runonce`` on or off, resampled, under ``optstrategy``, live.
    Trading begins after `Forecaster.lookback` bars, and, as in every Backtrader strategy, after each feed of the
    Cerebro has begun.

    To trade several instruments, add the strategy once for each, with its own ``models`` and ``feed``. They share the
    broker's cash, so their exposures add up. A subclass can replace the rule by overriding `wanted_size`.

    An account whose equity is 0 or below at a close is bankrupt and sends no more orders.

    Parameters
    ----------
    models
        A `ModelSet`, its folder, or a dataset's folder (for the newest set). Or a `Forecaster` or `RecordedForecasts`,
        which ignore ``blend``, ``regime_source`` and ``shrinkage``.
    long_threshold, short_threshold, ...
        Every setting of `strategies.rule_settings.RuleSettings`, with its default.
    blend, regime_source, shrinkage
        As in `Forecaster`.
    trade_from
        Open time (UTC, naive) of the first bar that may trade; earlier ones only fill the lookback.
    feed
        The feed to trade: its number in the Cerebro, or its name from ``adddata``.
    bars_per_year
        For volatilities per year; default: of the candles that the models were trained on.

    Attributes
    ----------
    traded
        The feed to trade.
    regime, forecast
        At the current bar; NaN if unknown. The forecast is the mean of the members'.
    rule
        The `strategies.trading_rule.TradingRule`, with what it remembers.
    bankrupt
        Whether equity has been 0 or below at a close.

    Raises
    ------
    ModelSetError, DataError, SettingsError
        For models that cannot be loaded, invalid settings, a replayed feed, and a feed of another interval, shorter
        than the lookback or without a line that the models need.
    """

    params: tuple[tuple[str, Any], ...] = (
        ("models", None),
        *((name, TradingSettings.model_fields[name].default) for name in TRADED_BY),
        ("trade_from", None),
        ("feed", 0),
        ("bars_per_year", None),
    )

    def __init__(self, **unknown: object) -> None:
        require_known(unknown, self.p._getkeys(), "LSTMRegimeStrategy", "parameter", RENAMED["backtest"])
        if self.p.models is None:
            raise SettingsError("LSTMRegimeStrategy needs models=PATH, the folder of a model set.")
        self.settings = TradingSettings.from_table(
            {name: getattr(self.p, name) for name in TRADED_BY}, "LSTMRegimeStrategy"
        )
        self.traded = self._chosen_feed()
        if self.traded.replaying:
            raise SettingsError("a replayed feed shows unfinished bars; use a resampled one.")
        self.forecaster = self._forecaster()
        require_densities(self.settings.min_probability, has_density=self.forecaster.has_density)
        self.regime = self.forecast = np.nan
        self.rule = TradingRule(self.settings, self._bars_per_year())
        self.bankrupt = False
        self._bars_seen = 0
        self._known: Forecast | None = None
        self._order: bt.Order | None = None
        self._protective: ProtectiveOrders | None = None
        self._target = Target(0.0, FORECAST)
        self._at_bar: Callable[[int], tuple[float, Forecast | None]]
        self._closes: deque[float] = deque(maxlen=VOLATILITY_BARS + 1)
        self._stamps: list[float] = []  # of a streamed feed's bars

    def _chosen_feed(self) -> bt.feed.DataBase:
        try:
            return self.getdatabyname(self.p.feed) if isinstance(self.p.feed, str) else self.datas[self.p.feed]
        except (KeyError, IndexError):
            known = ", ".join(f"{number} ({feed._name or 'no name'})" for number, feed in enumerate(self.datas))
            raise SettingsError(f"there is no feed {self.p.feed!r}; the Cerebro's feeds are {known}.") from None

    def _forecaster(self) -> ForecastSource:
        models = self.p.models
        if isinstance(models, (Forecaster, RecordedForecasts)):
            return models
        model_set = models if isinstance(models, ModelSet) else ModelSet.load(models)
        return Forecaster(model_set, self.settings)

    def _bars_per_year(self) -> float:
        if self.p.bars_per_year is not None:
            return float(self.p.bars_per_year)
        return self.forecaster.bars_per_year if self.settings.sizing == "volatility" else np.nan

    def start(self) -> None:
        self._protective = ProtectiveOrders(self, self.traded) if self.settings.has_stops else None
        self._reads_closes = self.settings.needs_scale and not self.forecaster.has_density
        self._trades_from = first_stamp(self.traded, self.p.trade_from)
        columns = self.forecaster.columns()
        if is_preloaded(self.traded):
            candles = preloaded_candles(self.traded, columns)
            require_compatible(candles, self.forecaster, source=_FEED, least_bars=self.forecaster.lookback + 1)
            self._at_bar = forecasts_by_bar(self.forecaster.forecast(candles))
        else:
            self._judged_at = max(self.forecaster.lookback + 1, _FEWEST_JUDGED)
            stream = self.forecaster.stream()
            self._at_bar = lambda bar: self._push(stream, columns)

    def prenext(self) -> None:
        self._observe()  # another feed of this Cerebro has not begun yet

    @property
    def vote(self) -> Vote:
        """The members' states after the last known forecast that could trade."""
        return self.rule.vote

    def next(self) -> None:
        equity = float(self.broker.getvalue())
        self.bankrupt = self.bankrupt or equity <= 0
        if not self._observe() or self.bankrupt or self.traded.datetime[0] < self._trades_from:
            return
        bar, order = self._bar_close(equity), self._order
        self.rule.update(bar, self._signal(), filled=order is not None and bool(order.executed.size))
        if self._protective is not None:
            self._protective.keep(bar.units)
        if order is not None and order.alive():  # live, an order may take longer than a bar
            return
        self._order, self._target = None, self.rule.decide()
        if self._known is not None and self._target.reason == FORECAST:
            self._target = Target(self.wanted_size(self._known, bar.units), FORECAST)
        wanted, reason = self.rule.limit(self._target)
        if wanted != bar.units and not order_waits(wanted, bar.units, bar.unit_value, self.settings.min_order):
            self._order = self.order_target_size(self.traded, wanted, closed_by=closing_reason(reason))
            self.rule.order_sent()
            if self._protective is not None:
                self._protective.follow(self._order)

    def wanted_size(self, forecast: Forecast, held: float) -> float:
        """The position to hold from the next bar's open on; a subclass may override it.

        Called at each bar's close if the forecast is known, trading has begun and no order is pending. The members have
        voted before, in `vote`.

        Parameters
        ----------
        forecast
            Regime, the members' forecasts of the log return to the next close, and their mean ``log_return``.
        held
            Units of the position, negative for short.

        Returns
        -------
        float
            Units, negative for short; ``held`` for no order. `target_size` converts an exposure to units.
        """
        return self._target.units

    def _bar_close(self, equity: float) -> BarClose:
        feed, position = self.traded, self.getposition(self.traded)
        day = 0
        if self.settings.max_daily_loss:  # only then, because it takes as long as the rest
            day = int(day_numbers(bar_times(feed, np.array([feed.datetime[0]])))[0])
        high, low = (feed.high[0], feed.low[0]) if self._protective else (np.nan, np.nan)
        return BarClose(day, high, low, position.size, position.price, equity, *unit_value(self, feed))

    def _signal(self) -> Signal | None:
        if self._known is None:
            return None
        volatility = np.nan
        if self._reads_closes:
            volatility = float(past_volatility(np.array(self._closes))[-1])
        cost = broker_round_trip(self, self.traded) if self.settings.min_probability else np.nan
        return Signal.of(self._known, volatility, cost, self.settings)

    def stop(self) -> None:
        require_bars(self._bars_seen, self.forecaster.lookback + 1, _FEED)
        if self._stamps:
            self._judge_interval()

    def _observe(self) -> bool:
        """Update regime and forecast from the newest bar; False if only another feed has a new bar."""
        if len(self.traded) == self._bars_seen:
            return False
        self._bars_seen = len(self.traded)
        if self._reads_closes:
            self._closes.append(self.traded.close[0])
        self.regime, self._known = self._at_bar(self._bars_seen - 1)
        self.forecast = self._known.log_return if self._known else np.nan
        return True

    def _push(self, stream: Stream, columns: list[str]) -> tuple[float, Forecast | None]:
        candle = newest_candle(self.traded, columns)
        self._stamps.append(self.traded.datetime[0])
        timestamp = bar_times(self.traded, np.array(self._stamps[-2:]))[-1]
        if len(self._stamps) == self._judged_at:
            self._judge_interval()
            self._judged_at *= 2
        known = stream.push({"timestamp": timestamp, **candle})
        return known.regime if known else np.nan, known

    def _judge_interval(self) -> None:
        """Refuse the bars of a streamed feed so far if a preloaded feed of them would be refused."""
        index = bar_times(self.traded, np.array(self._stamps))
        require_interval(index, self.forecaster, _FEED)
        check_intervals(index, source=_FEED)
