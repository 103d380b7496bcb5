"""Exports the server's and the services' figures to Prometheus."""

from __future__ import annotations

from collections import Counter as Count
from collections.abc import Iterator

import pandas as pd
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from runners.live.status import Status

_OTHER = "other"  # unknown paths, of which anybody could make up any number
_BUCKETS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 5.0)


class ServerMetrics:
    """The server's own figures since its start.

    Attributes
    ----------
    registry
        All figures, for Prometheus.
    counted
        Some of them, for the status page.
    routes
        Paths that are counted separately.
    """

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.counted: Count[str] = Count()
        self.routes: frozenset[str] = frozenset()
        ProcessCollector(registry=self.registry)
        self._requests = Counter(
            "regimes_server_requests", "Answered requests.", ["route", "status"], registry=self.registry
        )
        self._seconds = Histogram(
            "regimes_server_request_seconds",
            "From a request's head to the end of its answer.",
            ["route"],
            buckets=_BUCKETS,
            registry=self.registry,
        )
        self._in_flight = Gauge("regimes_server_requests_in_flight", "Requests being answered.", registry=self.registry)
        self._reloads = Counter("regimes_server_reloads", "Newer models taken.", registry=self.registry)
        self._reload_failures = Counter(
            "regimes_server_reload_failures", "Newer models that could not be taken.", registry=self.registry
        )
        self._rejected = Gauge(
            "regimes_server_newer_models_refused", "1 while the newest models are not taken.", registry=self.registry
        )

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

    def record_reload(self, *, is_new: bool, rejected: bool, is_new_rejection: bool) -> None:
        """Record a look for newer models: whether a set was loaded, or was rejected now or before."""
        self._rejected.set(rejected)
        if is_new:
            self._reloads.inc()
            self.counted["models_taken"] += 1
        elif is_new_rejection:
            self._reload_failures.inc()
            self.counted["models_refused"] += 1


class StatusCollector(Collector):
    """All services' figures at one moment.

    Parameters
    ----------
    interval
        Between two candles' open times, to compute the age of the last close.
    """

    def __init__(self, status: Status, interval: pd.Timedelta) -> None:
        self._status, self._interval = status, interval

    def collect(self) -> Iterator[Metric]:
        status, decision, forecast = self._status, self._status.decision, self._status.forecast
        last = status.last_candle
        age = (status.now - last).total_seconds() - self._interval.total_seconds() if last else None
        is_stopped = status.stopped is not None
        is_stopping = status.stopping or (status.kill_switch and not is_stopped)
        for name, documentation, value in (
            ("stopped", "1 while the kill switch keeps the trader from trading.", is_stopped),
            ("stopping", "1 while the kill switch is thrown and the position may be open.", is_stopping),
            ("dead_letters", "Candles that could not be used.", status.dead_letters),
            ("last_candle_age_seconds", "Since the newest candle closed.", age),
            ("position", "Held, in units; below 0: short.", decision.position if decision else None),
            ("equity", "Value of the account at the last decision.", decision.equity if decision else None),
            ("forecast_log_return", "Expected to the next close.", forecast.log_return if forecast else None),
            ("regime", "Number of the newest regime.", forecast.regime if forecast else None),
        ):
            if value is not None:
                yield GaugeMetricFamily(f"regimes_{name}", documentation, float(value))
        yield from self._services()

    def _services(self) -> Iterator[Metric]:
        heartbeat = GaugeMetricFamily(
            "regimes_service_beat_age_seconds", "Since the service last said that it is alive.", labels=["service"]
        )
        behind = GaugeMetricFamily(
            "regimes_service_behind", "Bars that the service has not taken in yet.", labels=["service"]
        )
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
