"""Receives an exchange's candles by websocket, in a separate thread."""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pandas as pd

from data.candles import PRICES
from data.exchange import RequestGate, retry_after

_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 60.0
_POLL_SECONDS = 0.2
_BARS_KEPT = 10


class WebsocketListener:
    """Sets ``new_bar`` when a bar begins, and keeps the last prices received for each bar.

    It reconnects after any failure, with back-off. Messages may be lost, so they only trigger a REST request and check
    its answer.

    Parameters
    ----------
    exchange, options
        As in `data.exchange.exchange_client`.
    on_disconnect
        Called with the reason and the seconds until the next attempt.
    gate
        While it is closed, it does not connect.
    """

    def __init__(
        self,
        exchange: str,
        options: Mapping[str, Any],
        symbol: str,
        timeframe: str,
        on_disconnect: Callable[[str, float], None],
        gate: RequestGate,
    ) -> None:
        self._exchange, self._options, self._on_disconnect = exchange, dict(options), on_disconnect
        self._gate = gate
        self._symbol, self._timeframe = symbol, timeframe
        self.new_bar = threading.Event()
        self._prices: dict[pd.Timestamp, tuple[float, ...]] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._listen()), name="websocket", daemon=True)

    def __enter__(self) -> WebsocketListener:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    @property
    def newest(self) -> pd.Timestamp | None:
        """Open time of the newest bar received through this connection."""
        return max(self._prices, default=None)

    def prices(self, time: pd.Timestamp) -> tuple[float, ...] | None:
        """Open, high, low and close of the bar as last received through this connection."""
        return self._prices.get(time)

    async def _listen(self) -> None:
        import ccxt.pro

        client_type = getattr(ccxt.pro, self._exchange, None)
        if client_type is None or not client_type().has.get("watchOHLCV"):
            return  # without a websocket, ingest polls
        pause = _FIRST_PAUSE
        while not self._stop.is_set():
            await self._sleep(self._gate.seconds_left())
            client = client_type({"enableRateLimit": True, **self._options})
            try:
                while not self._stop.is_set():
                    if await self._receive(client):
                        pause = _FIRST_PAUSE
            except Exception as error:  # ccxt passes on errors of its websocket library
                self._prices = {}
                asked = retry_after(client.last_response_headers or {})  # it loads the markets by REST
                if asked:
                    self._gate.close(asked)
                wait = max(asked, pause * random.uniform(0.75, 1.25))
                self._on_disconnect(f"{type(error).__name__}: {error}", wait)
                await self._sleep(wait)
                pause = min(2 * pause, _LONGEST_PAUSE)
            finally:
                await client.close()

    async def _receive(self, client: Any) -> bool:
        """Wait for a message and store its prices; False if the listener has to stop."""
        message = asyncio.ensure_future(client.watch_ohlcv(self._symbol, self._timeframe))
        while not message.done():
            await asyncio.wait({message}, timeout=_POLL_SECONDS)
            # The call's result is not used: if two messages arrive together, it may contain only the first.
            self._store(client.ohlcvs.get(self._symbol, {}).get(self._timeframe, []))
            if self._stop.is_set() and not message.done():
                message.cancel()
                await asyncio.gather(message, return_exceptions=True)
                return False
        message.result()
        return True

    def _store(self, rows: Sequence[Sequence[float]]) -> None:
        before = self.newest
        for milliseconds, *prices, _ in rows[-_BARS_KEPT:]:
            time = pd.Timestamp(milliseconds, unit="ms", tz="UTC").as_unit("us")
            self._prices[time] = tuple(map(float, prices[: len(PRICES)]))
        while len(self._prices) > _BARS_KEPT:
            del self._prices[min(self._prices)]
        if self.newest != before:
            self.new_bar.set()

    async def _sleep(self, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds
        while not self._stop.is_set() and loop.time() < end:
            await asyncio.sleep(min(_POLL_SECONDS, max(0.0, end - loop.time())))
