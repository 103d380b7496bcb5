"""Downloads closed candles from any source, checks them, and continues those already known."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Protocol

import pandas as pd

from data.candles import PRICES, check_candles, time_text
from data.errors import DataError, SettingsError

OVERLAP = 10  # known bars that are fetched again, to check that new candles continue them
_CONTEXT = 100  # earlier bars that are checked together with a page, so that the interval is known

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks", "M": "months", "y": "years"}


class CandleSource(Protocol):
    """A source of the candles of one symbol and timeframe."""

    @property
    def name(self) -> str:
        """The name that errors use, such as ``binance BTC/USDT 4h``."""

    @property
    def timeframe(self) -> str:
        """Such as ``15m``, ``4h``, ``1d``, ``1w`` or ``1M``."""

    @property
    def price_tolerance(self) -> float:
        """The fraction by which a price may differ when it is fetched again."""

    def now(self) -> pd.Timestamp:
        """The source's time, on the clock of its candles."""

    def pages(self, since: pd.Timestamp, end: pd.Timestamp) -> Iterator[pd.DataFrame]:
        """OHLCV frames over UTC open times, oldest first, from ``since`` until one reaches ``end``.

        They may overlap, lack bars and contain an unfinished bar.
        """


def step_of(timeframe: str) -> pd.DateOffset:
    """The offset from a bar's open time to the next bar's; raises a `SettingsError` for an unknown timeframe."""
    parts = re.fullmatch(rf"([1-9]\d*)([{''.join(_UNITS)}])", timeframe)
    if not parts:
        raise SettingsError(f"unknown timeframe {timeframe!r}. Use for example 15m, 4h, 1d, 1w or 1M.")
    count = int(parts[1])
    return pd.DateOffset(**{_UNITS[parts[2]]: count})  # type: ignore[arg-type]


def length_of(timeframe: str) -> pd.Timedelta:
    """The length of a bar; that of a month is January's. Raises a `SettingsError` for an unknown timeframe."""
    return pd.Timestamp(0) + step_of(timeframe) - pd.Timestamp(0)


def new_candles(
    source: CandleSource,
    since: pd.Timestamp,
    end: pd.Timestamp | None = None,
    known: pd.DataFrame | None = None,
    known_as: str = "known candles",
) -> Iterator[pd.DataFrame]:
    """Closed candles that are not known yet, page by page.

    Parameters
    ----------
    since
        First open time; ignored if ``known`` is given, since new candles follow the known ones.
    end
        Only candles that open before it; default: all that have closed.
    known
        ``(n_bars, 5)`` candles to continue. The last of them are fetched again and must have the same prices.
    known_as
        Name of the known candles in errors: the CSV's path, whose header is line 1.

    Yields
    ------
    pandas.DataFrame
        ``(n_bars, 5)`` OHLCV over a UTC ``timestamp`` index, each page after the previous one; no page is empty.

    Raises
    ------
    DataError
        If the source cannot be reached, its candles are invalid, or known candles differ from them.
    """
    now = source.now()
    end = now if end is None else min(end, now)
    if known is None:
        pages = closed_pages(source, since, end, now)
    elif end <= known.index[-1]:
        return
    else:
        pages = _after(known, known_as, closed_pages(source, known.index[-OVERLAP:][0], end, now), source)
    before = None if known is None else known.iloc[-_CONTEXT:]
    for page in pages:
        checked = page if before is None else pd.concat([before, page])
        check_candles(checked, source=f"{source.name} from {time_text(checked.index[0])} on")
        before = checked.iloc[-_CONTEXT:]
        yield page


def closed_pages(
    source: CandleSource, since: pd.Timestamp, end: pd.Timestamp, now: pd.Timestamp
) -> Iterator[pd.DataFrame]:
    """The source's candles from ``since`` until ``end``, page by page; no page is empty.

    Candles that have not closed at ``now``, repeated ones and those outside the range are left out.
    """
    step = step_of(source.timeframe)
    for fetched in source.pages(since, end):
        page = fetched.reset_index().drop_duplicates().set_index("timestamp").sort_index()
        page = page[(page.index >= since) & (page.index < end)]
        page = page[pd.DatetimeIndex(page.index) + step <= now]
        if len(page):
            since = page.index[-1] + pd.Timedelta(1, unit="us")
            yield page


def require_nothing_earlier(source: CandleSource, since: pd.Timestamp, known: pd.DataFrame, known_as: str) -> None:
    """Raise a `DataError` if the source has candles from ``since`` on that are older than the known ones."""
    first = known.index[0]
    if since >= first:
        return
    for page in source.pages(since, first):
        earlier = page.index[(page.index >= since) & (page.index < first)]
        if len(earlier):
            raise DataError(
                f"{known_as} begins at {time_text(first)}, but {source.name} has candles from {time_text(earlier[0])} "
                "on. Candles are appended only at the end: choose another --name for the longer series."
            )
        if len(page):
            return


def _after(
    known: pd.DataFrame, known_as: str, pages: Iterable[pd.DataFrame], source: CandleSource
) -> Iterator[pd.DataFrame]:
    """The pages' candles after the known ones, after a check that the overlap agrees."""
    last = known.index[-1]
    again = known.iloc[:0]
    compared = False
    for page in pages:
        if not compared:
            again = pd.concat([again, page.loc[:last]])
            if page.index[-1] < last:
                continue
            _require_same(known, known_as, again, source)
            compared = True
        new = page.loc[page.index > last]
        if len(new):
            yield new
    if not compared:
        _require_same(known, known_as, again, source)


def _require_same(known: pd.DataFrame, known_as: str, again: pd.DataFrame, source: CandleSource) -> None:
    remedy = "Nothing was written. Correct the file, or choose another --name to begin a new one."
    tail = known.iloc[-OVERLAP:]
    for time in tail.index.union(again.index):
        line = f"{known_as}, line {known.index.searchsorted(time) + 2} ({time_text(time)})"
        if time not in tail.index:
            raise DataError(f"{line}: the file lacks this candle, which {source.name} has. {remedy}")
        if time not in again.index:
            raise DataError(f"{line}: {source.name} has no such candle, or has not closed it yet. {remedy}")
        for column in PRICES:
            here, there = float(tail[column][time]), float(again[column][time])
            if abs(here - there) > source.price_tolerance * here:
                raise DataError(
                    f"{line}: {column} is {here!r} in the file, but {there!r} at {source.name}. Is the file of another "
                    f"exchange, or was its candle unfinished, or its price adjusted since? {remedy}"
                )
