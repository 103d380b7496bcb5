"""Tells people what the other services do."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from data.download import step_of
from runners.live.bus.bus import Bus, Connect
from runners.live.bus.lease import Lease
from runners.live.bus.stream import Entry
from runners.live.messages import Messages
from runners.live.services.engine import REFUSED
from runners.live.services.service import WAIT, Service
from runners.live.settings import LimitSettings
from runners.live.status import read_services

_BATCH = 100
_FILLS_KEPT = 100  # ids of orders whose fills were told
_LONG_LOSS = 5  # failures to reach Redis in a row: about 15 seconds


@dataclass
class Day:
    """What is told of a day (UTC) once its last bar has a decision; a bar belongs to the day in which it opens."""

    date: str
    first_equity: float
    equity: float = 0.0
    position: float = 0.0
    orders: int = 0
    told: bool = False

    def summary(self) -> str:
        change = f" ({self.equity / self.first_equity - 1:+.2%})" if self.first_equity > 0 else ""
        return f"{self.date}: equity {self.equity:,.2f}{change}, {self.orders} orders, position {self.position:g}"


@dataclass
class Told:
    """State of a `Messenger`: what it has told so far, so that a restart repeats and skips nothing.

    Attributes
    ----------
    decision
        Id of the last decision.
    fills
        Ids of the last orders whose fills were told.
    limits
        Limits that reduced the last decision's order.
    trading
        ``trading``, ``stopping`` or ``stopped``.
    failed
        Services that are silent or have failed.
    """

    decision: str
    fills: list[str]
    position: float
    models: str | None
    trading: str
    limits: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    refused: bool = False
    day: Day | None = None

    @classmethod
    def read(cls, bus: Bus) -> Told:
        """The stored state, or one from which only what happens from now on is told."""
        state = bus.messenger_state()
        if state is not None:
            return cls(**{**state, "day": Day(**state["day"]) if state["day"] else None})
        decision, trader = bus.decisions.last(), bus.trader_state()
        fills = [*(decision.values["fills"] if decision else []), *_pending_fills(trader)]
        return cls(
            decision=bus.decisions.last_id(),
            fills=[fill["order"] for fill in fills],
            position=decision.values["position"] if decision else 0.0,
            models=_models(bus),
            trading=_trading(bus, trader),
        )


class Messenger(Service):
    """Reads what the other services of a dataset wrote to Redis, and sends it to people.

    It writes nothing that another service reads, and a thread of its own waits for each receiver. So no receiver can
    delay a decision.
    """

    name = "messenger"

    def __init__(self, connect: Connect, messages: Messages) -> None:
        super().__init__(connect)
        self._messages = messages
        self._told: Told | None = None
        self._losses = 0  # of Redis, in a row

    def run(self, stop: threading.Event) -> None:
        try:
            super().run(stop)
        finally:
            self._messages.close()

    def work(self, bus: Bus, stop: threading.Event) -> None:
        told = self._told = self._told or Told.read(bus)  # kept here, because a full Redis stores nothing
        stored: dict[str, Any] | None = None
        while True:
            is_last = stop.is_set()
            for text in _news(bus, told):
                self._messages.send(text)
            if asdict(told) != stored:
                stored = asdict(told)
                bus.store_messenger_state(stored)
            if self._losses >= _LONG_LOSS:
                self._messages.send("Redis works again")
            self._losses = 0
            self.counted |= self._messages.counted
            self.heartbeat(bus, "watching")
            if is_last:
                return
            stop.wait(WAIT)

    def _wait_for_redis(self, event: str, stop: threading.Event) -> None:
        self._losses += 1
        if self._losses == _LONG_LOSS:
            self._messages.send("Redis is away or stores nothing: no service works until it does")
        super()._wait_for_redis(event, stop)


def _news(bus: Bus, told: Told) -> Iterator[str]:
    """What has happened since ``told``, which is updated."""
    facts, trader = bus.facts(), bus.trader_state()
    for entry_id, entry in bus.decisions.after_id(told.decision, _BATCH):
        told.decision = entry_id
        yield from _decision_news(entry, told, facts)
    yield from _fill_news(_pending_fills(trader), told, facts)
    yield from _stop_news(bus, trader, told)
    yield from _model_news(bus, told)
    yield from _service_news(bus, told)


def _decision_news(entry: Entry, told: Told, facts: Mapping[str, str]) -> Iterator[str]:
    values, time = entry.values, entry.time
    yield from _fill_news(values["fills"], told, facts)
    if told.position and not values["position"]:
        yield "the position is closed: by somebody else, or its rest is too small to trade"
    told.position = values["position"]
    limits = [name for name in values["reason"].split(", ") if name in LimitSettings.model_fields]
    for name in limits:
        if name not in told.limits:
            yield f"limit reached: {name} (bar {time:%Y-%m-%d %H:%M})"
    told.limits = limits
    yield from _day_news(entry, told, facts["timeframe"])


def _day_news(entry: Entry, told: Told, timeframe: str) -> Iterator[str]:
    values, date, day = entry.values, entry.time.date(), told.day
    if day is None or day.date != date.isoformat():
        if day is not None and not day.told:
            yield day.summary()
        day = told.day = Day(date.isoformat(), day.equity if day else values["equity"])
    day.equity, day.position = values["equity"], values["position"]
    day.orders += values["order"] != 0
    if not day.told and (entry.time + step_of(timeframe)).date() != date:
        day.told = True
        yield day.summary()


def _fill_news(fills: list[dict[str, Any]], told: Told, facts: Mapping[str, str]) -> Iterator[str]:
    for fill in fills:
        if fill["order"] in told.fills:
            continue
        told.fills = [*told.fills[1 - _FILLS_KEPT :], fill["order"]]
        units, reason = fill["units"], f" ({fill['reason']})" if fill["reason"] else ""
        if not units:
            yield f"order not filled{reason}"
            continue
        before = told.position
        told.position = float(f"{before + units:.12g}") if abs(before + units) > 1e-9 * abs(units) else 0.0
        order = f"{'bought' if units > 0 else 'sold'} {abs(units):g} {facts.get('symbol', '')} at {fill['price']:g}"
        position = f"position {told.position:g}" if told.position else "the position is closed"
        yield f"{facts['mode']}: {order}{reason}; {position}"


def _stop_news(bus: Bus, trader: Mapping[str, Any] | None, told: Told) -> Iterator[str]:
    now = _trading(bus, trader)
    if now == told.trading:
        return
    told.trading = now
    reason = (trader or {}).get("stopped") or "kill switch"
    if now == "stopped":
        yield f"trading has stopped without a position ({reason})"
    elif now == "trading":
        yield "the kill switch is cleared; trading may continue"
    elif Lease.is_held(bus):
        yield f"the trader closes the position and stops ({reason})"
    else:
        yield "the kill switch is set, but NO TRADER IS ACTIVE: the next one that starts closes the position"


def _model_news(bus: Bus, told: Told) -> Iterator[str]:
    models, engine = _models(bus), read_services(bus).get("engine")
    if told.models is not None and models != told.models:
        yield f"forecasts are made by the models {models} now"
    refused = engine is not None and engine.state.endswith(REFUSED)
    if refused and not told.refused:
        yield f"newer models are refused, and {models or 'earlier ones'} go on; the engine's log has the reason"
    told.models, told.refused = models, refused


def _service_news(bus: Bus, told: Told) -> Iterator[str]:
    for name, service in sorted(read_services(bus).items()):
        has_failed = service.state == "failed"
        if (service.silent or has_failed) and name not in told.failed:
            told.failed.append(name)
            yield f"{name} has ended with an error" if has_failed else f"{name} is silent: it hangs or was killed"
        elif name in told.failed and not (service.silent or service.ended):
            told.failed.remove(name)
            yield f"{name} works again"


def _pending_fills(trader: Mapping[str, Any] | None) -> list[dict[str, Any]]:
    """Fills that no decision has reported yet."""
    return trader["broker"]["fills"] if trader else []


def _trading(bus: Bus, trader: Mapping[str, Any] | None) -> str:
    if trader and trader["stopped"] and not trader["stopping"]:
        return "stopped"
    return "stopping" if bus.kill_switch_is_set() or (trader and trader["stopping"]) else "trading"


def _models(bus: Bus) -> str | None:
    forecast = bus.forecasts.last()
    return forecast.values["models"] if forecast else None
