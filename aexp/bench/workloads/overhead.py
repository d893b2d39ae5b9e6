"""``overhead``: what it costs to run a workflow through aexp and not with DBOS alone.

The same async workflow, which knows nothing of aexp: children on a queue, each of a few steps,
enqueued and awaited as DBOS's documentation does it. Both have as many threads and the same pool of
connections, none of which is tried before each use, and look at their queue as often.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import anyio.to_thread
import psycopg
from dbos import DBOS, DBOSClient, SetWorkflowID

from aexp.bench.workload import Cell, Comparison, Counted, Variant, Workload
from aexp.bench.workloads.bare import POLL_S, launched_async, register
from aexp.database.connect import alive_when_used, connected
from aexp.engine.runtime import Queue, application_version
from aexp.engine.tables.steps import COUNT_BY_WORKFLOW
from aexp.model.parameters import Parameters
from aexp.model.run import Run
from aexp.model.scenario import Scenario
from aexp.processes.progress import Progress
from aexp.processes.signals import Stop
from aexp.runs.execution import execute
from aexp.runs.store import begin_run

__all__ = ["OVERHEAD"]

RUN_ID = "bench"
QUEUE = "overhead_queue"
STEPS = 3
CONCURRENCY = 20
WARM_UP_CHILDREN = 5

# The workflow itself enters the measured part: how aexp launches DBOS is not to be counted, what it
# does while the workflow runs is. Of this process, as DBOS is.
_cell: Cell | None = None


@DBOS.step(name="bench.overhead.step")
async def _step(child: int, number: int) -> int:
    return STEPS * child + number


@DBOS.workflow(name="bench.overhead.child")
async def _child(child: int) -> list[int]:
    return [await _step(child, number) for number in range(STEPS)]


async def _children(first: int, count: int) -> list[list[int]]:
    handles = [
        await DBOS.enqueue_workflow_async(QUEUE, _child, child)
        for child in range(first, first + count)
    ]
    return [await handle.get_result(polling_interval_sec=POLL_S) for handle in handles]


@DBOS.workflow(name="bench.overhead")
async def work(children: int) -> int:
    """Start so many children, each of STEPS steps; return how many steps there were."""
    assert _cell is not None
    await _children(-WARM_UP_CHILDREN, WARM_UP_CHILDREN)
    with _cell.measured():
        results = await _children(0, children)
    return sum(len(result) for result in results)


async def run_bare(cell: Cell) -> Counted:
    """Run DBOS alone, with as many threads. Size: ``children``."""
    global _cell  # noqa: PLW0603 - see above
    _cell = cell
    engine = {**alive_when_used(), "pool_size": cell.settings.system_pool_size}
    async with launched_async(cell, threads=cell.settings.executor_threads, engine=engine):
        await anyio.to_thread.run_sync(lambda: register(QUEUE, concurrency=CONCURRENCY))
        with SetWorkflowID(RUN_ID):
            await work(cell.size["children"])
    return await anyio.to_thread.run_sync(_counted, cell)


class OverheadParameters(Parameters):
    """The workflow's own."""

    children: int


async def run_through_aexp(cell: Cell) -> Counted:
    """Run the workflow as `aexp run` does it. Size: ``children``."""
    global _cell  # noqa: PLW0603 - see above
    _cell = cell
    scenario: Scenario[Any] = Scenario(
        name="overhead",
        summary="",
        workflow=work,
        parameters=OverheadParameters,
        queues=lambda _: [Queue(name=QUEUE, shared=True, worker_concurrency=CONCURRENCY)],
    )
    run = Run(
        run_id=RUN_ID,
        scenario=scenario.name,
        target="aexp.bench.workloads.overhead",
        parameters={"children": cell.size["children"]},
        facts={},
        application_version=application_version(RUN_ID),
    )
    async with connected(cell.url) as connection:
        run = await begin_run(connection, run)
    await execute(run, scenario, cell.settings, cell.url, Progress(), Stop())
    return await anyio.to_thread.run_sync(_counted, cell)


def _counted(cell: Cell) -> Counted:
    """Count the children that ended and the checkpoints of their steps."""
    client = DBOSClient(system_database_url=cell.url.libpq)
    try:
        ended = client.list_workflows(name="bench.overhead.child", status="SUCCESS")
    finally:
        client.destroy()
    with psycopg.connect(cell.url.libpq) as connection:
        checkpoints: dict[str, int] = dict(
            connection.execute(COUNT_BY_WORKFLOW, ("bench.overhead.step",)).fetchall()
        )
    outputs: dict[str, Any] = {workflow.workflow_id: workflow.output for workflow in ended}
    # Those of the warm-up are below zero.
    results = {child: tuple(output) for child, output in outputs.items() if min(output) >= 0}
    times = Counter(results.values())
    expected = {
        tuple(range(STEPS * child, STEPS * child + STEPS)) for child in range(cell.size["children"])
    }
    wrong = [
        f"{times[result]} children had the steps {result}"
        for result in sorted({*times, *expected})
        if times[result] != (result in expected)
    ]
    wrong += [
        f"child {child} has {checkpoints.get(child, 0)} checkpoints, not {STEPS}"
        for child in results
        if checkpoints.get(child, 0) != STEPS
    ]
    return Counted(units=sum(times.values()), anomalies=wrong)


OVERHEAD = Workload(
    name="overhead",
    summary="the same workflow with DBOS alone and through aexp",
    unit="child",
    size={"children": 300},
    quick_size={"children": 60},
    headline="cpu_ms",
    variants=[
        Variant(name="bare", run=run_bare, loop="uvloop"),
        Variant(name="aexp", run=run_through_aexp, loop="uvloop"),
    ],
    comparisons=[
        Comparison(figure="cpu_ms", variant="aexp", against="bare", most=1.05),
        Comparison(figure="rate", variant="aexp", against="bare"),
    ],
)
