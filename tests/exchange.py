"""Simulates Binance's REST and websocket on this machine, for ccxt's real clients, with scripted faults."""

from __future__ import annotations

import json
import threading
from collections import deque
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pandas as pd

from tests.exchange_account import LEAST_COST, STEP, Account, RefusedError, require_signature
from tests.exchange_stream import SANDBOX, StreamServer
from tests.patience import PATIENCE_S

BAR = pd.Timedelta(hours=4)


@dataclass(frozen=True)
class Fault:
    """A scripted fault for one request."""

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: str = '{"code": -1000, "msg": "An unknown error occurred."}'
    drops: bool = False  # closes the connection without an answer
    cuts: bool = False  # sends only the first half of the JSON
    holds: bool = False  # does not answer before the exchange closes
    accepts: bool = False  # executes the request, but loses the answer, or sends the status if there is one
    echoes_key: bool = False  # the answer contains the API key
    replaces: bool = False  # sends the body with status 200


class Exchange(StreamServer):
    """A spot market and a perpetual swap with candles, a clock, an account and scripted faults; a context manager.

    `StreamServer` describes its websockets.

    Parameters
    ----------
    candles
        OHLCV of ``BTC/USDT``, and of ``BTC/USDT:USDT``, in 4 h bars.
    page_limit
        Largest number of candles in one answer.
    in_windows
        Send only candles of the ``limit`` bars from ``startTime`` on, as some exchanges do: none in a long gap.
    closed
        How many of the candles have closed already, at least one; by default all.
    """

    def __init__(
        self, candles: pd.DataFrame, *, page_limit: int = 1000, in_windows: bool = False, closed: int | None = None
    ) -> None:
        super().__init__()
        self.candles = candles
        self.now = candles.index[:closed][-1] + BAR
        self.page_limit, self.in_windows = page_limit, in_windows
        self.withheld: set[pd.Timestamp] = set()  # open times of candles that REST leaves out
        self.broken: dict[pd.Timestamp, tuple[float, ...]] = {}  # OHLCV to send instead, by open time
        self.key, self.secret = "key-of-the-simulated-account", "secret-of-the-simulated-account"
        self.account = Account()
        self.faults: deque[Fault] = deque()  # one for each of the next requests for candles
        self.order_faults: deque[Fault] = deque()  # one for each of the next orders
        self.account_faults: deque[Fault] = deque()  # one for each of the next other signed requests
        self.asked: list[pd.Timestamp] = []  # start time of each request for candles
        self.n_requests = 0
        self.listed = ["BTCUSDT"]  # symbols of the spot market
        self.on_hold = threading.Event()
        self._closing = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Exchange:
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()
        self._start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.set()
        self._stop()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def client_options(self) -> dict[str, Any]:
        """Options that point ccxt's clients to the simulator, and make their rate limit short.

        ``key`` and ``secret`` are left out: ``{**options, "apiKey": exchange.key, "secret": exchange.secret}``.
        """
        return {
            "rateLimit": 1,
            "timeout": int(1000 * PATIENCE_S),
            "timeout_on_exit": 0,  # ms that the asynchronous client sleeps when it is closed
            "options": {"fetchCurrencies": False, "fetchMargins": False},  # signed requests to load public markets
            "urls": {"api": self._urls(""), "test": self._urls(SANDBOX)},
        }

    def advance(self, n: int = 1) -> None:
        """Advance time until ``n`` more candles have closed, and send each to the subscribers.

        Raises
        ------
        ValueError
            If there are no more candles.
        """
        for _ in range(n):
            with self._changed:
                closing = self.candles.index[self.candles.index + BAR > self.now]
                if closing.empty:
                    raise ValueError(f"all {len(self.candles)} candles have closed")
                self.now = closing[0] + BAR
                self._send([self._event(opened) for opened in (closing[0], self.now) if opened in self.candles.index])

    def tick(self) -> None:
        """Send the bar in progress again, as Binance does every second or two."""
        self.send_old(0)

    def send_old(self, n: int) -> None:
        """Send an update of the bar that opened ``n`` bars before the last one."""
        with self._changed:
            self._send([self._event(self.candles.index[self.candles.index <= self.now][-1 - n])])

    @property
    def price(self) -> float:
        """Price of one bitcoin: the open of the bar in progress, or the last close without one."""
        last = self.candles.loc[: self.now].iloc[-1]
        return float(last["open"] if last.name + BAR > self.now else last["close"])

    def answer(self, method: str, path: str, query: str, key: str | None) -> Any:
        """The JSON for a request, signed with ``key`` if it is private.

        Raises
        ------
        RefusedError
            As Binance does.
        """
        given = dict(parse_qsl(query))
        if path.endswith("/exchangeInfo"):
            kind = path.split("/")[1]
            least = {"filterType": "NOTIONAL", "minNotional": self.account.listed_least_cost}
            changing = {**_SPOT, "filters": [*_SPOT["filters"][:2], least]}
            spot = [{**changing, "symbol": name, "baseAsset": name.removesuffix("USDT")} for name in self.listed]
            return {"symbols": spot if kind == "api" else [self._swap()] if kind == "fapi" else []}
        if path.endswith("/ticker/24hr"):
            return {"symbol": "BTCUSDT", "lastPrice": repr(self.price), "closeTime": _milliseconds(self.now)}
        if path.endswith("/time"):
            return {"serverTime": _milliseconds(self.now)}
        if path.endswith("/klines"):
            return self._klines(given)
        require_signature(query, key, self.key, self.secret)
        return self.account.answer(method, path, given, self.price, _milliseconds(self.now))

    def fault_of(self, method: str, path: str) -> Fault:
        """Fault of this request, if any."""
        if path.endswith("/klines"):
            faults = self.faults
        elif path.endswith(("/exchangeInfo", "/time", "/ticker/24hr")):
            return Fault()
        else:
            faults = self.order_faults if method == "POST" else self.account_faults
        return faults.popleft() if faults else Fault()

    def hold(self) -> None:
        self.on_hold.set()
        self._closing.wait()

    def _swap(self) -> dict[str, Any]:
        account = self.account
        market = {"filterType": "MARKET_LOT_SIZE", "minQty": account.contract_step, "maxQty": account.largest}
        step, most = account.contract_step, max(9000.0, account.largest)
        lots = {"filterType": "LOT_SIZE", "minQty": step, "stepSize": step, "maxQty": most}
        least = {"filterType": "MIN_NOTIONAL", "notional": account.listed_least_cost}
        return {**_SWAP, "contractSize": account.contract, "filters": [_SPOT["filters"][0], lots, market, least]}

    def _klines(self, query: dict[str, str]) -> list[list[Any]]:
        assert (query["symbol"], query["interval"]) == ("BTCUSDT", "4h")
        limit = min(self.page_limit, int(query.get("limit", 500)))
        candles = self.candles[self.candles.index <= self.now]
        candles = candles[~candles.index.isin(list(self.withheld))]
        if "endTime" in query:
            candles = candles[candles.index <= pd.Timestamp(int(query["endTime"]), unit="ms", tz="UTC")]
        if "startTime" in query:
            since = pd.Timestamp(int(query["startTime"]), unit="ms", tz="UTC")
        else:
            since = candles.index[-limit:][0]
        self.asked.append(since)
        candles = candles[candles.index >= since]
        if self.in_windows:
            candles = candles[candles.index <= since + limit * BAR]
        return [self._kline(*row) for row in candles.head(limit).itertuples()]

    def _kline(self, opened: pd.Timestamp, *candle: float) -> list[Any]:
        ohlcv = self.broken.get(opened, candle)
        if opened + BAR > self.now:
            ohlcv = (*[ohlcv[0]] * 4, 0.0)
        closes = _milliseconds(opened + BAR) - 1
        return [_milliseconds(opened), *(repr(float(value)) for value in ohlcv), closes, "0", 1, "0", "0", "0"]

    def _event(self, opened: pd.Timestamp) -> dict[str, Any]:
        names = ("t", "o", "h", "l", "c", "v", "T", "q", "n", "V", "Q", "B")
        fields = {"s": "BTCUSDT", "i": "4h", "f": 0, "L": 0, "x": opened + BAR <= self.now}
        kline = dict(zip(names, self._kline(opened, *self.candles.loc[opened]), strict=True))
        return {"e": "kline", "E": _milliseconds(self.now), "s": "BTCUSDT", "k": {**fields, **kline}}

    def _urls(self, prefix: str) -> dict[str, Any]:
        rest, sockets = self.url + prefix, self.websocket_url + prefix
        return {
            "public": f"{rest}/api/v3",
            "private": f"{rest}/api/v3",
            "sapi": f"{rest}/sapi/v1",  # not supported, so that no request leaves this machine
            "fapiPublic": f"{rest}/fapi/v1",
            "fapiPrivate": f"{rest}/fapi/v1",
            "fapiPrivateV2": f"{rest}/fapi/v2",
            "fapiPrivateV3": f"{rest}/fapi/v3",
            "dapiPublic": f"{rest}/dapi/v1",
            # ccxt takes a candle for one of the spot market if "/stream" is in the address
            "ws": {"spot": f"{sockets}/stream/ws", "future": f"{sockets}/future/ws"},
        }


