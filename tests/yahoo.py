"""Yahoo Finance on loopback, for the real yfinance client, whose session sends every request there."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import numpy as np
import pandas as pd
import yfinance
from curl_cffi.requests import Session
from yfinance.data import YfData

from tests.patience import PATIENCE_S

ZONE = "America/New_York"


class Yahoo:
    """Daily candles of AAPL on business days, each stamped with the opening of its session, the last one running.

    A test that asks for bars within the day sets ``opens`` and ``close``.
    """

    def __init__(self) -> None:
        today = pd.Timestamp.now(ZONE).tz_localize(None).normalize()
        days = pd.bdate_range(end=today - pd.Timedelta(days=1), periods=40).append(pd.DatetimeIndex([today]))
        self.opens = (days + pd.Timedelta(hours=9, minutes=30)).tz_localize(ZONE)
        random = np.random.default_rng(0)
        self.close = 100 + np.cumsum(random.standard_normal(len(days)))
        self.dividends = 1.0  # adjusted close over close, before today

    def chart(self, symbol: str, query: dict[str, str]) -> dict[str, Any]:
        if symbol != "AAPL":
            return {"chart": {"result": None, "error": {"code": "Not Found", "description": "No data found"}}}
        seconds = self.opens.as_unit("s").asi8
        wanted = (seconds >= int(query.get("period1", 0))) & (seconds < int(query.get("period2", 2**40)))
        close = self.close[wanted]
        prices = {"open": close - 0.5, "high": close + 1, "low": close - 1, "close": close}
        quote = {name: values.tolist() for name, values in prices.items()} | {"volume": [1000] * len(close)}
        meta = {
            "symbol": symbol, "currency": "USD", "instrumentType": "EQUITY", "exchangeTimezoneName": ZONE,
            "timezone": "EST", "gmtoffset": -18000, "dataGranularity": query["interval"], "validRanges": ["1d", "5d"],
        }  # fmt: skip
        if query["interval"].endswith("m"):  # sessions around the clock
            days = self.opens.normalize().unique()
            begin_and_end = zip(days.as_unit("s").asi8, (days + pd.DateOffset(days=1)).as_unit("s").asi8, strict=True)
            zone = {"timezone": "EST", "gmtoffset": -18000}
            meta["tradingPeriods"] = [[{"start": int(start), "end": int(end), **zone}] for start, end in begin_and_end]
        indicators = {"quote": [quote], "adjclose": [{"adjclose": (close * self.dividends).tolist()}]}
        result = {"meta": meta, "timestamp": seconds[wanted].tolist(), "indicators": indicators}
        return {"chart": {"result": [result], "error": None}}


class LoopbackSession(Session):
    """Sends every request to one address, whatever its host was to be."""

    def __init__(self, address: str) -> None:
        super().__init__()
        self.address = address

    def request(self, method: str, url: str, *args: Any, **kwargs: Any) -> Any:
        return super().request(method, self.address + urlsplit(url).path, *args, **{**kwargs, "timeout": PATIENCE_S})


@contextmanager
def serve_yahoo(cache: Path) -> Iterator[Yahoo]:
    """A Yahoo that this process's yfinance asks within the block."""
    served = Yahoo()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            url = urlsplit(self.path)
            folder, name = url.path.rsplit("/", 1)
            asks_candles = folder.endswith("chart")
            body = json.dumps(served.chart(name, dict(parse_qsl(url.query)))) if asks_candles else "crumb"
            self.send_response(404 if name == "NONE" else 200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *_: object) -> None:
            """Nothing on standard error."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yfinance.set_tz_cache_location(str(cache))
    session = LoopbackSession(f"http://127.0.0.1:{server.server_port}")
    YfData(session=session).cache_get.cache_clear()
    try:
        yield served
    finally:
        session.close()
        server.shutdown()
        thread.join()
        server.server_close()
