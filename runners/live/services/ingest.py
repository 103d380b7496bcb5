"""Ingest: closed candles of an exchange, in order, each once, without a hole that could be filled."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from data.candles import OHLCV, PRICES, check_candles, interval_text, plausible
from data.download import closed_pages, step_of
from data.errors import DataError, SettingsError
from data.exchange import ExchangeSource, exchange_client
from runners.live.bus.bus import Bus, milliseconds
from runners.live.services.service import WAIT, Connect, Service
from runners.live.services.websocket import Watcher

_LONGEST_PAUSE = 60.0
_SAME_PRICE = 1e-9
_ASKS_ANYWAY = 30  # times the patience: clocks stand still while a machine sleeps
_MORE_TRIES = 3  # for a hole or an impossible candle; one where only the websocket has said otherwise


@dataclass(frozen=True)
class Market:
    """What candles of which exchange.

    Attributes
    ----------
    options
        As in `data.exchange.exchange_client`.
    patience
        Seconds until a doubtful answer is asked for again, and after a bar's end until it is asked for unbidden.
    """

    exchange: str
    symbol: str
    timeframe: str
    patience: float = 2.0
    options: Mapping[str, Any] = field(default_factory=dict)

    def facts(self) -> dict[str, str]:
        """What all that trade it must agree on."""
        return {"exchange": self.exchange, "symbol": self.symbol, "timeframe": timeframe_of(self.interval)}

    @property
    def interval(self) -> pd.Timedelta:
        step = pd.Timestamp(0, tz="UTC") + step_of(self.timeframe) - pd.Timestamp(0, tz="UTC")
        return pd.Timedelta(step)


def timeframe_of(interval: pd.Timedelta) -> str:
    """``4h`` for four hours.

    Raises
    ------
    SettingsError
        If it is no whole number of minutes.
    """
    for letter, unit in (("w", "7D"), ("d", "1D"), ("h", "1h"), ("m", "1min")):
        count = interval / pd.Timedelta(unit)
        if count >= 1 and count == int(count):
            return f"{int(count)}{letter}"
    raise SettingsError(f"the models are of bars {interval_text(interval)} apart, which no exchange has.")


class Ingest(Service):
    """Writes closed candles into the stream: first as many as a forecast looks back on, then each that closes.

    The exchange's websocket says when a bar has closed; the candle itself, and all that were missed meanwhile, come
    from its REST interface, as downloads do. An answer with a hole, an impossible candle, or other prices than the
    websocket had, is asked for again before it is believed. A candle that stays impossible goes to the dead letters.

    Parameters
    ----------
    lookback
        Bars before the first live one to begin with.
    """

    name = "ingest"

    def __init__(self, connect: Connect, market: Market, lookback: int) -> None:
        super().__init__(connect)
        self._market, self._lookback = market, lookback
        self.facts = market.facts()
        self._reached: pd.Timestamp | None = None

    def work(self, bus: Bus, stop: threading.Event) -> None:
        market = self._market
        self._due, self._clock_ahead, pause = 0.0, 0.0, market.patience
        source: ExchangeSource | None = None
        with Watcher(market.exchange, market.options, market.symbol, market.timeframe, self._trouble) as watcher:
            while not stop.is_set():
                try:
                    if source is None:
                        source = self._open(stop)
                        bus.remember(self.facts)
                    if self._has_closed(watcher):
                        self._catch_up(bus, source, watcher, stop)
                    pause = market.patience
                    self.beat(bus, "listening" if watcher.newest else "asking by the clock")
                except DataError as error:
                    self.counted["exchange_lost"] += 1
                    self.log.warning("the exchange gives no candles", why=str(error), tries_again_in=pause)
                    self._due = time.monotonic() + pause
                    pause = min(2 * pause, _LONGEST_PAUSE)
                    self.beat(bus, "without exchange")
                watcher.news.wait(WAIT)
                watcher.news.clear()

    def _open(self, stop: threading.Event) -> ExchangeSource:
        market = self._market

        def pause(seconds: float, why: str) -> None:
            self.log.warning("the exchange does not answer", why=why, tries_again_in=seconds)
            stop.wait(seconds)

        client = exchange_client(market.exchange, market.options)
        return ExchangeSource(client, market.symbol, market.timeframe, pause=pause)

    def _trouble(self, why: str, wait: float) -> None:
        self.counted["websocket_lost"] += 1
        self.log.warning("the websocket was lost", why=why, connects_again_in=round(wait, 1))

    def _has_closed(self, watcher: Watcher) -> bool:
        """Whether, by the websocket or by the exchange's clock, there is a candle that is not known yet."""
        now = time.monotonic()
        if now < self._due:
            return False
        if self._reached is None or now > self._due + _ASKS_ANYWAY * self._market.patience:
            return True
        next_ends = self._reached + 2 * self._market.interval
        told = watcher.newest is not None and watcher.newest >= next_ends
        return told or now + self._clock_ahead >= next_ends.timestamp() + self._market.patience

    def _catch_up(self, bus: Bus, source: ExchangeSource, watcher: Watcher, stop: threading.Event) -> None:
        """Pass on all that has closed since the last candle."""
        last = bus.candles.last()
        exchange_time = source.now()
        self._clock_ahead = exchange_time.timestamp() - time.monotonic()
        interval = self._market.interval
        if last is None:
            since = exchange_time - (self._lookback + 2) * interval
        else:
            since = max(last.time, self._reached or last.time) + interval
        candles = self._sure(source, since, last is None, watcher, stop)
        if len(candles):
            first_live = bus.begin(candles.index[-1] + interval)
            self._pass_on(bus, candles, last.time if last else None, first_live)
        elif last is None:
            raise DataError(f"{source.name}: there is no closed candle yet")
        self._reached = candles.index[-1] if len(candles) else since - interval
        self._due = time.monotonic() + self._market.patience

    def _sure(
        self, source: ExchangeSource, since: pd.Timestamp, first: bool, watcher: Watcher, stop: threading.Event
    ) -> pd.DataFrame:
        """What has closed since, asked for again while it is doubtful."""
        candles = self._ask(source, since)
        for attempt in range(_MORE_TRIES):
            begin = candles.index[0] if first and len(candles) else since
            doubt, tries = self._doubt(candles, begin, watcher)
            if attempt >= tries or stop.is_set():
                break
            self.counted["asked_again"] += 1
            self.log.warning("asking again", why=doubt, since=str(since))
            stop.wait(self._market.patience * 2**attempt)
            candles = self._ask(source, since)
        return candles.iloc[:0] if stop.is_set() else candles  # it may have been on its way to a better one

    def _ask(self, source: ExchangeSource, since: pd.Timestamp) -> pd.DataFrame:
        now = source.now()
        pages = list(closed_pages(source, since, now, now))
        return pd.concat(pages) if pages else pd.DataFrame(columns=OHLCV, dtype=float)

    def _doubt(self, candles: pd.DataFrame, since: pd.Timestamp, watcher: Watcher) -> tuple[str, int]:
        """What is odd about an answer, and how often it is worth asking again."""
        for time_, *values in candles.itertuples():
            if not plausible(*values):
                return f"the candle of {time_} is impossible", _MORE_TRIES
        expected = (candles.index[-1] - since) // self._market.interval + 1 if len(candles) else 0
        if len(candles) != expected:
            return f"{expected - len(candles)} candles are missing", _MORE_TRIES
        for time_, *values in candles.tail(1).itertuples():
            said = watcher.prices(time_)
            if said and any(abs(a - b) > _SAME_PRICE * b for a, b in zip(said, values[: len(PRICES)], strict=True)):
                return f"the websocket had other prices of {time_}: {said}", 1
        return "", 0

    def _pass_on(self, bus: Bus, candles: pd.DataFrame, last: pd.Timestamp | None, first_live: pd.Timestamp) -> None:
        for time_, *values in candles.itertuples():
            candle = dict(zip(OHLCV, values, strict=True))
            reason = self._fault(time_, candle, last)
            if reason:
                self.counted["dead_letters"] += 1
                self.log.error("candle refused", candle=str(time_), why=reason)
                bus.bury(time_, candle, reason)
                continue
            if last is not None and time_ - last > self._market.interval:
                self.counted["holes"] += 1
                self.log.warning("the exchange has no candles", after=str(last), until=str(time_))
            before = {"previous": milliseconds(last) if last is not None else None, "live": bool(time_ >= first_live)}
            added = bus.candles.append(time_, {**candle, **before})
            self.counted["candles" if added else "repeated"] += 1
            if before["live"]:
                self.log.info("candle", candle=str(time_), **candle)
            last = time_

    def _fault(self, time_: pd.Timestamp, candle: dict[str, float], last: pd.Timestamp | None) -> str:
        """Why the candle cannot be used, or nothing."""
        if last is not None and (time_ - last) % self._market.interval:
            return f"it opens {interval_text(time_ - last)} after the one before"
        one = pd.DataFrame([candle], index=pd.DatetimeIndex([time_], name="timestamp"))
        try:
            check_candles(one, source=self._market.symbol)
        except DataError as error:
            return str(error)
        return ""
