"""The strategy: the current regime, the matching expert's forecast, and the rule."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import backtrader as bt
import numpy as np
import pandas as pd

from data.errors import SettingsError
from data.settings import RENAMED, require_known
from models.forecaster import Forecaster, ForecastSource, Stream, require_bars, require_compatible, require_interval
from models.model_set import ModelSet
from models.recorded import RecordedForecasts
from strategies.feed import first_stamp, is_preloaded, newest_candle, preloaded_candles
from strategies.settings import RuleSettings, TradingSettings, target_size

# The trading settings that are parameters of the strategy; costs and cash are the broker's.
TRADED_BY = (*RuleSettings.model_fields, "blend", "regime_source")
_FEED = "the feed"


class LSTMRegimeStrategy(bt.Strategy):
    """Trades one feed on the forecasts of one LSTM per regime.

    At each bar's close it works out the regime, asks the regime's expert for the next log return and goes long above
    ``long_threshold``, short below ``short_threshold``; the order fills at the next bar's open. It runs in any
    Cerebro: preloaded or not, ``runonce`` on or off, resampled, under ``optstrategy``,
    live. Nothing trades before `Forecaster.lookback` bars are known, and, as with every strategy of Backtrader, before
    each feed of the Cerebro has begun.

    Several instruments are traded by adding the strategy once for each, with its own ``models`` and ``feed``; all
    share the broker's cash, so their exposures are to add up to what one would hold. A subclass decides
    otherwise than the thresholds by its own `wanted_size`.

    An account whose equity is 0 or below at a close is bankrupt, and orders nothing ever after.

    Parameters
    ----------
    models
        A `ModelSet`, the folder of one, or a dataset's folder, whose newest set is taken. Or a `Forecaster` or
        `RecordedForecasts`, which ``blend`` and ``regime_source`` do not change.
    long_threshold, short_threshold, neutral, exposure
        As in `strategies.settings.RuleSettings`, with its defaults.
    blend, regime_source
        As in `Forecaster`.
    trade_from
        Open time (UTC, naive) of the first bar that decides; earlier ones only fill the lookback.
    feed
        Which of the Cerebro's feeds to trade: its number, or the name that ``adddata`` gave it.

    Attributes
    ----------
    traded
        The feed that is traded.
    regime, forecast
        At the current bar; NaN while not known.
    bankrupt
        Whether equity has been 0 or below at a close.

    Raises
    ------
    ModelSetError, DataError, SettingsError
        When the run starts, or ends too early: models not to be loaded, a feed of another interval than they were
        trained on, shorter than the lookback or without a line that they need, a replayed feed, bad settings.
    """

    params: tuple[tuple[str, Any], ...] = (
        ("models", None),
        *((name, TradingSettings.model_fields[name].default) for name in TRADED_BY),
        ("trade_from", None),
        ("feed", 0),
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
            raise SettingsError("a replayed feed shows unfinished bars; give the strategy a resampled one.")
        self.forecaster = self._forecaster()
        self.regime = self.forecast = np.nan
        self.bankrupt = False
        self._bars_seen = 0
        self._order: bt.Order | None = None
        self._at_bar: Callable[[int], tuple[float, float]]
        self._recent: list[pd.Timestamp] = []

    def _chosen_feed(self) -> bt.feed.DataBase:
        try:
            return self.getdatabyname(self.p.feed) if isinstance(self.p.feed, str) else self.datas[self.p.feed]
        except (KeyError, IndexError):
            there = ", ".join(f"{number} ({feed._name or 'no name'})" for number, feed in enumerate(self.datas))
            raise SettingsError(f"feed is {self.p.feed!r}, but the Cerebro's feeds are {there}.") from None

    def _forecaster(self) -> ForecastSource:
        models = self.p.models
        if isinstance(models, (Forecaster, RecordedForecasts)):
            return models
        model_set = models if isinstance(models, ModelSet) else ModelSet.load(models)
        return Forecaster(model_set, self.settings)

    def start(self) -> None:
        self._trades_from = first_stamp(self.traded, self.p.trade_from)
        columns = self.forecaster.columns()
        if is_preloaded(self.traded):
            candles = preloaded_candles(self.traded, columns)
            require_compatible(candles, self.forecaster, source=_FEED, least_bars=self.forecaster.lookback + 1)
            table = self.forecaster.forecast(candles)
            known = list(zip(table["regime"].tolist(), table["forecast"].tolist(), strict=True))
            self._at_bar = known.__getitem__
        else:
            stream = self.forecaster.stream()
            self._at_bar = lambda bar: self._push(stream, columns)

    def prenext(self) -> None:
        self._observe()  # another feed of this Cerebro has not begun yet

    def next(self) -> None:
        self.bankrupt = self.bankrupt or self.broker.getvalue() <= 0
        if not self._observe() or self.bankrupt or np.isnan(self.forecast):
            return
        if self.traded.datetime[0] < self._trades_from:
            return
        if self._order is not None and self._order.alive():  # live, an order may take longer than a bar
            return
        held = self.getposition(self.traded).size
        wanted = self.wanted_size(self.forecast, held)
        if wanted != held:
            self._order = self.order_target_size(self.traded, wanted)

    def wanted_size(self, forecast: float, held: float) -> float:
        """The position to hold from the next bar's open on; a subclass may decide otherwise.

        It is asked at each bar's close at which the forecast is known, trading has begun and no order is under way.

        Parameters
        ----------
        forecast
            Log return to the next close.
        held
            Units of the position, negative for short.

        Returns
        -------
        float
            Units, negative for short; ``held`` to leave all as it is. `target_size` gives those of an exposure.
        """
        direction = int(np.sign(held))
        wanted = self.settings.direction(forecast, direction)
        return held if wanted == direction else target_size(self, wanted, self.settings.exposure, self.traded)

    def stop(self) -> None:
        require_bars(self._bars_seen, self.forecaster.lookback + 1, _FEED)

    def _observe(self) -> bool:
        """Take in the traded feed's newest bar; False where it was another feed that moved."""
        if len(self.traded) == self._bars_seen:
            return False
        self._bars_seen = len(self.traded)
        self.regime, self.forecast = self._at_bar(self._bars_seen - 1)
        return True

    def _push(self, stream: Stream, columns: list[str]) -> tuple[float, float]:
        candle: dict[str, Any] = newest_candle(self.traded, columns)
        self._watch_interval(candle["timestamp"])
        known = stream.push(candle)
        return (known.regime, known.log_return) if known else (np.nan, np.nan)

    def _watch_interval(self, timestamp: pd.Timestamp) -> None:
        """Check a streamed feed's interval once, as soon as enough bars are there to tell it from a weekend."""
        if len(self._recent) < 8:
            self._recent.append(timestamp)
            if len(self._recent) == 8:
                require_interval(pd.DatetimeIndex(self._recent), self.forecaster, _FEED)
