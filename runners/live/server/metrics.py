"""What the server tells Prometheus: of itself, and of all services as Redis knows them."""

from __future__ import annotations

from collections import Counter as Count
from collections.abc import Iterator

import pandas as pd
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from runners.live.status import Status

_OTHER = "other"  # addresses that there are not: anybody could make up any number of them
_BUCKETS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 5.0)


class ServerMetrics:
    """The server's own figures since its start.

    Attributes
    ----------
    registry
        All of them, for Prometheus.
    counted
        Some of them, for the status page.
    routes
        Addresses that are told apart.
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
        self._refused = Gauge(
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

    def newer_models(self, *, taken: bool, refused: bool, told_before: bool) -> None:
        """After a look for newer models: whether some were taken, or are there but not to be used."""
        self._refused.set(refused)
        if taken:
            self._reloads.inc()
            self.counted["models_taken"] += 1
        elif refused and not told_before:
            self._reload_failures.inc()
            self.counted["models_refused"] += 1


class StatusCollector(Collector):
    """All services' figures at one moment.

    Parameters
    ----------
    interval
        Between two candles' open times, to tell since when the last one is closed.
    """

    def __init__(self, status: Status, interval: pd.Timedelta) -> None:
        self._status, self._interval = status, interval

    def collect(self) -> Iterator[Metric]:
        status = self._status
        yield GaugeMetricFamily(
            "regimes_stopped",
            "1 while the kill switch keeps the trader from trading.",
            float(status.stopped is not None),
        )
        yield GaugeMetricFamily(
            "regimes_stopping",
            "1 while the kill switch is thrown and the position may be open.",
            float(status.stopping or (status.kill_switch and status.stopped is None)),
        )
        yield GaugeMetricFamily("regimes_dead_letters", "Candles that could not be used.", status.dead_letters)
        if status.last_candle is not None:
            age = (status.now - status.last_candle).total_seconds() - self._interval.total_seconds()
            yield GaugeMetricFamily("regimes_last_candle_age_seconds", "Since the newest candle closed.", age)
        if status.decision is not None:
            yield GaugeMetricFamily("regimes_position", "Held, in units; below 0: short.", status.decision.position)
            yield GaugeMetricFamily(
                "regimes_equity", "Value of the account at the last decision.", status.decision.equity
            )
        if status.forecast is not None and status.forecast.log_return is not None:
            yield GaugeMetricFamily(
                "regimes_forecast_log_return", "Expected to the next close.", status.forecast.log_return
            )
        if status.forecast is not None and status.forecast.regime is not None:
            yield GaugeMetricFamily("regimes_regime", "Number of the newest regime.", status.forecast.regime)
        yield from self._services()

    def _services(self) -> Iterator[Metric]:
        beat = GaugeMetricFamily(
            "regimes_service_beat_age_seconds", "Since the service last said that it is alive.", labels=["service"]
        )
        behind = GaugeMetricFamily(
            "regimes_service_behind", "Bars that the service has not taken in yet.", labels=["service"]
        )
        events = CounterMetricFamily(
            "regimes_service_events", "Events since the service's start.", labels=["service", "event"]
        )
        for name, service in sorted(self._status.services.items()):
            beat.add_metric([name], service.seconds_ago)
            if service.behind is not None:
                behind.add_metric([name], service.behind)
            for event, count in sorted(service.counted.items()):
                events.add_metric([name, event], count)
        yield from (beat, behind, events)
