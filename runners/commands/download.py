"""`regimes download`: download candles from an exchange or Yahoo Finance into data/csv."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from runners.commands import options
from runners.workspace.workspace import GivenSettings, Workspace

if TYPE_CHECKING:
    from data.download import CandleSource

_DATES = ["%Y-%m-%d"]


class Source(StrEnum):
    """Source of candles: any exchange that ccxt supports, or Yahoo Finance."""

    CCXT = "ccxt"
    YFINANCE = "yfinance"


def download(
    symbol: Annotated[
        str,
        typer.Argument(
            metavar="SYMBOL", help="BTC/USDT (spot), BTC/USDT:USDT (perpetual swap), AAPL (with --source yfinance)."
        ),
    ],
    timeframe: Annotated[str, typer.Option(help="Length of a bar: 15m, 4h, 1d, 1w, 1M.", show_default=False)],
    since: Annotated[
        dt.datetime | None,
        typer.Option(formats=_DATES, help="First day (UTC); not needed to append to a named file.", show_default=False),
    ] = None,
    until: Annotated[
        dt.datetime | None,
        typer.Option(formats=_DATES, help="Last day, inclusive; default: today.", show_default=False),
    ] = None,
    exchange: Annotated[
        str | None, typer.Option(help="ccxt id of the exchange; default: binance.", show_default=False)
    ] = None,
    source: Annotated[Source, typer.Option(help="ccxt for an exchange, yfinance for stocks.")] = Source.CCXT,
    name: Annotated[
        str | None,
        typer.Option(help="Name of the dataset; default: symbol, timeframe, first and last day.", show_default=False),
    ] = None,
    workspace_folder: options.WorkspaceOption = None,
    config: options.ConfigOption = None,
) -> None:
    """Download closed candles into data/csv, or append new ones.

    The same command resumes an interrupted download. A file whose last candles differ from the source is not changed.
    """
    import pandas as pd

    from data.candles import time_text
    from runners.terminal import download_bar, notice, out, print_path, warn
    from runners.workspace.downloading import Download, Place

    workspace = Workspace.open(workspace_folder, config)
    place = Place.find(workspace, symbol, timeframe, since, name)
    begin = None if since is None else pd.Timestamp(since, tz="UTC")
    end = None if until is None else pd.Timestamp(until, tz="UTC") + pd.Timedelta(days=1)
    task = Download(place, timeframe, begin, end)
    with download_bar(f"{symbol} {timeframe}") as bar:
        candle_source = _source(source, exchange, workspace.given, symbol, timeframe, bar.pause)
        if task.resumed_bars:
            notice(f"resuming after the {task.resumed_bars:,} bars in {place.part}")
        bar.begin(task.start, end or pd.Timestamp.now("UTC"))
        try:
            task.run(candle_source, bar.reach)
        except BaseException:
            if task.new_bars:
                notice(f"{task.new_bars:,} new bars are kept in {place.part}. Run the same command to resume.")
            raise
        bar.finish()
    path, index, warnings = task.finish()
    first, last = time_text(index[0]), time_text(index[-1])
    out.print(f"{task.new_bars:,} new bars; the file holds {len(index):,} from {first} to {last}")
    warn(warnings)
    print_path("candles", path)


def _source(
    source: Source,
    exchange: str | None,
    given: GivenSettings,
    symbol: str,
    timeframe: str,
    pause: Callable[[float, str], None],
) -> CandleSource:
    from data.errors import SettingsError
    from data.exchange import ExchangeSource, exchange_client, exchange_options
    from data.yahoo import YahooSource

    if source is Source.CCXT:
        exchange = exchange or "binance"
        options = exchange_options(given.content.get("exchange", {}), exchange, given.source)
        return ExchangeSource(exchange_client(exchange, options), symbol, timeframe, pause=pause)
    if exchange:
        raise SettingsError("--exchange is for crypto exchanges. Omit it with --source yfinance.")
    return YahooSource(symbol, timeframe)
