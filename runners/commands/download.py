"""`regimes download`: candles from an exchange or Yahoo into data/csv."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from runners.commands.options import ConfigOption, WorkspaceOption
from runners.workspace.workspace import Workspace

if TYPE_CHECKING:
    from data.download import CandleSource

_DATES = ["%Y-%m-%d"]


class Source(StrEnum):
    """Where candles come from: any exchange that ccxt knows, or Yahoo Finance."""

    CCXT = "ccxt"
    YFINANCE = "yfinance"


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
    workspace_folder: WorkspaceOption = None,
    config: ConfigOption = None,
) -> None:
    """Download closed candles into data/csv; again later, append those that came since.

    An interrupted download goes on where it was.
    A file whose last candles differ from the source's is left alone.
    """
    import pandas as pd

    from data.candles import time_text
    from runners.terminal import download_bar, notice, out, print_path, warn
    from runners.workspace.downloading import Download, Place

    workspace = Workspace.open(workspace_folder)
    options = workspace.settings(config).content.get("exchange", {})
    place = Place.find(workspace, symbol, timeframe, since, name)
    begin = None if since is None else pd.Timestamp(since, tz="UTC")
    end = None if until is None else pd.Timestamp(until, tz="UTC") + pd.Timedelta(days=1)
    task = Download(place, timeframe, begin, end)
    with download_bar(f"{symbol} {timeframe}") as bar:
        candle_source = _source(source, exchange, options, symbol, timeframe, bar.pause)
        if task.resumed_bars:
            notice(f"going on after the {task.resumed_bars:,} bars of {place.part}")
        bar.begin(task.start, end or pd.Timestamp.now("UTC"))
        try:
            task.run(candle_source, bar.reach)
        except BaseException:
            if task.new_bars:
                notice(f"{task.new_bars:,} new bars are kept in {place.part}; the same command goes on after them.")
            raise
        bar.finish()
    result = task.finish()
    out.print(
        f"{result.new_bars:,} new bars: {result.bars:,} from {time_text(result.first)} to {time_text(result.last)}"
    )
    warn(result.warnings)
    print_path("candles", result.path)


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
