"""Candles of a crypto exchange, through ccxt."""

from __future__ import annotations

import difflib
import re
import time
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import pandas as pd

from data.candles import OHLCV
from data.download import step_of
from data.errors import DataError, SettingsError

if TYPE_CHECKING:
    import ccxt
    import requests

Answer = TypeVar("Answer")

_ATTEMPTS = 6  # a request is given up after 1 + 2 + 4 + 8 + 16 seconds
_LONGEST_WAIT = 120.0  # seconds; who asks for a longer one has banned this address
_BARS_AHEAD = 100  # how far to look on after an empty page of an exchange that does not tell its page's length
_WORTH_ANOTHER_TRY = {408, 418, 429}  # of the 4xx; the others (451: not from this country) will not change


def exchange_client(exchange: str, options: Mapping[str, Any]) -> ccxt.Exchange:
    """A ccxt client that keeps to the exchange's rate limit.

    Parameters
    ----------
    exchange
        The exchange's id in ccxt.
    options
        What ccxt's constructor takes beyond that, such as ``httpsProxy``, ``timeout`` or ``urls``.

    Raises
    ------
    SettingsError
        If ccxt is not installed or does not know the exchange.
    """
    try:
        import ccxt
    except ImportError:
        raise SettingsError("downloads need ccxt: pip install -c constraints.txt -e '.[download]'") from None
    if exchange not in ccxt.exchanges:
        near = difflib.get_close_matches(exchange, ccxt.exchanges, n=1)
        hint = f"Did you mean {near[0]!r}?" if near else f"ccxt knows {', '.join(ccxt.exchanges)}."
        raise SettingsError(f"there is no exchange {exchange!r}. {hint}")
    kind: type[ccxt.Exchange] = type(exchange, (_SteadyPace, getattr(ccxt, exchange)), {})
    client = kind({"enableRateLimit": True, **options})
    client.session.hooks["response"].append(_require_json)
    return client


class _SteadyPace:
    """Keeps ccxt from waiting until the clock has caught up where it was set back: it paces requests by that clock."""

    lastRestRequestTimestamp: int  # noqa: N815
    milliseconds: Callable[[], int]

    def throttle(self, cost: float | None = None) -> None:
        self.lastRestRequestTimestamp = min(self.lastRestRequestTimestamp, self.milliseconds())
        super().throttle(cost)  # type: ignore[misc]


def _require_json(response: requests.Response, *_: Any, **__: Any) -> None:
    """Take an answer that was cut off, or that somebody else gave, for a failed connection.

    ccxt would take it for text, and find in it no candles, no orders, nothing held.
    """
    import requests

    if response.ok:
        try:
            response.json()
        except requests.exceptions.JSONDecodeError:
            raise requests.exceptions.ConnectionError("the answer is no JSON") from None


def _sleep(seconds: float, _why: str) -> None:
    time.sleep(seconds)


