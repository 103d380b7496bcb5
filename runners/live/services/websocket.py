"""An exchange's websocket, listened to in a thread of its own."""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pandas as pd

from data.candles import PRICES

_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 60.0
_LOOKS = 0.2  # seconds between two looks at what came, and at whether to stop
_BARS_KEPT = 10


class Watcher:
    """Says as soon as a bar has closed, and what the exchange last said of each bar before it did.

    It reconnects after any failure, waiting longer and longer. Its news are a reason to ask and a second witness, not
    the source of candles: a message may have been lost.

    Parameters
    ----------
    exchange, options
        As in `data.exchange.exchange_client`.
    on_trouble
        Called with the reason when the connection fails, and the seconds until the next try.

    Attributes
    ----------
    news
        Set when a new bar has begun.
    """

    def __init__(
        self,
        exchange: str,
        options: Mapping[str, Any],
        symbol: str,
        timeframe: str,
        on_trouble: Callable[[str, float], None],
    ) -> None:
        self._exchange, self._options, self._on_trouble = exchange, dict(options), on_trouble
        self._symbol, self._timeframe = symbol, timeframe
        self.news = threading.Event()
        self._seen: dict[pd.Timestamp, tuple[float, ...]] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._watch()), name="watcher", daemon=True)

    def __enter__(self) -> Watcher:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    @property
    def newest(self) -> pd.Timestamp | None:
        """Open time of the newest bar that the exchange has told of on this connection."""
        return max(self._seen, default=None)

    def prices(self, time: pd.Timestamp) -> tuple[float, ...] | None:
        """Open, high, low and close of the bar, as they were said last on this connection."""
        return self._seen.get(time)

    async def _watch(self) -> None:
        import ccxt.pro

        offers = getattr(ccxt.pro, self._exchange, None)
        if offers is None or not offers().has.get("watchOHLCV"):
            return  # the clock alone says when a bar has closed
        pause = _FIRST_PAUSE
        while not self._stop.is_set():
            client = offers({"enableRateLimit": True, **self._options})
            try:
                while not self._stop.is_set():
                    if await self._next(client):
                        pause = _FIRST_PAUSE
            except Exception as error:  # ccxt lets through what its websocket library raises
                self._seen = {}
                wait = pause * random.uniform(0.75, 1.25)
                self._on_trouble(f"{type(error).__name__}: {error}", wait)
                await self._pause(wait)
                pause = min(2 * pause, _LONGEST_PAUSE)
            finally:
                await client.close()

    async def _next(self, client: Any) -> bool:
        """Wait for a message, and see what came; False if it is time to stop."""
        asked = asyncio.ensure_future(client.watch_ohlcv(self._symbol, self._timeframe))
        while not asked.done():
            await asyncio.wait({asked}, timeout=_LOOKS)
            # not what the call returns: of two messages that come at once it may give the first alone
            self._see(client.ohlcvs.get(self._symbol, {}).get(self._timeframe, []))
            if self._stop.is_set() and not asked.done():
                asked.cancel()
                await asyncio.gather(asked, return_exceptions=True)
                return False
        asked.result()
        return True

    def _see(self, rows: Sequence[Sequence[float]]) -> None:
        before = self.newest
        for milliseconds, *prices, _ in rows[-_BARS_KEPT:]:
            time = pd.Timestamp(milliseconds, unit="ms", tz="UTC").as_unit("us")
            self._seen[time] = tuple(map(float, prices[: len(PRICES)]))
        while len(self._seen) > _BARS_KEPT:
            del self._seen[min(self._seen)]
        if self.newest != before:
            self.news.set()

    async def _pause(self, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds
        while not self._stop.is_set() and loop.time() < end:
            await asyncio.sleep(min(_LOOKS, max(0.0, end - loop.time())))
