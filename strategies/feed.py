"""Converts candles to a Backtrader feed and back: a whole preloaded feed, or its newest bar."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Iterator, Sequence

import backtrader as bt
import numpy as np
import pandas as pd

from data.candles import OHLCV, check_candles
from data.errors import DataError
from data.intervals import interval_of

_STAMPS_AT_ONCE = 65_536
_EPOCH_DAY = 719163  # Backtrader counts days from 0001-01-01, which it numbers 1
_MILLISECONDS = {bt.TimeFrame.Minutes: 60_000, bt.TimeFrame.Seconds: 1000}


class CandleFeed(bt.feed.DataBase):
    """A feed of candles in memory; `candle_feed` makes it.

    Backtrader's own ``PandasData`` reads one cell at a time from the frame, which is a third of the time of a backtest.
    This feed fills whole lines at once. Where Backtrader has to see each bar (filters, resampling, ``preload=False``, a
    range of dates, a time zone), it gives one row after another.
    """

    @property
    def candles(self) -> pd.DataFrame:
        return self.p.dataname

    def start(self) -> None:
        super().start()
        self._rows: Iterator[tuple[float, ...]] | None = None

    def _stamps(self) -> Iterator[float]:
        times = pd.DatetimeIndex(self.candles.index).tz_convert(None)
        for begin in range(0, len(times), _STAMPS_AT_ONCE):
            yield from map(bt.date2num, times[begin : begin + _STAMPS_AT_ONCE].to_pydatetime())

    def preload(self) -> None:
        if self._filters or self._tzinput or (self.fromdate, self.todate) != (-math.inf, math.inf):
            super().preload()
            return
        for name in self.getlinealiases():
            line = getattr(self.lines, name)
            if name == "datetime":
                line.array.extend(self._stamps())
            elif name in self.candles:
                line.array.frombytes(self.candles[name].to_numpy(dtype=float).tobytes())
            else:
                line.array.extend([math.nan] * len(self.candles))
            line.home()
        self._rows = iter(())  # all are given

    def _load(self) -> bool:
        if self._rows is None:
            columns = (self.candles[name].to_numpy(dtype=float).tolist() for name in self.candles)
            self._filled = [self.lines.datetime, *(getattr(self.lines, str(name)) for name in self.candles)]
            self._rows = zip(self._stamps(), *columns, strict=True)
        row = next(self._rows, None)
        if row is None:
            return False
        for line, value in zip(self._filled, row, strict=True):
            line[0] = value
        return True


def candle_feed(candles: pd.DataFrame, *, checked: bool = False) -> CandleFeed:
    """Candles as a Backtrader feed, with a line for every further column.

    ``candles`` are ``(n_bars, >= 5)`` as from `data.candles.read_candles`; they are checked unless ``checked``.
    """
    if not checked:
        check_candles(candles)
    further = tuple(name for name in candles if name not in OHLCV)
    kind: type[CandleFeed] = CandleFeed
    if further:  # only then, because a class created here cannot be pickled for optstrategy's processes
        kind = type("CandleFeed", (kind,), {"lines": further})
    index = pd.DatetimeIndex(candles.index)
    minutes = interval_of(index) / pd.Timedelta(minutes=1)
    timeframe, compression = (bt.TimeFrame.Days, 1) if minutes >= 1440 else (bt.TimeFrame.Minutes, int(minutes))
    return kind(dataname=candles, timeframe=timeframe, compression=compression)


def is_preloaded(feed: bt.feed.DataBase) -> bool:
    """Whether the feed already holds all its bars, before the strategy's first ``next``."""
    return bool(feed.buflen() > 0 and len(feed) == 0)


def preloaded_candles(feed: bt.feed.DataBase, columns: Sequence[str]) -> pd.DataFrame:
    """Candles ``(n_bars, n_columns)`` of a preloaded feed over open times in UTC.

    Raises a `DataError` if the feed lacks a line, or its candles are invalid.
    """
    _require_lines(feed, columns)
    if isinstance(feed, CandleFeed) and not feed._filters and feed.buflen() == len(feed.candles):
        return feed.candles[list(columns)]
    index = bar_times(feed, np.array(feed.datetime.array))
    candles = pd.DataFrame({name: np.array(getattr(feed, name).array) for name in columns}, index=index)
    check_candles(candles, source="the feed")
    return candles


def newest_candle(feed: bt.feed.DataBase, columns: Sequence[str]) -> dict[str, object]:
    """The values of the feed's current bar."""
    _require_lines(feed, columns)
    return {name: getattr(feed, name)[0] for name in columns}


def bar_times(feed: bt.feed.DataBase, days: np.ndarray) -> pd.DatetimeIndex:
    """Convert Backtrader's float days to open times in UTC, rounded to milliseconds.

    Several feeds stamp a daily bar with the end of its session, 23:59:59.99; it gets its day's midnight, as in a CSV.
    Backtrader's resampling stamps a shorter bar with its close.

    Raises a `DataError` if a feed that calls itself daily has several bars in a day.
    """
    if feed._timeframe >= bt.TimeFrame.Days:
        days = np.floor(days)
        again = days[1:][np.diff(days) == 0]
        if len(again):
            raise DataError(
                f"the feed calls itself daily, as Backtrader's feeds do by default, but has several bars on "
                f"{bt.num2date(again[0]):%Y-%m-%d}. Pass the length of its bars, such as "
                "timeframe=bt.TimeFrame.Minutes, compression=240 for 4 h; of daily bars, keep one a day."
            )
    milliseconds = np.round((days - _EPOCH_DAY) * 86_400_000) - _stamped_after_open(feed)
    index = pd.DatetimeIndex(milliseconds.astype("datetime64[ms]"), name="timestamp")
    return index.tz_localize("UTC").as_unit("us")


def first_stamp(feed: bt.feed.DataBase, open_time: dt.datetime | None) -> float:
    """The float day from which the feed's bars open at ``open_time`` (UTC, naive) or later."""
    half_a_millisecond = 0.5
    return bt.date2num(open_time) + (_stamped_after_open(feed) - half_a_millisecond) / 86_400_000 if open_time else 0.0


def _stamped_after_open(feed: bt.feed.DataBase) -> int:
    """Milliseconds from the open of a bar shorter than a day to its stamp."""
    resampled = any(isinstance(each, bt.resamplerfilter.Resampler) and each.p.rightedge for each, *_ in feed._filters)
    return _MILLISECONDS.get(feed._timeframe, 0) * feed._compression if resampled else 0


def _require_lines(feed: bt.feed.DataBase, columns: Sequence[str]) -> None:
    missing = [name for name in columns if not hasattr(feed.lines, name)]
    if missing:
        raise DataError(
            f"the feed has no line {', '.join(missing)}, which the models need. Add lines of these names to the feed's "
            "class."
        )
