"""An exchange on loopback that speaks Binance's public REST, as the real ccxt client uses it, and fails as scripted."""

from __future__ import annotations

import json
import threading
from collections import deque
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pandas as pd


@dataclass(frozen=True)
class Fault:
    """What the exchange does with one request for candles instead of answering it."""

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: str = '{"code": -1000, "msg": "An unknown error occurred."}'
    drops: bool = False  # closes the connection without a word
    cuts: bool = False  # answers with the first half of the candles' JSON
    holds: bool = False  # does not answer before the exchange closes


class Exchange:
    """A spot market with candles, a clock, a page limit and scripted faults; a context manager.

    Parameters
    ----------
    candles
        OHLCV of ``BTC/USDT`` in 4 h bars.
    page_limit
        Candles that it gives at once, whatever is asked for.
    in_windows
        Give only candles of the ``limit`` bars from ``startTime`` on, as some exchanges do: none within a long hole.
    """

    def __init__(self, candles: pd.DataFrame, *, page_limit: int = 1000, in_windows: bool = False) -> None:
        self.candles = candles
        self.now = candles.index[-1] + pd.Timedelta(hours=4)
        self.page_limit, self.in_windows = page_limit, in_windows
        self.faults: deque[Fault] = deque()  # one for each of the next requests for candles
        self.asked: list[pd.Timestamp] = []  # since when candles were asked for, each time
        self.on_hold = threading.Event()
        self._closing = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Exchange:
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def client_options(self) -> dict[str, Any]:
        """What points ccxt's client at it, and makes its rate limit short."""
        return {
            "rateLimit": 1,
            "urls": {
                "api": {
                    "public": f"{self.url}/api/v3",
                    "fapiPublic": f"{self.url}/fapi/v1",
                    "dapiPublic": f"{self.url}/dapi/v1",
                }
            },
        }

    def answer(self, path: str, query: dict[str, str]) -> Any:
        """The JSON for a request."""
        if path.endswith("/exchangeInfo"):
            return {"symbols": [_MARKET] if path.startswith("/api/") else []}
        if path == "/api/v3/time":
            return {"serverTime": _milliseconds(self.now)}
        assert path == "/api/v3/klines", path
        assert (query["symbol"], query["interval"]) == ("BTCUSDT", "4h")
        since = pd.Timestamp(int(query["startTime"]), unit="ms", tz="UTC")
        self.asked.append(since)
        limit = min(self.page_limit, int(query["limit"]))
        end = since + limit * pd.Timedelta(hours=4) if self.in_windows else self.now
        candles = self.candles[(self.candles.index >= since) & (self.candles.index <= min(end, self.now))]
        return [_kline(*row) for row in candles.head(limit).itertuples()]

    def hold(self) -> None:
        self.on_hold.set()
        self._closing.wait()


_MARKET = {
    "symbol": "BTCUSDT",
    "status": "TRADING",
    "baseAsset": "BTC",
    "quoteAsset": "USDT",
    "baseAssetPrecision": 8,
    "quotePrecision": 8,
    "isSpotTradingAllowed": True,
    "permissions": ["SPOT"],
    "filters": [{"filterType": "PRICE_FILTER", "minPrice": "0.01", "maxPrice": "1000000", "tickSize": "0.01"}],
}


def _milliseconds(time: pd.Timestamp) -> int:
    return int(time.timestamp() * 1000)


def _kline(opened: pd.Timestamp, *ohlcv: float) -> list[Any]:
    closes = _milliseconds(opened + pd.Timedelta(hours=4)) - 1
    return [_milliseconds(opened), *map(repr, ohlcv), closes, "0", 1, "0", "0", "0"]


def _handler(exchange: Exchange) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1  # an answer in two packets would wait for the client to acknowledge the first

        def do_GET(self) -> None:
            url = urlsplit(self.path)
            fault = exchange.faults.popleft() if url.path.endswith("/klines") and exchange.faults else Fault()
            if fault.holds:
                exchange.hold()
            if fault.holds or fault.drops:
                self.close_connection = True
                return
            if fault.status != 200:
                body = fault.body
            else:
                body = json.dumps(exchange.answer(url.path, dict(parse_qsl(url.query))))
            content = (body[: len(body) // 2] if fault.cuts else body).encode()
            self.send_response(fault.status)
            for name, value in {"Content-Type": "application/json", **fault.headers}.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            """Nothing on standard error."""

    return Handler
