"""How the live services are: what the status page, the terminal and the metrics show."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping

import pandas as pd
from pydantic import BaseModel, computed_field

from models.regimes import regime_name
from runners.live.bus.bus import Bus

_LATE = 15.0  # seconds without a word, after which a service is taken for dead
_RECENT = 300  # decisions that the status page draws


class ServiceStatus(BaseModel):
    """One service as it said last.

    Attributes
    ----------
    seconds_ago
        Since it last said that it is alive; it does at least every few seconds.
    silent
        Whether that is too long, though it did not say that it ``ended``.
    behind
        Bars that it has not taken in yet; None for one that reads none.
    state
        What it is doing, in a word or two.
    counted
        Events since its start, by name.
    """

    seconds_ago: float
    behind: int | None
    state: str
    counted: dict[str, int]

    @computed_field  # type: ignore[prop-decorator]
    @property
    def silent(self) -> bool:
        return not self.ended and self.seconds_ago > _LATE

    @property
    def ended(self) -> bool:
        return self.state in ("ended", "stopped")


class ForecastStatus(BaseModel):
    time: dt.datetime
    close: float
    regime: int | None
    regime_name: str | None
    log_return: float | None
    models: str | None


class DecisionStatus(BaseModel):
    """As `runners.live.services.trader.Decision`."""

    time: dt.datetime
    wanted: int
    order: float
    reason: str
    position: float
    equity: float


class Status(BaseModel):
    """All services of one set of models at one moment; what is not known yet is None.

    Attributes
    ----------
    stopped
        Why the trader trades no more.
    stopping
        Whether it has yet to close the position.
    kill_switch
        Whether `regimes live kill` was called, and `resume` was not since.
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
    """The newest of all that the services have written."""
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
        forecast=_forecast_status(forecast.time, forecast.values) if forecast else None,
        decision=DecisionStatus(time=decision.time, **_of(DecisionStatus, decision.values)) if decision else None,
        stopped=trader["stopped"] if trader else None,
        stopping=bool(trader and trader["stopping"]),
        kill_switch=bus.asked_to_stop(),
        dead_letters=len(bus.dead_letters()),
        services=read_services(bus, behind),
        recent=[(entry.time, entry.values["equity"]) for entry in decisions],
    )


def read_services(bus: Bus, behind: Mapping[str, int] | None = None) -> dict[str, ServiceStatus]:
    """What each service said last; ``behind`` is what is known of how far behind they are."""
    now = bus.now().timestamp()
    return {
        service: ServiceStatus(
            seconds_ago=max(0.0, now - told["beat"] / 1000),
            behind=(behind or {}).get(service),
            state=told["state"],
            counted=told["counted"],
        )
        for service, told in bus.beats().items()
    }


def _forecast_status(time: pd.Timestamp, values: dict[str, object]) -> ForecastStatus:
    regime = values["regime"]
    name = regime_name(int(regime)) if isinstance(regime, int) else None
    return ForecastStatus(time=time, regime_name=name, **_of(ForecastStatus, values))


def _of(kind: type[BaseModel], values: dict[str, object]) -> dict[str, object]:
    """Those of the values that the model has fields for."""
    return {name: value for name, value in values.items() if name in kind.model_fields}
