"""`regimes download`: candles of an exchange or of Yahoo into data/csv, or after those that are there."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from runners.commands.options import ConfigOption, HomeOption
from runners.workspace.workspace import Home

if TYPE_CHECKING:
    import pandas as pd

    from data.download import CandleSource
    from data.growing_csv import GrowingCsv

_DAY = "%Y%m%d"
_DATES = ["%Y-%m-%d"]


class Source(StrEnum):
    """Where candles come from: any exchange that ccxt knows, or Yahoo Finance."""

    CCXT = "ccxt"
    YFINANCE = "yfinance"


@dataclass(frozen=True)
class Place:
    """Where the candles of one download lie: those that are there, and those to come."""

    home: Home
    stem: str  # of the file, without the end date that a ``dated`` one has
    dated: bool

    @property
    def part(self) -> Path:
        return self.home.csv / f"{self.stem}.part"

    def existing(self) -> Path | None:
        """The CSV to continue; of several dated ones that which ends last."""
        if not self.dated:
            file = self.home.csv / f"{self.stem}.csv"
            return file if file.exists() else None
        dated = re.compile(re.escape(self.stem) + r"_\d{8}")
        return max((file for file in self.home.csv.glob("*.csv") if dated.fullmatch(file.stem)), default=None)

    def final(self, last: pd.Timestamp) -> Path:
        """The CSV's path when ``last`` is its last candle.

        A dated file is named anew when candles are appended, unless models or results belong to its name.
        """
        existing = self.existing()
        if existing and (not self.dated or self.in_use(existing)):
            return existing
        return self.home.csv / (f"{self.stem}_{last.strftime(_DAY)}.csv" if self.dated else f"{self.stem}.csv")

    def in_use(self, file: Path) -> bool:
        return (self.home.trained / file.stem).exists() or (self.home.results / file.stem).exists()


def download(
    symbol: Annotated[
        str, typer.Argument(help="BTC/USDT (spot), BTC/USDT:USDT (perpetual swap); AAPL with --source yfinance.")
    ],
    timeframe: Annotated[str, typer.Option(help="A bar's length: 15m, 4h, 1d, 1w, 1M.", show_default=False)],
    since: Annotated[
        dt.datetime | None,
        typer.Option(
            formats=_DATES,
            help="First day (UTC); not needed for a named file that exists.",
            show_default=False,
        ),
    ] = None,
    until: Annotated[
        dt.datetime | None,
        typer.Option(formats=_DATES, help="Last day, included; default: up to now.", show_default=False),
    ] = None,
    exchange: Annotated[
        str | None, typer.Option(help="An exchange's id in ccxt; default: binance.", show_default=False)
    ] = None,
    source: Annotated[Source, typer.Option(help="An exchange, or Yahoo Finance for stocks.")] = Source.CCXT,
    name: Annotated[
        str | None,
        typer.Option(
            help="The dataset's name, which stays when candles are appended; default: symbol, timeframe, first and "
            "last day.",
            show_default=False,
        ),
    ] = None,
    home: HomeOption = None,
    config: ConfigOption = None,
) -> None:
    """Download closed candles into data/csv; again later, append those that came since.

    An interrupted download goes on where it was.
    A file whose last candles differ from the source's is left alone.
    """
    import pandas as pd

    from data.download import new_candles, require_nothing_earlier
    from data.errors import DataError, SettingsError
    from data.growing_csv import GrowingCsv
    from runners.download_bar import download_bar
    from runners.terminal import notice
    from runners.workspace.settings import read_config

    found = Home.find(home)
    options = (read_config(config) if config else found.config).get("exchange", {})
    place = _place(found, symbol, timeframe, since, name)
    begin = None if since is None else pd.Timestamp(since, tz="UTC")
    end = None if until is None else pd.Timestamp(until, tz="UTC") + pd.Timedelta(days=1)

    file = GrowingCsv(place.part, place.existing())
    known = file.known()
    start = begin if known is None else known.index[-1]
    if start is None:
        raise SettingsError(f"{place.stem}.csv is not there; its first download needs --since YYYY-MM-DD.")
    new = 0
    with download_bar(f"{symbol} {timeframe}") as bar:
        candle_source = _source(source, exchange, options, symbol, timeframe, bar.pause)
        if known is not None:
            if begin is not None and not place.dated:
                require_nothing_earlier(candle_source, begin, known, str(file.source))
            if file.source == place.part:
                notice(f"going on after the {len(known):,} bars of {place.part}")
        bar.begin(start, end or pd.Timestamp.now("UTC"))
        try:
            for page in new_candles(candle_source, start, end, known, str(file.source)):
                file.append(page)
                new += len(page)
                bar.reach(page.index[-1])
            bar.finish()
        except BaseException:
            if new:
                notice(f"{new:,} new bars are kept in {place.part}; the same command goes on after them.")
            raise
    if file.source is None:
        raise DataError(f"{candle_source.name}: there is no closed candle in the time asked for.")
    _finish(place, file, new, begin, timeframe)


def _place(home: Home, symbol: str, timeframe: str, since: dt.datetime | None, name: str | None) -> Place:
    from data.errors import SettingsError

    home.csv.mkdir(parents=True, exist_ok=True)
    if name is not None:
        if Path(name).name != name or name.endswith(".csv"):
            raise SettingsError(f"--name: {name!r} is no dataset's name, which has no folder and no .csv.")
        return Place(home, name, dated=False)
    if since is None:
        raise SettingsError("--since YYYY-MM-DD, the first day, is needed; or --name, to append to a file.")
    plain = re.sub(r"[^A-Za-z0-9.-]", "", symbol.replace(":", "-"))
    return Place(home, f"{plain}_{timeframe}_{since.strftime(_DAY)}", dated=True)


def _source(
    source: Source,
    exchange: str | None,
    options: dict[str, Any],
    symbol: str,
    timeframe: str,
    pause: Callable[[float, str], None],
) -> CandleSource:
    from data.errors import SettingsError
    from data.exchange import ExchangeSource, exchange_client
    from data.yahoo import YahooSource

    if source is Source.CCXT:
        exchange = exchange or "binance"
        return ExchangeSource(exchange_client(exchange, options.get(exchange, {})), symbol, timeframe, pause=pause)
    if exchange:
        raise SettingsError("--exchange is for crypto exchanges; leave it out with --source yfinance.")
    return YahooSource(symbol, timeframe)


def _finish(place: Place, file: GrowingCsv, new: int, since: pd.Timestamp | None, timeframe: str) -> None:
    """Give the file its name, and say what is in it and what is not."""
    import pandas as pd

    from data.candles import missing_bars, read_candles, time_text
    from data.download import step_of
    from runners.terminal import notice, out, print_path

    candles = read_candles(file.source or place.part)
    index = pd.DatetimeIndex(candles.index)
    old = file.existing
    final = place.final(index[-1]) if old is None or file.part.exists() else old
    file.finish(final)
    out.print(f"{new:,} new bars: {len(candles):,} from {time_text(index[0])} to {time_text(index[-1])}")
    if since is not None and index[0] > since + pd.Timedelta(days=1) + step_of(timeframe):
        notice(f"there are no candles from {since:%Y-%m-%d} to {time_text(index[0])}.")
    missing = missing_bars(index)
    if missing:
        notice(f"{missing:,} bars of {timeframe} are missing in between (closed days, or gaps); none is invented.")
    if old and old != final:
        notice(f"{old.name} is now {final.name}; with --name it would keep its name.")
    elif old and new and place.dated:
        notice(f"{old.name} keeps its name, for models or results belong to it.")
    print_path("candles", final)
