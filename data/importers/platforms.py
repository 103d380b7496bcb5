"""Exports of trading platforms.

- MetaTrader 5 and 4: https://www.metatrader5.com/en/terminal/help/trading_advanced/custom_instruments. Times are those
  of the broker's server.
- NinjaTrader 8: https://ninjatrader.com/support/helpGuides/nt8/importing.htm. UTC, and each time is a bar's end.
- histdata.com: https://www.histdata.com/f-a-q/data-files-detailed-specification/. New York's standard time all year.
- QuantConnect Lean: https://github.com/QuantConnect/Lean/tree/master/Data/equity. Equities in New York's time,
  with prices times 10,000; intraday files count milliseconds from midnight of the day in their name.
- Dukascopy (JForex): https://www.dukascopy.com/swiss/english/marketwatch/historical/
"""

from __future__ import annotations

from data.importers.formats import CANDLE, DAY_IN_FILE_NAME, OHLC, Format

_SERVER = "MetaTrader writes the time of the broker's server, often America/New_York+7 or Europe/Athens"
_TO_THE_SECOND, _TO_THE_MINUTE = r"\d{8} \d{6}", r"\d{8} \d\d:\d\d"
_INTRADAY = {"columns": ("milliseconds", *CANDLE[1:]), "file_name": DAY_IN_FILE_NAME}
_EQUITY = {"key": "lean-equity", "name": "QuantConnect Lean, equity", "zone": "America/New_York", "scale": 1e-4}
_OTHER = {"key": "lean", "name": "QuantConnect Lean, crypto or forex", "zone": "UTC"}

FORMATS = (
    Format(
        "metatrader5",
        "MetaTrader 5",
        {"date": "date", **OHLC, "tickvol": "tick_volume"},
        optional={"time": "time", "vol": "volume"},
        zone_hint=_SERVER,
    ),
    Format(
        "metatrader4",
        "MetaTrader 4",
        ("date", "time", *CANDLE[1:]),
        cells=[r"\d{4}\.\d\d\.\d\d", r"\d\d:\d\d"],
        zone_hint=f"{_SERVER}; histdata.com's files of this form are in EST",
    ),
    Format("ninjatrader", "NinjaTrader", CANDLE, cells=[_TO_THE_SECOND], zone="UTC", stamps_close=True),
    Format("histdata", "histdata.com", CANDLE, cells=[_TO_THE_SECOND], zone="EST"),
    Format(**_EQUITY, columns=CANDLE, cells=[_TO_THE_MINUTE, *[r"\d+"] * 4]),  # type: ignore[arg-type]
    Format(**_OTHER, columns=CANDLE, cells=[_TO_THE_MINUTE]),  # type: ignore[arg-type]
    Format(**_EQUITY, **_INTRADAY, cells=[r"\d{1,8}", *[r"\d+"] * 4]),  # type: ignore[arg-type]
    Format(**_OTHER, **_INTRADAY, cells=[r"\d{1,8}"]),  # type: ignore[arg-type]
    Format("dukascopy", "Dukascopy", {"gmttime": "timestamp", **OHLC}, zone="UTC"),
    Format("dukascopy", "Dukascopy", {"timeeet": "timestamp", **OHLC}, zone="EET"),
    Format("dukascopy", "Dukascopy", {"localtime": "timestamp", **OHLC}),
)
