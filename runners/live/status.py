"""Reads the state of all live services, for the status page, the terminal and the metrics."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping

import pandas as pd
from pydantic import BaseModel, computed_field

from models.regimes import regime_name
from runners.live.bus.bus import Bus

_SILENT_SECONDS = 15.0  # without a heartbeat a service then counts as dead
_RECENT = 300  # decisions on the status page


class ServiceStatus(BaseModel):
    """State of one service, from its last heartbeat.

    Attributes
    ----------
    seconds_ago
        Seconds since the last heartbeat; the service is ``silent`` after 15, unless it has ``ended``.
    behind
        Number of unread bars; None if the service reads none.
    counted
        Number of events since the start, by name.
    """

    seconds_ago: float
    behind: int | None
    state: str
    counted: dict[str, int]

    @computed_field  # type: ignore[prop-decorator]
    @property
    def silent(self) -> bool:
        return not self.ended and self.seconds_ago > _SILENT_SECONDS

    @property
    def ended(self) -> bool:
        return self.state in ("ended", "stopped", "failed")


class ForecastStatus(BaseModel):
    time: dt.datetime
    close: float
    regime: int | None
    log_return: float | None
    models: str | None

    @computed_field  # type: ignore[prop-decorator]
    @property
    def regime_name(self) -> str | None:
        return None if self.regime is None else regime_name(self.regime)


class DecisionStatus(BaseModel):
    """As `runners.live.trading.decider.Decision`."""

    time: dt.datetime
    vote: float | None = None  # version 0.1 wrote none
    order: float
    reason: str
    position: float
    equity: float


class Status(BaseModel):
    """Status of all services of one dataset; None where there is no value yet.

    Attributes
    ----------
    stopped
        Why trading has stopped.
    stopping
        Whether the position still has to be closed.
    kill_switch
        Whether the kill switch is set in Redis.
    """

    name: str
    symbol: str | None
    timeframe: str | None
    mode: str | None
    now: dt.datetime
    last_candle: dt.datetime | None
    forecast: ForecastStatus | None
    decision: DecisionStatus | None
    stopped: str | None
    stopping: bool
    kill_switch: bool
    dead_letters: int
    services: dict[str, ServiceStatus]
    recent: list[tuple[dt.datetime, float]]


def read_status(bus: Bus) -> Status:
    """Status of all services, from their latest entries."""
    facts, now = bus.facts(), bus.now()
    candle, forecast, decisions = bus.candles.last(), bus.forecasts.last(), bus.decisions.newest(_RECENT)
    trader, decision = bus.trader_state(), decisions[-1] if decisions else None
    behind = {
        "engine": bus.candles.count_after(forecast.time if forecast else candle.time if candle else None),
        "trader": bus.forecasts.count_after(pd.Timestamp(trader["time"]) if trader and trader["time"] else None),
    }
    return Status(
        name=bus.name,
        symbol=facts.get("symbol"),
        timeframe=facts.get("timeframe"),
        mode=facts.get("mode"),
        now=now,
        last_candle=candle.time if candle else None,
        forecast=ForecastStatus(time=forecast.time, **forecast.values) if forecast else None,
        decision=DecisionStatus(time=decision.time, **decision.values) if decision else None,
        stopped=trader["stopped"] if trader else None,
        stopping=bool(trader and trader["stopping"]),
        kill_switch=bus.kill_switch_is_set(),
        dead_letters=len(bus.dead_letters()),
        services=read_services(bus, behind),
        recent=[(entry.time, entry.values["equity"]) for entry in decisions],
    )


def read_services(bus: Bus, behind: Mapping[str, int] | None = None) -> dict[str, ServiceStatus]:
    """Status of each service; ``behind`` has the number of unread bars by service."""
    now = bus.now().timestamp()
    return {
        service: ServiceStatus(
            seconds_ago=max(0.0, now - heartbeat["beat"] / 1000),
            behind=(behind or {}).get(service),
            state=heartbeat["state"],
            counted=heartbeat["counted"],
        )
        for service, heartbeat in bus.heartbeats().items()
    }


SERVICE_COLUMNS = ["service", "state", "last heartbeat", "bars behind"]


def service_rows(status: Status) -> list[list[str]]:
    """One row per service, for a table with `SERVICE_COLUMNS`."""
    return [
        [
            name,
            "SILENT" if one.silent else one.state,
            f"{one.seconds_ago:.0f} s ago",
            "-" if one.behind is None else str(one.behind),
        ]
        for name, one in status.services.items()
    ]


def trading_rows(status: Status) -> list[list[str]]:
    """Names and values of the newest candle, forecast and decision, for a table with two columns."""
    forecast, decision = status.forecast, status.decision
    rows = [["symbol", f"{status.symbol or '-'} {status.timeframe or ''}".strip()]]
    rows.append(["last candle opened", f"{status.last_candle:%Y-%m-%d %H:%M} UTC" if status.last_candle else "-"])
    if forecast:
        rows += [
            ["regime", forecast.regime_name or "none yet"],
            ["forecast", "none yet" if forecast.log_return is None else f"{forecast.log_return:+.4%}"],
            ["models", forecast.models or "-"],
        ]
    if decision:
        rows += [
            ["vote", "none yet" if decision.vote is None else f"{decision.vote:+.0%}"],
            ["position", f"{decision.position:g}"],
            ["order", f"{decision.order:+g}" if decision.order else "none"],
            ["limited by", decision.reason or "-"],
            ["equity", f"{decision.equity:,.2f}"],
        ]
    return [*rows, ["dead letters", str(status.dead_letters)]]
