"""Writes an exchange's closed candles to the bus, in order, and fills gaps."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from threading import Event
from typing import Any

import pandas as pd

from data.candles import OHLCV, PRICES, check_candles, check_intervals, plausible
from data.download import closed_pages, length_of
from data.errors import DataError, SettingsError
from data.exchange import ExchangeSource, exchange_client
from data.intervals import interval_text
from runners.live.bus.bus import Bus, Connect
from runners.live.bus.exchange_gate import ExchangeGate
from runners.live.bus.stream import milliseconds
from runners.live.services.service import WAIT, Service
from runners.live.services.websocket import WebsocketListener

_LONGEST_PAUSE = 60.0
_SAME_PRICE = 1e-9  # relative
_UNCONDITIONAL_AFTER = 30  # times retry_seconds, because the clock stops while a machine sleeps
_RETRIES = 3  # after an answer with a gap or an invalid candle; 1 if only the websocket differs
_CONTEXT = 100  # earlier candles that show the interval
_MOST_HISTORY = 16  # times the time of the history without gaps


@dataclass(frozen=True)
class Market:
    """The symbol, its exchange and the timeframe.

    Attributes
    ----------
    options
        As in `data.exchange.exchange_client`.
    retry_seconds
        Seconds before a doubtful answer is requested again. Without a websocket message, a candle is requested that
        long after it has closed.
    """

    exchange: str
    symbol: str
    timeframe: str
    retry_seconds: float = 2.0
    options: Mapping[str, Any] = field(default_factory=dict)

    def facts(self) -> dict[str, str]:
        """Values that must be the same for all services of this market."""
        return {"exchange": self.exchange, "symbol": self.symbol, "timeframe": timeframe_of(self.interval)}

    @property
    def interval(self) -> pd.Timedelta:
        return length_of(self.timeframe)


def timeframe_of(interval: pd.Timedelta) -> str:
    """``4h`` for four hours; raises SettingsError if the interval is not a whole number of minutes."""
    for letter, unit in (("w", "7D"), ("d", "1D"), ("h", "1h"), ("m", "1min")):
        count = interval / pd.Timedelta(unit)
        if count >= 1 and count == int(count):
            return f"{int(count)}{letter}"
    raise SettingsError(f"the models were trained on bars {interval_text(interval)} apart, which no exchange has.")


class Ingest(Service):
    """Writes closed candles to the bus: first the models' history, then each candle that closes.

    The exchange's websocket signals that a bar has closed. The candles come from its REST interface, as in a download,
    including missed ones. An answer with a gap, an invalid candle, or prices other than the websocket's is requested
    again; one with a gap less often where gaps remain, because nobody trades. A candle that remains invalid, or shows
    another interval as `data.candles.check_candles` does, becomes a dead letter. ``n_history`` is the number of bars of
    history.
    """

    name = "ingest"

    def __init__(self, connect: Connect, market: Market, n_history: int) -> None:
        super().__init__(connect)
        self._market, self._n_history = market, n_history
        self._gate = ExchangeGate(connect, market.exchange)
        self.facts = market.facts()
        self._checked_up_to: pd.Timestamp | None = None
        self._next_ends: pd.Timestamp | None = None  # the bar after it
        self._empty_answers = 0  # since that bar has ended
        self._gap_retries = _RETRIES

    def work(self, bus: Bus, stop: Event) -> None:
        market = self._market
        self._next_request, self._clock_ahead, self._next_ends = 0.0, 0.0, None
        pause, is_lost = market.retry_seconds, False
        source: ExchangeSource | None = None
        with WebsocketListener(
            market.exchange, market.options, market.symbol, market.timeframe, self._on_disconnect, self._gate
        ) as listener:
            while not stop.is_set():
                try:
                    if self._is_candle_due(listener):
                        source = source or self._open(bus, stop)
                        self._catch_up(bus, source, listener, stop)
                        pause, is_lost = market.retry_seconds, False
                except DataError as error:
                    wait = max(pause, self._gate.seconds_left())
                    self.counted["exchange_lost"] += 1
                    self.log.warning("the exchange returns no candles", why=str(error), tries_again_in=round(wait, 2))
                    self._next_request = time.monotonic() + wait
                    pause, is_lost = min(2 * pause, _LONGEST_PAUSE), True
                state = "listening" if listener.newest else "polling"
                self.heartbeat(bus, "exchange unavailable" if is_lost else state)
                listener.new_bar.wait(WAIT)
                listener.new_bar.clear()

    def _open(self, bus: Bus, stop: Event) -> ExchangeSource:
        market = self._market

        def pause(seconds: float, why: str) -> None:
            self.log.warning("the exchange does not answer", why=why, tries_again_in=seconds)
            stop.wait(seconds)

        client = exchange_client(market.exchange, market.options, self._gate)
        try:
            source = ExchangeSource(client, market.symbol, market.timeframe, pause=pause)
        except SettingsError as error:
            if bus.facts().get("symbol") != market.symbol:
                raise
            raise DataError(str(error)) from error  # it had the symbol before: its list may be incomplete for a time
        bus.store_facts(self.facts)
        return source

    def _on_disconnect(self, why: str, wait: float) -> None:
        self.counted["websocket_lost"] += 1
        self.log.warning("the websocket was lost", why=why, connects_again_in=round(wait, 1))

    def _is_candle_due(self, listener: WebsocketListener) -> bool:
        """Whether a new candle has closed, by the websocket or by the exchange's clock."""
        now = time.monotonic()
        if now < self._next_request or self._gate.seconds_left():
            return False
        if self._next_ends is None or now > self._next_request + _UNCONDITIONAL_AFTER * self._market.retry_seconds:
            return True
        signalled = listener.newest is not None and listener.newest >= self._next_ends
        return signalled or now + self._clock_ahead >= self._next_ends.timestamp() + self._market.retry_seconds

    def _catch_up(self, bus: Bus, source: ExchangeSource, listener: WebsocketListener, stop: Event) -> None:
        """Write all candles that have closed since the last one."""
        last = bus.candles.last()
        exchange_time = source.now()
        self._clock_ahead = exchange_time.timestamp() - time.monotonic()
        interval = self._market.interval
        if last is None:
            candles = self._history(source, exchange_time, listener, stop)
        else:
            known_until = max(last.time, self._checked_up_to or last.time)
            since = known_until + pd.Timedelta(milliseconds=1)  # the next candle may be off the grid of this one
            candles = self._fetch_checked(source, since, listener, stop)
            self._next_ends = self._next_ends or known_until + 2 * interval
        if len(candles):
            first_live = bus.set_first_live(candles.index[-1] + interval)
            self._write(bus, candles, last.time if last else None, first_live)
            self._checked_up_to = candles.index[-1]
            self._next_ends, self._empty_answers = candles.index[-1] + 2 * interval, 0
        elif last is None:
            raise DataError(f"{source.name}: there is no closed candle yet")
        elif self._next_ends is not None and exchange_time >= self._next_ends:
            self._empty_answers += 1
            if self._empty_answers >= _UNCONDITIONAL_AFTER:  # nobody traded in this bar
                self._next_ends, self._empty_answers = self._next_ends + interval, 0
        self._next_request = time.monotonic() + self._market.retry_seconds

    def _history(
        self, source: ExchangeSource, now: pd.Timestamp, listener: WebsocketListener, stop: Event
    ) -> pd.DataFrame:
        """At least ``n_history`` + 1 candles, unless the market is younger or has very few."""
        without_gaps = (self._n_history + 2) * self._market.interval
        candles, times = self._fetch_checked(source, now - without_gaps, listener, stop, first=True), 1
        while len(candles) < self._n_history + 1 and times < _MOST_HISTORY and not stop.is_set():
            shorter, times = candles, 2 * times
            candles = self._fetch(source, now - times * without_gaps)
            if len(candles) == len(shorter):
                break
        return candles

    def _fetch_checked(
        self,
        source: ExchangeSource,
        since: pd.Timestamp,
        listener: WebsocketListener,
        stop: Event,
        *,
        first: bool = False,
    ) -> pd.DataFrame:
        """Candles closed since ``since``, requested again while they are doubtful."""
        candles = self._fetch(source, since)
        for attempt in range(_RETRIES + 1):
            begin = candles.index[0] if first and len(candles) else since
            problem, retries = self._problem(candles, begin, listener)
            if attempt >= retries or stop.is_set():
                break
            self.counted["asked_again"] += 1
            self.log.warning("candles requested again", why=problem, since=str(since))
            stop.wait(self._market.retry_seconds * 2**attempt)
            candles = self._fetch(source, since)
        missing = self._missing(candles, begin)
        if missing or attempt:
            self._gap_retries = max(0, self._gap_retries - 1) if missing else _RETRIES
        return candles.iloc[:0] if stop.is_set() else candles  # the answer may still be incomplete

    def _fetch(self, source: ExchangeSource, since: pd.Timestamp) -> pd.DataFrame:
        now = source.now()
        pages = list(closed_pages(source, since, now, now))
        return pd.concat(pages) if pages else pd.DataFrame(columns=OHLCV, dtype=float)

    def _problem(self, candles: pd.DataFrame, since: pd.Timestamp, listener: WebsocketListener) -> tuple[str, int]:
        """Why an answer is doubtful, and how often to request it again; empty and 0 for a valid answer."""
        for time_, *values in candles.itertuples():
            if not plausible(*values):
                return f"the candle of {time_} is invalid", _RETRIES
        if missing := self._missing(candles, since):
            return f"{missing} candles are missing", self._gap_retries
        for time_, *values in candles.tail(1).itertuples():
            received = listener.prices(time_) or values[: len(PRICES)]
            if any(abs(a - b) > _SAME_PRICE * b for a, b in zip(received, values[: len(PRICES)], strict=True)):
                return f"the websocket's prices of {time_} differ: {received}", 1
        return "", 0

    def _missing(self, candles: pd.DataFrame, since: pd.Timestamp) -> int:
        """Number of candles missing after ``since`` and before the last one."""
        expected = (candles.index[-1] - since) // self._market.interval + 1 if len(candles) else 0
        return max(0, expected - len(candles))

    def _write(self, bus: Bus, candles: pd.DataFrame, last: pd.Timestamp | None, first_live: pd.Timestamp) -> None:
        times = [entry.time for entry in bus.candles.newest(_CONTEXT)]
        for time_, *values in candles.itertuples():
            candle = dict(zip(OHLCV, values, strict=True))
            reason = self._rejection(time_, candle, times[-_CONTEXT:])
            if reason:
                self.counted["dead_letters"] += 1
                self.log.error("candle refused", candle=str(time_), why=reason)
                bus.add_dead_letter(time_, candle, reason)
                continue
            if last is not None and time_ - last > self._market.interval:
                self.counted["holes"] += 1
                self.log.warning("candles are missing at the exchange", after=str(last), until=str(time_))
            live = bool(time_ >= first_live)
            previous = milliseconds(last) if last is not None else None
            added = bus.candles.append(time_, {**candle, "previous": previous, "live": live})
            self.counted["candles" if added else "repeated"] += 1
            if live:
                self.log.info("candle", candle=str(time_), **candle)
            last = time_
            times.append(time_)

    def _rejection(self, time_: pd.Timestamp, candle: dict[str, float], before: list[pd.Timestamp]) -> str:
        """Why the candle after those at the times ``before`` is invalid, or an empty string."""
        one = pd.DataFrame([candle], index=pd.DatetimeIndex([time_], name="timestamp"))
        try:
            check_candles(one, source=self._market.symbol)
            check_intervals(pd.DatetimeIndex([*before, time_]), source=self._market.symbol)
        except DataError as error:
            return str(error)
        return ""