_SPOT = {
    "symbol": "BTCUSDT",
    "status": "TRADING",
    "baseAsset": "BTC",
    "quoteAsset": "USDT",
    "baseAssetPrecision": 8,
    "quotePrecision": 8,
    "orderTypes": ["LIMIT", "MARKET"],
    "isSpotTradingAllowed": True,
    "permissions": ["SPOT"],
    "filters": [
        {"filterType": "PRICE_FILTER", "minPrice": "0.01", "maxPrice": "1000000", "tickSize": "0.01"},
        {"filterType": "LOT_SIZE", "minQty": STEP, "maxQty": "9000", "stepSize": STEP},
        {"filterType": "NOTIONAL", "minNotional": LEAST_COST},
    ],
}
_SWAP = {
    **_SPOT,
    "pair": "BTCUSDT",
    "contractType": "PERPETUAL",
    "deliveryDate": 4133404800000,
    "marginAsset": "USDT",
    "orderTypes": ["LIMIT", "MARKET", "STOP_MARKET"],
}


def _milliseconds(time: pd.Timestamp) -> int:
    return int(time.timestamp() * 1000)


def _handler(exchange: Exchange) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1  # an answer in two packets would wait for the client to acknowledge the first

        def do_GET(self) -> None:
            url = urlsplit(self.path)
            path = url.path.removeprefix(SANDBOX)
            sent = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
            key = self.headers.get("X-MBX-APIKEY")
            status, body = 200, ""
            with exchange._changed:
                exchange.n_requests += 1
                exchange.sandbox_requests += path != url.path
                fault = exchange.fault_of(self.command, path)
                if fault.accepts or not (fault.holds or fault.drops or fault.status != 200):
                    try:
                        body = json.dumps(exchange.answer(self.command, path, sent or url.query, key))
                    except RefusedError as refusal:
                        status, body = refusal.status, json.dumps(refusal.body)
            if fault.holds:
                exchange.hold()
            if fault.holds or fault.drops or (fault.accepts and fault.status == 200):
                self.close_connection = True
                return
            if fault.status != 200 or fault.replaces:
                status, body = fault.status, fault.body
            if fault.echoes_key:
                body = json.dumps({"code": -2014, "msg": f"API-key format invalid: {key}"})
            content = (body[: len(body) // 2] if fault.cuts else body).encode()
            self.send_response(status)
            for name, value in {"Content-Type": "application/json", **fault.headers}.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_POST = do_DELETE = do_GET  # noqa: N815

        def log_message(self, *_: object) -> None:
            """Write nothing to standard error."""

    return Handler
