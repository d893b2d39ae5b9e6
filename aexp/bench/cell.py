"""One cell: an order, and what comes of it in the process that calls :func:`carry_out`."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from typing import Any, cast

import anyio

from aexp.bench.measure import Gauge
from aexp.bench.registry import find_workload
from aexp.bench.workload import Counted, Size, Variant
from aexp.database import DatabaseUrl
from aexp.execution import run_on_loop
from aexp.lag import LagMonitor
from aexp.settings import Settings, load_settings

__all__ = ["Order", "carry_out"]

# So many of the lines that say what is wrong with a cell are told.
_SHOWN = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What a cell is to do. ``target`` finds the workload, ``server_pid`` is PostgreSQL's first
    process, None when it runs elsewhere."""

    target: str
    variant: str
    size: Size
    database_url: str
    server_pid: int | None

    def as_line(self) -> bytes:
        """The order as a cell reads it."""
        return json.dumps(asdict(self)).encode() + b"\n"

    @classmethod
    def from_line(cls, line: bytes) -> Order:
        """The order that a line tells."""
        return cls(**json.loads(line))


@dataclass(frozen=True, slots=True)
class _Cell:
    """See aexp.bench.workload.Cell."""

    url: DatabaseUrl
    settings: Settings
    size: Size
    gauge: Gauge

    def measured(self) -> AbstractContextManager[None]:
        return self.gauge.measuring()


def carry_out(order: Order) -> dict[str, Any]:
    """Carry out ``order`` in this process; what came of it, as JSON values."""
    _, workload = find_workload(order.target)
    variant = next(found for found in workload.variants if found.name == order.variant)
    lag = LagMonitor() if variant.loop is not None else None
    gauge = Gauge(order.server_pid, lag)
    settings = load_settings({"loop": variant.loop, "database_url": order.database_url})
    url = DatabaseUrl.parse(order.database_url)
    cell = _Cell(url, settings, order.size, gauge)
    counted = _run(variant, cell, lag)
    measurement = gauge.measurement()
    return {
        "units": counted.units,
        "anomalies": _first(counted.anomalies),
        "figures": {**measurement.figures(max(1, counted.units)), **counted.figures},
        "measured": measurement.as_json(),
        # The loop is the variant's.
        "settings": {name: told for name, told in settings.echo().items() if name != "loop"},
    }


def _first(anomalies: Sequence[str]) -> list[str]:
    left_out = len(anomalies) - _SHOWN
    more = [f"and {left_out:,} more like these"] if left_out > 0 else []
    return [*anomalies[:_SHOWN], *more]


def _run(variant: Variant, cell: _Cell, lag: LagMonitor | None) -> Counted:
    if variant.loop is None or lag is None:
        return cast("Callable[[_Cell], Counted]", variant.run)(cell)
    run = cast("Callable[[_Cell], Awaitable[Counted]]", variant.run)
    return run_on_loop(variant.loop, lambda: _on_loop(run, cell, lag))


async def _on_loop(
    run: Callable[[_Cell], Awaitable[Counted]], cell: _Cell, lag: LagMonitor
) -> Counted:
    async with anyio.create_task_group() as group:
        group.start_soon(lag.tick)
        counted = await run(cell)
        group.cancel_scope.cancel()
    return counted
