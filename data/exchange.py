"""Downloads candles of a crypto exchange through ccxt."""

from __future__ import annotations

import datetime as dt
import difflib
import re
import time
from collections.abc import Callable, Iterator, Mapping
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import pandas as pd

from data.candles import OHLCV
from data.download import step_of
from data.errors import DataError, SettingsError, did_you_mean

if TYPE_CHECKING:
    import ccxt
    import requests

Result = TypeVar("Result")

_ATTEMPTS = 6  # a request fails for good after waits of 1 + 2 + 4 + 8 + 16 seconds
_LONGEST_WAIT = 120.0  # seconds; an exchange that asks for more has banned this address
_LONGEST_BAN = 3 * 86_400.0  # seconds; Binance's longest
_BARS_AHEAD = 100  # bars to skip after an empty page where the exchange's page length is unknown
_RETRIED_STATUS = {408, 418, 429}  # of the 4xx; others, such as 451 (blocked country), are permanent


class RequestGate(Protocol):
    """Counts the requests of all clients that share it, and remembers how long the exchange asked for none."""

    def seconds_left(self) -> float:
        """Seconds until requests may be sent again; 0 if they may be sent now."""

    def close(self, seconds: float) -> None:
        """Keep back all requests for this time."""

    def reserve(self, seconds: float) -> float:
        """Count a request that needs this time of the exchange's limit; returns the seconds to wait before it."""


def exchange_client(exchange: str, options: Mapping[str, Any], gate: RequestGate | None = None) -> ccxt.Exchange:
    """A ccxt client that respects the exchange's rate limit.

    Parameters
    ----------
    options
        Further ones of ccxt's constructor, such as ``httpsProxy``, ``timeout`` or ``urls``.
    gate
        While it is closed, a request raises ccxt's ``RateLimitExceeded`` and is not sent. A refusal with the header
        Retry-After closes it. It also keeps the clients that share it below the exchange's limit together. Default: the
        caller waits by itself, and the limit is this client's own.

    Raises
    ------
    SettingsError
        If ccxt is not installed or does not know the exchange.
    """
    _require_exchange(exchange)
    import ccxt

    kind: type[ccxt.Exchange] = type(exchange, (_SteadyPace, getattr(ccxt, exchange)), {"gate": gate})
    client = kind({"enableRateLimit": True, **options})
    client.session.hooks["response"].append(_require_json)
    return client


def _require_exchange(exchange: str, source: str = "") -> None:
    """Raise a `SettingsError` that begins with ``source`` if ccxt is not installed or does not know the exchange."""
    try:
        import ccxt
    except ImportError:
        raise SettingsError("downloads need ccxt: pip install -c constraints.txt -e '.[download]'") from None
    if exchange not in ccxt.exchanges:
        hint = did_you_mean(exchange, ccxt.exchanges) or f" ccxt knows {', '.join(ccxt.exchanges)}."
        raise SettingsError(f"{source}there is no exchange {exchange!r}.{hint}")


def exchange_options(tables: Mapping[str, Any], exchange: str, source: str) -> dict[str, Any]:
    """The options of ccxt in the table ``[exchange.NAME]`` of a settings file.

    Parameters
    ----------
    tables
        Content of the file's table ``exchange``: a table for each exchange.
    source
        Name of the file, for errors.

    Raises
    ------
    SettingsError
        If ccxt has no such exchange or option, or an option has another type than ccxt's default. The names within an
        option that is a table, such as ``options``, are not checked: ccxt has no list of them.
    """
    for name, table in tables.items():
        _require_exchange(name, f"{source}, [exchange.{name}]: ")
        if not isinstance(table, dict):
            raise SettingsError(f"{source}: exchange.{name} is {table!r}. Write a table of options, [exchange.{name}].")
    options: dict[str, Any] = tables.get(exchange, {})
    defaults = _option_defaults(exchange) if options else {}
    for name, value in options.items():
        place = f"{source}, [exchange.{exchange}]"
        if name not in defaults:
            raise SettingsError(f"{place}: ccxt has no option {name!r}.{did_you_mean(name, defaults)}")
        for kinds, text in _KINDS.items():
            if isinstance(defaults[name], kinds) and not isinstance(value, kinds):
                raise SettingsError(f"{place}: {name} is {value!r}, but must be {text}.")
    return options


