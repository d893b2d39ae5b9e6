"""One cell: a job, and the process that does it."""

from __future__ import annotations

import importlib
import json
import os
import traceback
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, cast

import anyio

from aexp.bench.measure.gauge import Gauge
from aexp.bench.workload import Counted, Size, Variant
from aexp.bench.workloads.lookup import find_workload
from aexp.database import DatabaseUrl
from aexp.engine.log_records import adopt_records
from aexp.log import configure_logging
from aexp.processes.loop import run_on_loop
from aexp.processes.loop_lag import LagMonitor
from aexp.settings import Settings, load_settings

__all__ = ["CellJob", "be_cell", "measure", "warm"]

# So many of the lines that say what is wrong with a cell are told.
_SHOWN = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class CellJob:
    """What a cell is to do. ``target`` finds the workload, ``server_pid`` is PostgreSQL's first
    process, None when it runs elsewhere.
    """

    target: str
    variant: str
    size: Size
    database_url: str
    server_pid: int | None


@dataclass(frozen=True, slots=True)
class _Cell:
    """See aexp.bench.workload.Cell."""

    url: DatabaseUrl
    settings: Settings
    size: Size
    gauge: Gauge

    def measured(self) -> AbstractContextManager[None]:
        return self.gauge.measuring()


def warm() -> None:
    """Import what cells would import one after the other."""
    for name in (
        "psycopg",
        "sqlalchemy.dialects.postgresql.asyncpg",
        "sqlalchemy.dialects.postgresql.psycopg",
        "uvloop",
    ):
        importlib.import_module(name)


def be_cell(job: Mapping[str, Any]) -> int:
    """Do ``job`` in this process and write on stdout, in JSON, its result or why there is none.

    Returns the exit code.
    """
    reserved = os.dup(1)
    # What a workload or a library prints is no part of it.
    os.dup2(2, 1)
    message: dict[str, Any]
    try:
        adopt_records()
        configure_logging("json", "warning")
        message, code = {"result": measure(CellJob(**job))}, 0
    except BaseException as error:
        # An end of the process is one of the cell, and no result.
        traceback.print_exc()
        first = _first_error(error)
        message, code = {"failed": f"{type(first).__name__}: {' '.join(str(first).split())}"}, 1
    with os.fdopen(reserved, "w", encoding="utf-8") as output:
        json.dump(message, output)
    return code


def _first_error(error: BaseException) -> BaseException:
    """Return the error itself, or the first that a task group wrapped."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def measure(job: CellJob) -> dict[str, Any]:
    """Do ``job`` in this process, and return what came of it, as JSON values."""
    _, workload = find_workload(job.target)
    variant = next(found for found in workload.variants if found.name == job.variant)
    lag = LagMonitor() if variant.loop is not None else None
    gauge = Gauge(job.server_pid, lag)
    settings = load_settings({"loop": variant.loop, "database_url": job.database_url})
    url = DatabaseUrl.parse(job.database_url)
    cell = _Cell(url, settings, job.size, gauge)
    counted = _run(variant, cell, lag)
    measurement = gauge.measurement()
    return {
        "units": counted.units,
        "anomalies": _first(counted.anomalies),
        "figures": {**measurement.figures(max(1, counted.units)), **counted.figures},
        "measured": measurement.as_json(),
        # The loop is the variant's.
        "settings": {name: value for name, value in settings.echo().items() if name != "loop"},
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
