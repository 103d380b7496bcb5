"""Exports metrics of the server and the services to Prometheus."""

from __future__ import annotations

from collections import Counter as Count
from collections.abc import Iterator

import pandas as pd
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from runners.live.services.model_reloader import ModelReloader
from runners.live.status import Status

_OTHER = "other"  # one label for all unknown paths, so that clients cannot create new ones
_BUCKETS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 5.0)


class ServerMetrics(Collector):
    """Metrics of the server since its start: ``registry`` for Prometheus, ``counted`` for the status page.

    Only ``routes`` are counted separately.
    """

    def __init__(self, models: ModelReloader) -> None:
        self._models = models
        self.registry = CollectorRegistry()
        self.counted: Count[str] = Count()
        self.redis_is_lost = False  # since the last heartbeat
        self.routes: frozenset[str] = frozenset()
        ProcessCollector(registry=self.registry)
        self._requests = Counter(
            "regimes_server_requests", "Answered requests.", ["route", "status"], registry=self.registry
        )
        self._seconds = Histogram(
            "regimes_server_request_seconds",
            "From the request's header to the end of the response.",
            ["route"],
            buckets=_BUCKETS,
            registry=self.registry,
        )
        self._in_flight = Gauge("regimes_server_requests_in_flight", "Requests being answered.", registry=self.registry)
        self.registry.register(self)

    def collect(self) -> Iterator[Metric]:
        counted, rejected = self.counted, float(self._models.rejection is not None)
        yield CounterMetricFamily("regimes_server_reloads", "Newer models loaded.", counted["models_taken"])
        yield CounterMetricFamily("regimes_server_reload_failures", "Newer models rejected.", counted["models_refused"])
        yield GaugeMetricFamily("regimes_server_newer_models_refused", "1 if the newest models are rejected.", rejected)
        lost = float(self.redis_is_lost)
        yield GaugeMetricFamily("regimes_server_redis_lost", "1 if Redis is away or stores nothing.", lost)

    def begin(self) -> None:
        self._in_flight.inc()

    def end(self, path: str, status: int, seconds: float) -> None:
        route = path if path in self.routes else _OTHER
        self._in_flight.dec()
        self._requests.labels(route, str(status)).inc()
        self._seconds.labels(route).observe(seconds)
        self.counted["requests"] += 1
        if status >= 500:
            self.counted["failed"] += 1
        elif status >= 400:
            self.counted["refused"] += 1


class StatusCollector(Collector):
    """Metrics of all services from one status; ``interval`` is the models'."""

    def __init__(self, status: Status, interval: pd.Timedelta) -> None:
        self._status, self._interval = status, interval

    def collect(self) -> Iterator[Metric]:
        status, decision, forecast = self._status, self._status.decision, self._status.forecast
        last = status.last_candle
        age = (status.now - last).total_seconds() - self._interval.total_seconds() if last else None
        is_stopped = status.stopped is not None
        is_stopping = status.stopping or (status.kill_switch and not is_stopped)
        for name, documentation, value in (
            ("stopped", "1 while trading is stopped by the kill switch.", is_stopped),
            ("stopping", "1 while the kill switch is active and the position may be open.", is_stopping),
            ("dead_letters", "Invalid candles.", status.dead_letters),
            ("last_candle_age_seconds", "Seconds since the newest candle closed.", age),
            ("vote", "Mean of the members' states, from -1 to 1.", decision.vote if decision else None),
            ("position", "Position in units, negative for short.", decision.position if decision else None),
            ("equity", "Value of the account at the last decision.", decision.equity if decision else None),
            ("forecast_log_return", "Forecast to the next close.", forecast.log_return if forecast else None),
            ("regime", "Number of the newest regime.", forecast.regime if forecast else None),
        ):
            if value is not None:
                yield GaugeMetricFamily(f"regimes_{name}", documentation, float(value))
        yield from self._services()

    def _services(self) -> Iterator[Metric]:
        heartbeat = GaugeMetricFamily(
            "regimes_service_beat_age_seconds", "Seconds since the service's last heartbeat.", labels=["service"]
        )
        behind = GaugeMetricFamily("regimes_service_behind", "Bars that the service has not read.", labels=["service"])
        events = CounterMetricFamily(
            "regimes_service_events", "Events since the service's start.", labels=["service", "event"]
        )
        for name, service in sorted(self._status.services.items()):
            heartbeat.add_metric([name], service.seconds_ago)
            if service.behind is not None:
                behind.add_metric([name], service.behind)
            for event, count in sorted(service.counted.items()):
                events.add_metric([name, event], count)
        yield from (heartbeat, behind, events)