_KINDS = {(dict,): "a table", (bool,): "true or false", (int, float): "a number"}


def _option_defaults(exchange: str) -> dict[str, Any]:
    """The attributes of ccxt's two clients for an exchange, with their values; its options set attributes."""
    import ccxt
    import ccxt.pro

    kinds = [kind for module in (ccxt.pro, ccxt) if (kind := getattr(module, exchange, None))]
    attributes = {name: getattr(one, name) for one in (kind() for kind in kinds) for name in dir(one)}
    return {name: value for name, value in attributes.items() if not (name.startswith("_") or callable(value))}


class _SteadyPace:
    """Lets ccxt's rate limiter share a gate, and keeps it from a long wait after the clock was set back."""

    id: str
    gate: RequestGate | None
    last_response_headers: Mapping[str, str] | None
    lastRestRequestTimestamp: int  # noqa: N815
    rateLimit: float  # noqa: N815  milliseconds per unit of cost
    milliseconds: Callable[[], int]

    def throttle(self, cost: float | None = None) -> None:
        self.lastRestRequestTimestamp = min(self.lastRestRequestTimestamp, self.milliseconds())
        super().throttle(cost)  # type: ignore[misc]
        if self.gate is not None:
            time.sleep(self.gate.reserve(self.rateLimit / 1000 * (1.0 if cost is None else cost)))

    def fetch(self, *args: Any, **kwargs: Any) -> Any:
        import ccxt

        if self.gate is None:
            return super().fetch(*args, **kwargs)  # type: ignore[misc]
        left = self.gate.seconds_left()
        if left:
            raise ccxt.RateLimitExceeded(f"{self.id} asked for no requests for the next {left:.0f} s")
        try:
            return super().fetch(*args, **kwargs)  # type: ignore[misc]
        except ccxt.BaseError:
            asked = retry_after(self.last_response_headers or {})
            if asked:
                self.gate.close(asked)
            raise


def retry_after(headers: Mapping[str, str]) -> float:
    """Seconds from the header Retry-After, which has seconds or a date; 0 without it."""
    value = headers.get("Retry-After", "").strip()
    try:
        seconds = (
            float(value)
            if value.isdigit()
            else (parsedate_to_datetime(value) - dt.datetime.now(dt.UTC)).total_seconds()
        )
    except (TypeError, ValueError):
        return 0.0
    return min(max(0.0, seconds), _LONGEST_BAN)


