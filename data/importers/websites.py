"""Downloads from websites and stock data vendors, and tables of named columns from anywhere.

- Stooq: https://stooq.com/db/h/. Bulk files have the symbol, the period and the time in columns of their own.
- Polygon: https://polygon.io/docs/flat-files/stocks/minute-aggregates. All symbols in a file, nanoseconds.
- investing.com: https://www.investing.com/indices/us-spx-500-historical-data. Close is called Price; volumes
  with K, M and B.
- nasdaq.com: https://www.nasdaq.com/market-activity/quotes/historical. Newest first, dollar signs.
- yfinance: https://ranaroussi.github.io/yfinance/reference/api/yfinance.download.html (see `tables` for its header).
- TradingView, OANDA, Yahoo, Alpha Vantage, freqtrade, Excel: columns with the usual names.
"""

from __future__ import annotations

from data.importers.formats import CANDLE, OHLC, Format

_NAMED = {
    **dict.fromkeys(["timestamp", "datetime", "opentime", "unix", "utc"], "timestamp"),
    "date": "date",
    "time": "time",
    "adjclose": "adj_close",
    "regime": "regime",
    "symbol": "symbol",
    "o": "open",
    "h": "high",
    "l": "low",
    "c": "close",
    "v": "volume",
    "volume": "volume",
    "observationdate": "date",
    "ticker": "symbol",
}

FORMATS = (
    Format(
        "stooq",
        "Stooq",
        {"ticker": "symbol", "per": "", "date": "date", "time": "time", **OHLC, "vol": "volume"},
        zone_hint="intraday times of Stooq are those of the exchange or of Warsaw",
    ),
    Format("polygon", "Polygon", {"windowstart": "timestamp", "ticker": "symbol", **OHLC, "volume": "volume"}),
    Format(
        "investing",
        "investing.com",
        {"date": "date", "price": "close", "open": "open", "high": "high", "low": "low"},
        optional={"vol": "volume"},
    ),
    Format(
        "nasdaq",
        "nasdaq.com",
        {"date": "date", "closelast": "close", "open": "open", "high": "high", "low": "low"},
        optional={"volume": "volume"},
    ),
)

NAMED = Format("named", "named columns", {}, optional={**_NAMED, **OHLC})
UNNAMED = Format(
    "unnamed",
    "columns in the usual order",
    CANDLE,
    cells=[r"(?:19|20)\d{6}|\d{4}-\d\d-\d\d.*"],
)
