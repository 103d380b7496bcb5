"""Files of crypto exchanges and of those who collect them.

- Binance Vision: https://github.com/binance/binance-public-data#klines. Twelve columns; spot files have no header, and
  microseconds from 2025 on.
- Kraken: https://support.kraken.com/articles/360047124832-downloadable-historical-ohlcvt-open-high-low-close-volume-trades-data
- ccxt, freqtrade: https://docs.ccxt.com/#/README?id=ohlcv-structure. Arrays of time, open, high, low, close, volume.
- CryptoDataDownload: https://www.cryptodatadownload.com/data/. A line with the address, then the header, newest first.
"""

from __future__ import annotations

from data.importers.formats import CANDLE, OHLC, Format

_EPOCH = r"\d{10}|\d{13}|\d{16}|\d{19}"

FORMATS = (
    Format("binance", "Binance Vision", {"opentime": "timestamp", **OHLC, "volume": "volume", "closetime": ""}),
    Format("binance", "Binance Vision", (*CANDLE, *[""] * 6), cells=[_EPOCH, *[r"[\d.]+"] * 5, _EPOCH]),
    Format("kraken", "Kraken OHLCVT", (*CANDLE, ""), cells=[_EPOCH]),
    Format("ccxt", "arrays of ccxt", CANDLE, cells=[_EPOCH]),
    Format("cryptodatadownload", "CryptoDataDownload", {"unix": "timestamp", "symbol": "symbol", **OHLC}),
    Format("cryptodatadownload", "CryptoDataDownload", {"date": "timestamp", "symbol": "symbol", **OHLC}, zone="UTC"),
)
