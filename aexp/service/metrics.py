"""What the service tells Prometheus."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from aexp.engine.tables.workflows import count_by_queue, join_status_of
from aexp.runs.host import Host
from aexp.runs.store import STATUS
from aexp.service.lag import LoopLag

__all__ = ["Metrics"]

_RUNS = f"""
    SELECT scenario, {STATUS} AS status, count(*) AS n
    FROM aexp.runs {join_status_of("run_id")}
    GROUP BY 1, 2
"""  # noqa: S608 - our own words


class Metrics:
    """The figures of one service, in a registry of its own."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._runs = self._gauge("aexp_runs", "Runs by state", ["scenario", "status"])
        self._queued = self._gauge("aexp_queue_depth", "Workflows in a queue", ["queue"])
        self._steps = self._gauge(
            "aexp_step_attempts", "Step bodies begun since the service started", ["scenario"]
        )
        self._active = self._gauge("aexp_active_runs", "Runs being worked on")
        self._most_active = self._gauge("aexp_active_runs_limit", "Runs worked on at most")
        self._lag = self._gauge(
            "aexp_loop_lag_p99_seconds", "Delay of the event loop in the last 10 s"
        )
        self._pool = self._gauge("aexp_pool_connections", "Connections of the pool", ["state"])
        self._waiting = self._gauge("aexp_waiting_requests", "Requests that wait for a run")
        self._answered = Counter(
            "aexp_requests", "Requests answered", ["method", "status"], registry=self._registry
        )
        self._elapsed = Histogram(
            "aexp_request_duration_seconds",
            "From a request to the end of its answer",
            registry=self._registry,
        )

    def _gauge(self, name: str, what: str, labels: Iterable[str] = ()) -> Gauge:
        return Gauge(name, what, list(labels), registry=self._registry)

    def answered(self, method: str, status: int, elapsed_s: float) -> None:
        """Count a request."""
        self._answered.labels(method, status).inc()
        self._elapsed.observe(elapsed_s)

    async def render(self, host: Host, lag: LoopLag, waiting: int) -> bytes:
        """Render all figures of this moment in Prometheus's text format."""
        runs = await host.pool.fetch(_RUNS)
        queued = await count_by_queue(host.pool)
        # From here on nothing is awaited: no other request sees a half of it.
        self._fill(self._runs, [((row["scenario"], row["status"]), row["n"]) for row in runs])
        self._fill(self._queued, [((queue,), n) for queue, n in queued.items()])
        self._fill(
            self._steps, [((name,), steps) for name, steps in host.driver.steps_begun.items()]
        )
        self._active.set(len(host.active))
        self._most_active.set(host.max_active_runs)
        self._lag.set(lag.p99_ms / 1000)
        idle, size = host.pool.get_idle_size(), host.pool.get_size()
        self._fill(
            self._pool,
            [
                (("idle",), idle),
                (("used",), size - idle),
                (("limit",), host.pool.get_max_size()),
            ],
        )
        self._waiting.set(waiting)
        return generate_latest(self._registry)

    @staticmethod
    def _fill(gauge: Gauge, rows: Iterable[tuple[tuple[Any, ...], float]]) -> None:
        gauge.clear()
        for labels, value in rows:
            gauge.labels(*labels).set(value)