def _require_json(response: requests.Response, *_: Any, **__: Any) -> None:
    """Treat a response that is not JSON (cut off, or from a proxy) as a failed connection.

    ccxt would treat it as text and report no candles, no orders and no balance.
    """
    import requests

    if response.ok:
        try:
            response.json()
        except requests.exceptions.JSONDecodeError:
            raise requests.exceptions.ConnectionError("the response is not JSON") from None


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
        Called with the seconds to wait and the reason before a failed request is sent again.

    Raises
    ------
    SettingsError
        If the exchange has no such symbol or timeframe, or no candles at all.
    DataError
        If it cannot be reached, or lists no symbols at all.
    """

    price_tolerance = 1e-12  # rounding of a float that was written to a CSV

    def __init__(
        self,
        client: ccxt.Exchange,
        symbol: str,
        timeframe: str,
        *,
        pause: Callable[[float, str], None] = lambda seconds, _reason: time.sleep(seconds),
    ) -> None:
        self.name = f"{client.id} {symbol} {timeframe}"
        self.timeframe = timeframe
        self._client, self._symbol, self._pause = client, symbol, pause
        self._response: requests.Response | None = None
        client.session.hooks["response"].insert(0, self._keep_response)  # before `_require_json`, which raises
        if client.has.get("fetchOHLCV") is not True:
            raise SettingsError(f"{client.id} has no candles. Choose another --exchange.")
        if timeframe not in client.timeframes:
            raise SettingsError(f"{client.id} has no timeframe {timeframe!r}; it has {', '.join(client.timeframes)}.")
        self._step = step_of(timeframe)
        self._request(client.load_markets)
        if all((":" in one) != (":" in symbol) for one in client.markets):
            raise DataError(f"{client.id} lists no symbols of this kind now. Try again later.")
        if symbol not in client.markets:
            near = _near_symbols(symbol, client.symbols)
            hint = f"Did you mean {' or '.join(near)}?" if near else f"It has {len(client.symbols)} others."
            raise SettingsError(f"{client.id} has no symbol {symbol!r}. {hint}")
        self._limit: int | None = client.feature_value(symbol, "fetchOHLCV", "limit")

    def now(self) -> pd.Timestamp:
        """The exchange's time, or this machine's if the exchange has no such request."""
        fetch = self._client.fetch_time if self._client.has.get("fetchTime") else self._client.milliseconds
        return pd.Timestamp(self._request(fetch), unit="ms", tz="UTC").as_unit("us")

    def pages(self, since: pd.Timestamp, end: pd.Timestamp) -> Iterator[pd.DataFrame]:
        """Pages in time order; after an empty page, the next one begins a page length later."""
        while since < end:
            from_time = int(since.timestamp() * 1000)

            def fetch(from_time: int = from_time) -> list[list[float]]:
                return self._client.fetch_ohlcv(self._symbol, self.timeframe, from_time, self._limit)

            page = _candle_frame(self._request(fetch))
            yield page
            later = page.index[page.index >= since]
            since = later.max() + self._step if len(later) else since + (self._limit or _BARS_AHEAD) * self._step

    def _request(self, request: Callable[[], Result]) -> Result:
        """Send a request, and retry temporary errors with exponential back-off."""
        import ccxt

        attempt, wait = 1, 1.0
        while True:
            self._response = None
            try:
                return request()
            except ccxt.BaseError as error:
                reason = self._reason(error)
                asked = retry_after(self._response.headers) if self._response is not None else 0.0
                if not self._is_temporary(error):
                    raise DataError(f"{self.name}: {reason}. {self._remedy()}") from None
                if asked > _LONGEST_WAIT:
                    raise DataError(
                        f"{self.name}: {reason}; it asks to wait {asked:.0f} s. Run the command again after that."
                    ) from None
                if attempt == _ATTEMPTS:
                    raise DataError(f"{self.name}: {reason}, after {attempt} attempts. {self._remedy()}") from None
            self._pause(max(wait, asked), reason)
            attempt, wait = attempt + 1, 2 * wait

    def _keep_response(self, response: requests.Response, *_: Any, **__: Any) -> None:
        """Keep the response for its status and headers."""
        self._response = response

    def _is_temporary(self, error: Exception) -> bool:
        import ccxt

        status = self._response.status_code if self._response is not None else 0
        if 400 <= status < 500:
            return status in _RETRIED_STATUS
        return status >= 500 or isinstance(error, ccxt.OperationFailed)

    def _remedy(self) -> str:
        return f"A proxy or another host can be named in the table [exchange.{self._client.id}] of regimes.toml."

    def _reason(self, error: Exception) -> str:
        """The error in a few words: the HTTP status, or ccxt's message."""
        if self._response is not None and not self._response.ok:
            text = self._response.text if "json" in self._response.headers.get("Content-Type", "") else ""
            return f"HTTP {self._response.status_code} {self._response.reason} {text[:200]}".rstrip()
        cause = error.__cause__ or error
        inner = cause.args[0] if cause.args else type(error).__name__
        return str(getattr(inner, "reason", inner)).split("): ")[-1][:200]  # without urllib3's connection and address


def _candle_frame(rows: list[list[float]]) -> pd.DataFrame:
    """OHLCV ``(n_bars, 5)`` from ccxt's rows of epoch milliseconds, open, high, low, close and volume."""
    table = pd.DataFrame(rows, columns=["timestamp", *OHLCV])
    index = pd.to_datetime(table.pop("timestamp").to_numpy(dtype="int64"), unit="ms", utc=True)
    table.index = pd.DatetimeIndex(index, name="timestamp").as_unit("us")
    return table.astype(float)


def _near_symbols(symbol: str, symbols: list[str]) -> list[str]:
    """Symbols that are equal except for case and punctuation, or else similar ones."""

    def plain(text: str) -> str:
        return re.sub(r"[^A-Z0-9]", "", text.upper())

    same = [one for one in symbols if plain(one) == plain(symbol)]
    return same or difflib.get_close_matches(symbol.upper(), symbols, n=3)
