"""``sleepers``: workflows that are all asleep at the same time.

Each sleeps until the same moment, by DBOS's durable sleep. Sync holds a thread for each of them.
The moment is so late that all are asleep by then; a cell in which one began later is no result.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import anyio.to_thread
import psycopg
from dbos import DBOS, SetWorkflowID

from aexp.bench.workload import (
    Cell,
    Comparison,
    Counted,
    Curve,
    CurvePoint,
    Loop,
    Variant,
    Workload,
)
from aexp.bench.workloads.bare import POLL_S, launched, launched_async, register
from aexp.durable.fan_out import fan_out
from aexp.engine.runtime import Queue, open_runtime
from aexp.engine.tables.steps import SLEPT_BEFORE

__all__ = ["SLEEPERS"]

RUN_ID = "bench"
QUEUE = "sleepers_queue"
WARM_UP_SLEEPERS = 5

SleepersFunction = Callable[[Cell], Counted] | Callable[[Cell], Awaitable[Counted]]


@DBOS.workflow(name="bench.sync.sleeper")
def _sleeper_sync(index: int, until: float) -> int:
    DBOS.sleep(until - time.time())
    return index


@DBOS.workflow(name="bench.sync.sleepers")
def _sleepers_sync(sleepers: int, until: float) -> int:
    handles = [
        DBOS.enqueue_workflow(QUEUE, _sleeper_sync, index, until) for index in range(sleepers)
    ]
    # All wake at once: until then there is nothing to look at.
    DBOS.sleep(until - time.time())
    return sum(handle.get_result(polling_interval_sec=POLL_S) >= 0 for handle in handles)


def run_sync(cell: Cell) -> Counted:
    """Run a thread for each sleeper. Size: ``sleepers``, ``sleep_s``."""
    with launched(cell, threads=None):
        register(QUEUE, concurrency=None)
        _sleepers_sync(WARM_UP_SLEEPERS, 0.0)
        with cell.measured(), SetWorkflowID(RUN_ID):
            until = time.time() + cell.size["sleep_s"]
            _sleepers_sync(cell.size["sleepers"], until)
        return _counted(cell, until, DBOS.list_workflows(name="bench.sync.sleeper"))


@DBOS.workflow(name="bench.sleeper")
async def _sleeper(index: int, until: float) -> int:
    await DBOS.sleep_async(until - time.time())
    return index


@DBOS.workflow(name="bench.sleepers")
async def _sleepers(sleepers: int, until: float) -> int:
    arguments = ({"index": index, "until": until} for index in range(sleepers))
    return len(await fan_out(_sleeper, arguments, queue=QUEUE, batch=sleepers))


@DBOS.workflow(name="bench.naive_sleepers")
async def _sleepers_naively(sleepers: int, until: float) -> int:
    handles = await asyncio.gather(
        *(DBOS.enqueue_workflow_async(QUEUE, _sleeper, index, until) for index in range(sleepers))
    )
    return len(await asyncio.gather(*(handle.get_result() for handle in handles)))


async def run_async(cell: Cell) -> Counted:
    """Run in the runtime that a user of aexp has. Size: ``sleepers``, ``sleep_s``."""
    queues = [Queue(name=QUEUE)]
    async with open_runtime(cell.settings, cell.url, scope=RUN_ID, queues=queues):
        await _sleepers(WARM_UP_SLEEPERS, 0.0)
        with cell.measured(), SetWorkflowID(RUN_ID):
            until = time.time() + cell.size["sleep_s"]
            await _sleepers(cell.size["sleepers"], until)
        ended = await DBOS.list_workflows_async(name="bench.sleeper")
    return await anyio.to_thread.run_sync(_counted, cell, until, ended)


async def run_naively(cell: Cell) -> Counted:
    """Run with DBOS's defaults: no bound on its threads. Size: ``sleepers``, ``sleep_s``."""
    async with launched_async(cell, threads=None):
        await anyio.to_thread.run_sync(lambda: register(QUEUE, concurrency=None))
        await _sleepers_naively(WARM_UP_SLEEPERS, 0.0)
        with cell.measured(), SetWorkflowID(RUN_ID):
            until = time.time() + cell.size["sleep_s"]
            await _sleepers_naively(cell.size["sleepers"], until)
        ended = await DBOS.list_workflows_async(name="bench.sleeper")
    return await anyio.to_thread.run_sync(_counted, cell, until, ended)


def _counted(cell: Cell, until: float, ended: Sequence[Any]) -> Counted:
    """Count those that began to sleep before ``until`` and have ended after it."""
    with psycopg.connect(cell.url.libpq) as connection:
        # One that came too late has no checkpoint of a sleep: DBOS makes none for no time at all.
        slept = {row[0] for row in connection.execute(SLEPT_BEFORE, (f"{RUN_ID}%", until * 1000))}
    times = Counter(
        workflow.output
        for workflow in ended
        if workflow.workflow_id in slept
        and workflow.status == "SUCCESS"
        and workflow.updated_at >= until * 1000
    )
    sleepers = range(cell.size["sleepers"])
    wrong = [
        f"sleeper {index} was asleep at the moment {times[index]} times"
        for index in sorted({*times, *sleepers})
        if times[index] != (index in sleepers)
    ]
    return Counted(units=sum(times.values()), anomalies=wrong)


def _variants(suffix: str, sync_s: float, async_s: float, **size: int) -> list[Variant]:
    """Return the variants. Sync needs longer until all are asleep; what is compared are threads and
    memory.
    """
    quick = not suffix
    runs: tuple[tuple[str, SleepersFunction, Loop | None, float, bool], ...] = (
        ("sync", run_sync, None, sync_s, quick),
        ("async", run_async, "uvloop", async_s, quick),
        ("async asyncio", run_async, "asyncio", async_s, False),
        ("threads unbounded", run_naively, "uvloop", sync_s, False),
    )
    return [
        Variant(
            name=f"{name}{suffix}",
            run=run,
            loop=loop,
            size={"sleep_s": sleep_s, **size},
            quick_size={"sleep_s": 3.0 if run is run_async else 7.0},
            in_quick=in_quick,
            point=CurvePoint(name, "sleepers"),
        )
        for name, run, loop, sleep_s, in_quick in runs
    ]


SLEEPERS = Workload(
    name="sleepers",
    summary="workflows that are asleep at once",
    unit="sleeper",
    size={"sleepers": 1000},
    # With fewer the few threads of async would weigh too much.
    quick_size={"sleepers": 250},
    headline="memory_above_idle_mib",
    curve=Curve(x="workflows asleep", figure="memory_above_idle_mib", log_x=False),
    variants=[
        *_variants("", 25.0, 12.0),
        *_variants(", 5000", 120.0, 45.0, sleepers=5000),
    ],
    comparisons=[
        Comparison(
            figure=figure,
            variant=f"async{suffix}",
            against=f"sync{suffix}",
            most=most,
            reason=reason,
        )
        for suffix in ("", ", 5000")
        for figure, most, reason in (
            ("threads", 0.1, "async has its 23 threads also where few sleep"),
            ("memory_above_idle_mib", 0.5, ""),
        )
    ],
)
