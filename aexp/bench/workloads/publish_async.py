"""One message to a workflow, with DBOS's async API: naively, and through aexp; and without DBOS."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeAlias

import anyio
import anyio.to_thread
import asyncpg
from dbos import DBOS

from aexp.bench.workload import Cell, Counted
from aexp.bench.workloads.bare import launched_async, register
from aexp.bench.workloads.publications import (
    INSERT,
    RUN_ID,
    WARM_UP,
    counted_publications,
    insert_values,
)
from aexp.database import open_database
from aexp.durable.fan_out import fan_out
from aexp.engine.runtime import Queue, open_runtime

__all__ = ["publish_by_hand", "publish_fanned_out", "publish_naively"]

QUEUE = "publisher_queue"
WARM_UP_MESSAGES = 10
_CONNECTIONS = 20
_STATEMENT = INSERT.format(*[f"${number}" for number in range(1, 7)])

if TYPE_CHECKING:
    Pool: TypeAlias = asyncpg.Pool[asyncpg.Record]
else:
    # Generic in its stubs only.
    Pool = asyncpg.Pool

# Of this process, as DBOS is: a workflow's inputs could not carry it.
_pool: Pool | None = None


@contextmanager
def _publishing_through(pool: Pool) -> Iterator[None]:
    global _pool  # noqa: PLW0603 - see above
    _pool = pool
    try:
        yield
    finally:
        _pool = None


async def _insert(run_id: str, position: int, latency_s: float) -> int:
    if latency_s:
        await anyio.sleep(latency_s)
    assert _pool is not None
    await _pool.execute(_STATEMENT, *insert_values(run_id, position))
    return position


@DBOS.workflow(name="bench.publish")
async def _publish(run_id: str, position: int, latency_s: float) -> int:
    return await _insert(run_id, position, latency_s)


@DBOS.workflow(name="bench.publish_in_step")
async def _publish_in_step(run_id: str, position: int, latency_s: float) -> int:
    return await DBOS.run_step_async({"name": "publish"}, _insert, run_id, position, latency_s)


@DBOS.workflow(name="bench.publish_all_naively")
async def _publish_all_naively(run_id: str, messages: int, latency_s: float) -> list[int]:
    handles = await asyncio.gather(
        *(
            DBOS.enqueue_workflow_async(QUEUE, _publish, run_id, position, latency_s)
            for position in range(messages)
        )
    )
    return await asyncio.gather(*(handle.get_result() for handle in handles))


async def publish_naively(cell: Cell) -> Counted:
    """Publish all messages at once, with DBOS's defaults: no bound on its threads.

    Size: ``messages``, ``latency_s``.
    """
    async with (
        # Half of them are for statements of one's own.
        open_database(cell.url, application_name="aexp", pool_size=2 * _CONNECTIONS) as database,
        launched_async(cell, threads=None),
    ):
        await anyio.to_thread.run_sync(lambda: register(QUEUE, concurrency=None))
        with _publishing_through(database.pool):
            await _publish_all_naively(WARM_UP, WARM_UP_MESSAGES, 0.0)
            with cell.measured():
                await _publish_all_naively(RUN_ID, cell.size["messages"], cell.size["latency_s"])
    return await anyio.to_thread.run_sync(counted_publications, cell)


@DBOS.workflow(name="bench.publish_all")
async def _publish_all(run_id: str, messages: int, latency_s: float, in_step: bool) -> list[int]:  # noqa: FBT001
    return await fan_out(
        _publish_in_step if in_step else _publish,
        (
            {"run_id": run_id, "position": position, "latency_s": latency_s}
            for position in range(messages)
        ),
        queue=QUEUE,
    )


async def publish_fanned_out(cell: Cell) -> Counted:
    """Publish ``concurrency`` messages at a time, in the runtime that a user of aexp has.

    Size: ``messages``, ``concurrency``, ``latency_s``, ``in_step``.
    """
    queue = Queue(name=QUEUE, worker_concurrency=cell.size["concurrency"])
    async with open_runtime(cell.settings, cell.url, scope=RUN_ID, queues=[queue]) as runtime:
        with _publishing_through(runtime.database.pool):
            in_step = cell.size["in_step"]
            await _publish_all(WARM_UP, WARM_UP_MESSAGES, 0.0, in_step)
            with cell.measured():
                await _publish_all(RUN_ID, cell.size["messages"], cell.size["latency_s"], in_step)
    return await anyio.to_thread.run_sync(counted_publications, cell)


async def _leave(_connection: object) -> None:
    """Leave a connection as it is: nothing is left behind of which a round trip had to clear it."""


async def publish_by_hand(cell: Cell) -> Counted:
    """Run the inserts alone, ``concurrency`` at a time, each of them a commit: nothing is durable
    but the messages.

    Size: ``messages``, ``concurrency``, ``latency_s``. A connection each, 16 at most.
    """
    concurrency, latency_s = cell.size["concurrency"], cell.size["latency_s"]

    async def publish(positions: Iterator[int], run_id: str, latency_s: float) -> None:
        for position in positions:
            await _insert(run_id, position, latency_s)

    async def publish_all(run_id: str, messages: int, latency_s: float) -> None:
        positions = iter(range(messages))
        async with anyio.create_task_group() as group:
            for _ in range(concurrency):
                group.start_soon(publish, positions, run_id, latency_s)

    connections = min(16, concurrency)
    async with asyncpg.create_pool(
        cell.url.dsn, min_size=connections, max_size=connections, reset=_leave
    ) as pool:
        with _publishing_through(pool):
            # So that each connection has its statement prepared.
            await publish_all(WARM_UP, 20 * connections, 0.0)
            with cell.measured():
                await publish_all(RUN_ID, cell.size["messages"], latency_s)
    return await anyio.to_thread.run_sync(counted_publications, cell)
