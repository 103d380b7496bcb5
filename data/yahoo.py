"""Downloads candles of stocks, indices and funds from Yahoo Finance, through yfinance."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from typing import TypeVar

import pandas as pd

from data.candles import OHLCV
from data.download import length_of
from data.errors import DataError, SettingsError

Result = TypeVar("Result")

# This package's timeframes, and Yahoo's.
_INTERVALS = {
    "1m": "1m", "2m": "2m", "5m": "5m", "15m": "15m", "30m": "30m", "1h": "60m", "1d": "1d", "1w": "1wk", "1M": "1mo",
}  # fmt: skip


class YahooSource:
    """The candles of one stock, index, fund or currency.

    Prices are adjusted for splits and dividends, so a log return is the holder's total return. Yahoo adjusts all
    earlier prices at each dividend, so a file from before a dividend cannot be continued: its last prices differ. A
    bar of a day or longer opens at midnight UTC of its date and closes at the end of that date at the exchange.

    Parameters
    ----------
    symbol
        As Yahoo writes it: ``AAPL``, ``^GSPC``, ``EURUSD=X``.
    timeframe
        1m, 2m, 5m, 15m, 30m, 1h, 1d, 1w or 1M. Yahoo keeps intraday bars for some weeks only (hours: two years).

    Raises
    ------
    SettingsError
        If Yahoo has no such timeframe, or yfinance is not installed.
    DataError
        If Yahoo does not know the symbol or cannot be reached.
    """

    price_tolerance = 1e-5  # adjusted prices come from single-precision factors; a dividend moves them by more

    def __init__(self, symbol: str, timeframe: str) -> None:
        try:
            import yfinance
        except ImportError:
            raise SettingsError(
                "--source yfinance needs the package yfinance: pip install -c constraints.txt -e '.[download]'"
            ) from None
        if timeframe not in _INTERVALS:
            raise SettingsError(f"Yahoo has no timeframe {timeframe!r}; it has {', '.join(_INTERVALS)}.")
        yfinance.config.debug.hide_exceptions = False  # otherwise yfinance logs them and returns an empty frame
        yfinance.config.network.retries = 3
        self.name = f"Yahoo {symbol} {timeframe}"
        self.timeframe = timeframe
        self._ticker = yfinance.Ticker(symbol)
        self._intraday = length_of(timeframe) < pd.Timedelta(days=1)

    def now(self) -> pd.Timestamp:
        """The time in UTC; for bars of a day or longer, the exchange's local time labelled as UTC."""
        if self._intraday:
            return pd.Timestamp.now("UTC")
        zone = self._request(self._ticker.get_history_metadata)["exchangeTimezoneName"]
        return pd.Timestamp.now(zone).tz_localize(None).tz_localize("UTC")

    def pages(self, since: pd.Timestamp, end: pd.Timestamp) -> Iterator[pd.DataFrame]:
        """A single page: Yahoo returns all candles at once."""
        if not self._intraday:  # yfinance reads a time without zone as local time
            since, end = since.tz_localize(None), end.tz_localize(None)

        def fetch() -> pd.DataFrame:
            return self._ticker.history(
                start=since.to_pydatetime(), end=end.to_pydatetime(), interval=_INTERVALS[self.timeframe], actions=False
            )

        table = self._request(fetch)
        table.columns = table.columns.str.lower()
        index = pd.DatetimeIndex(table.index)
        index = index.tz_convert("UTC") if self._intraday else index.tz_localize(None).tz_localize("UTC")
        table.index = index.as_unit("us").rename("timestamp")
        yield table[OHLCV].astype(float)

    def _request(self, request: Callable[[], Result]) -> Result:
        from yfinance.exceptions import YFException

        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)  # yfinance's own use of pandas
                return request()
        except (YFException, OSError, ValueError) as error:  # curl's errors are OSErrors, cut JSON is a ValueError
            raise DataError(
                f"{self.name}: {error} Yahoo does not know this symbol, has no candles then, or cannot be reached."
            ) from None