class ExchangeSource:
    """The candles of one symbol on an exchange.

    Parameters
    ----------
    client
        A ccxt client.
    symbol
        As ccxt writes it: ``BTC/USDT`` is the spot market, ``BTC/USDT:USDT`` the perpetual swap.
    timeframe
        One of the exchange's, such as ``4h``.
    pause
        Called with seconds to wait and the reason, before a request that failed is tried again.

    Raises
    ------
    SettingsError
        If the exchange has no such symbol or timeframe, or no candles at all.
    DataError
        If it cannot be reached.
    """

    price_tolerance = 1e-12  # the last bit of a float that went through a CSV

    def __init__(
        self, client: ccxt.Exchange, symbol: str, timeframe: str, *, pause: Callable[[float, str], None] = _sleep
    ) -> None:
        self.name = f"{client.id} {symbol} {timeframe}"
        self.timeframe = timeframe
        self._client, self._symbol, self._pause = client, symbol, pause
        self._response: requests.Response | None = None
        client.session.hooks["response"].insert(0, self._look_at)  # before an answer that is no JSON is given up
        if client.has.get("fetchOHLCV") is not True:
            raise SettingsError(f"{client.id} offers no candles. Choose another --exchange.")
        if timeframe not in client.timeframes:
            raise SettingsError(f"{client.id} has no timeframe {timeframe!r}; it has {', '.join(client.timeframes)}.")
        self._step = step_of(timeframe)
        self._ask(client.load_markets)
        if symbol not in client.markets:
            near = _near_symbols(symbol, client.symbols)
            hint = f"Did you mean {' or '.join(near)}?" if near else f"It has {len(client.symbols)} others."
            raise SettingsError(f"{client.id} has no symbol {symbol!r}. {hint}")
        self._limit: int | None = client.feature_value(symbol, "fetchOHLCV", "limit")

    def now(self) -> pd.Timestamp:
        """The exchange's time, or this machine's where it tells none."""
        fetch = self._client.fetch_time if self._client.has.get("fetchTime") else self._client.milliseconds
        return pd.Timestamp(self._ask(fetch), unit="ms", tz="UTC").as_unit("us")

    def pages(self, since: pd.Timestamp, end: pd.Timestamp) -> Iterator[pd.DataFrame]:
        """Its pages in their order; after an empty one it looks a page's length further on."""
        while since < end:
            from_time = int(since.timestamp() * 1000)

            def fetch(from_time: int = from_time) -> list[list[float]]:
                return self._client.fetch_ohlcv(self._symbol, self.timeframe, from_time, self._limit)

            page = _candle_frame(self._ask(fetch))
            yield page
            later = page.index[page.index >= since]
            since = later.max() + self._step if len(later) else since + (self._limit or _BARS_AHEAD) * self._step

    def _ask(self, request: Callable[[], Answer]) -> Answer:
        """The answer, patiently: what may be a passing trouble is tried again, after longer and longer waits."""
        import ccxt

        attempt, wait = 1, 1.0
        while True:
            self._response = None
            try:
                return request()
            except ccxt.BaseError as error:
                why = self._told(error)
                asked_for = self._seconds_asked_for()
                if not self._may_pass(error):
                    raise DataError(f"{self.name}: {why}. {self._remedy()}") from None
                if asked_for > _LONGEST_WAIT:
                    raise DataError(
                        f"{self.name}: {why}; it asks to wait {asked_for:.0f} s. Run the command again after that."
                    ) from None
                if attempt == _ATTEMPTS:
                    raise DataError(f"{self.name}: {why}, after {attempt} tries. {self._remedy()}") from None
            self._pause(max(wait, asked_for), why)
            attempt, wait = attempt + 1, 2 * wait

    def _look_at(self, response: requests.Response, *_: Any, **__: Any) -> None:
        """Keep the answer's status and headers."""
        self._response = response

    def _may_pass(self, error: Exception) -> bool:
        import ccxt

        status = self._response.status_code if self._response is not None else 0
        if 400 <= status < 500:
            return status in _WORTH_ANOTHER_TRY
        return status >= 500 or isinstance(error, ccxt.OperationFailed)

    def _remedy(self) -> str:
        return f"A proxy or another host can be named in the table [exchange.{self._client.id}] of regimes.toml."

    def _seconds_asked_for(self) -> float:
        asked = self._response.headers.get("Retry-After", "") if self._response is not None else ""
        return float(asked) if asked.isdigit() else 0.0

    def _told(self, error: Exception) -> str:
        """The trouble in a few words: the HTTP status, or what ccxt says of it."""
        if self._response is not None and not self._response.ok:
            said = self._response.text if "json" in self._response.headers.get("Content-Type", "") else ""
            return f"HTTP {self._response.status_code} {self._response.reason} {said[:200]}".rstrip()
        cause = error.__cause__ or error
        inner = cause.args[0] if cause.args else type(error).__name__
        return str(getattr(inner, "reason", inner)).split("): ")[-1][:200]  # without urllib3's connection and address


def _candle_frame(rows: list[list[float]]) -> pd.DataFrame:
    """``(n_bars, 5)`` OHLCV out of ccxt's rows of epoch milliseconds, open, high, low, close and volume."""
    table = pd.DataFrame(rows, columns=["timestamp", *OHLCV])
    index = pd.to_datetime(table.pop("timestamp").to_numpy(dtype="int64"), unit="ms", utc=True)
    table.index = pd.DatetimeIndex(index, name="timestamp").as_unit("us")
    return table.astype(float)


def _near_symbols(symbol: str, symbols: list[str]) -> list[str]:
    """Symbols that were probably meant: the same without regard to case and signs, or else like it."""

    def plain(text: str) -> str:
        return re.sub(r"[^A-Z0-9]", "", text.upper())

    same = [one for one in symbols if plain(one) == plain(symbol)]
    return same or difflib.get_close_matches(symbol.upper(), symbols, n=3)
