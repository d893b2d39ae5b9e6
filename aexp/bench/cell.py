"""One cell, in a process of its own: ``python -m aexp.bench.cell``.

Its first line on stdin is the order, a JSON object; the one line that it writes on stdout is what
came of it. Stdin stays open for as long as the bench lives: at its end the cell ends, with all that
it has started.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import traceback
from collections.abc import Awaitable, Callable
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
from aexp.log import configure_logging
from aexp.settings import Settings, load_settings

__all__ = ["Order", "main"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What a cell is to do. ``target`` finds the workload, ``server_pid`` is PostgreSQL's first
    process, None when it runs elsewhere. The database's URL comes by the environment, where not
    everybody sees it."""

    target: str
    variant: str
    size: Size
    seed: int
    server_pid: int | None

    def as_line(self) -> bytes:
        """The order as a cell reads it."""
        return json.dumps(asdict(self)).encode() + b"\n"


@dataclass(frozen=True, slots=True)
class _Cell:
    """See aexp.bench.workload.Cell."""

    url: DatabaseUrl
    settings: Settings
    size: Size
    seed: int
    gauge: Gauge

    def measured(self) -> AbstractContextManager[None]:
        return self.gauge.measuring()


def carry_out(order: Order) -> dict[str, Any]:
    """Carry out ``order`` in this process; what came of it, as JSON values."""
    _, workload = find_workload(order.target)
    variant = next(found for found in workload.variants if found.name == order.variant)
    lag = LagMonitor() if variant.loop is not None else None
    gauge = Gauge(order.server_pid, lag)
    settings = load_settings({"loop": variant.loop})
    assert settings.database_url is not None
    url = DatabaseUrl.parse(settings.database_url.get_secret_value())
    cell = _Cell(url, settings, order.size, order.seed, gauge)
    counted = _run(variant, cell, lag)
    measurement = gauge.measurement()
    return {
        "units": counted.units,
        "anomalies": list(counted.anomalies),
        "figures": {**measurement.figures(max(1, counted.units)), **counted.figures},
        "measured": measurement.as_json(),
    }


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


def _read_order() -> Order:
    # Byte by byte: what follows is for nobody, and a buffer would hide the end from the watcher.
    line = bytearray()
    while not line.endswith(b"\n"):
        byte = os.read(0, 1)
        if not byte:
            raise SystemExit("it has been given no order")
        line += byte
    return Order(**json.loads(line))


def _end_with_bench() -> None:
    while os.read(0, 1):
        pass
    if os.getpgrp() == os.getpid():
        os.killpg(os.getpid(), signal.SIGKILL)
    os._exit(1)


def _first(error: BaseException) -> BaseException:
    """The error itself, or the first that a task group wrapped."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def main() -> None:
    """Read an order, carry it out, and tell what came of it."""
    order = _read_order()
    threading.Thread(target=_end_with_bench, daemon=True, name="aexp-bench-watch").start()
    # What a workload or a library prints is no part of what is told.
    told = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    configure_logging("json", "warning")
    try:
        came_of_it = carry_out(order)
    except BaseException as error:
        traceback.print_exc()
        first = _first(error)
        raise SystemExit(f"{type(first).__name__}: {' '.join(str(first).split())}") from None
    told.write(json.dumps(came_of_it) + "\n")
    told.flush()


if __name__ == "__main__":
    main()
    sys.exit(0)
