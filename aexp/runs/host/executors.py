"""Executors: which live, what they have claimed, and how the work of a dead one is handed over."""

from __future__ import annotations

import os
import platform
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

import anyio
import asyncpg
import structlog
from dbos import DBOSClient

from aexp.database import DatabaseUrl
from aexp.database.connect import Connection
from aexp.engine.tables.steps import last_ended_ms
from aexp.engine.tables.workflows import CLAIMS
from aexp.errors import AexpError, ExecutorAlive, ExecutorWorking, UnknownExecutor
from aexp.runs.host.records import batches
from aexp.runs.leases import lease_executor, lease_holders, lease_run, living_executors

__all__ = [
    "Executor",
    "HandedOver",
    "Serves",
    "hand_over",
    "list_executors",
    "present_executor",
    "release_claims",
]

Serves = Literal["service", "worker"]

_LOOK_AGAIN_S = 1.0

log = structlog.stdlib.get_logger("aexp.runs.host")


@dataclass(frozen=True, slots=True, kw_only=True)
class Executor:
    """An executor that works on runs or has.

    ``serves`` is None for one that only ran commands. ``pending`` counts the workflows that it has
    claimed and not ended, in ``runs`` runs; ``last_wrote`` is when DBOS last recorded something of
    them.
    """

    executor_id: str
    alive: bool
    serves: Serves | None
    host: str | None
    pid: int | None
    started_at: datetime | None
    pending: int
    runs: int
    last_wrote: datetime | None


# Whoever served or worked on a run, and whoever has claimed a workflow of one.
_EXECUTORS = f"""
    WITH claimed AS (
        SELECT claims.executor_id, count(*) AS pending, count(DISTINCT run_id) AS runs,
            max(greatest(claims.updated_at, {last_ended_ms("claims.workflow_id")})) AS last_ms
        FROM {CLAIMS} JOIN aexp.runs USING (application_version) GROUP BY claims.executor_id
    ), worked AS (
        SELECT DISTINCT ON (executor_id) executor_id, host, pid, started_at
        FROM aexp.processes ORDER BY executor_id, process_no DESC
    )
    SELECT executor_id, serves, coalesce(served.host, worked.host) AS host,
        coalesce(served.pid, worked.pid) AS pid,
        coalesce(served.started_at, worked.started_at) AS started_at,
        coalesce(pending, 0) AS pending, coalesce(runs, 0) AS runs,
        to_timestamp(last_ms / 1000.0) AS last_wrote
    FROM worked FULL JOIN aexp.executors AS served USING (executor_id)
        FULL JOIN claimed USING (executor_id)
    ORDER BY executor_id
"""  # noqa: S608 - our own words


async def list_executors(connection: Connection) -> Sequence[Executor]:
    """List all executors that have worked on runs in this database, by name."""
    rows = await connection.fetch(_EXECUTORS)
    living = await living_executors(connection, [row["executor_id"] for row in rows])
    return [Executor(alive=row["executor_id"] in living, **dict(row)) for row in rows]


@asynccontextmanager
async def present_executor(
    url: DatabaseUrl, executor_id: str, serves: Serves
) -> AsyncIterator[None]:
    """Be this executor for the life of the context, as others can see.

    Raises ExecutorAlive when another process is. When the connection that shows it is lost, it is
    made anew as soon as the database is there again.
    """
    async with anyio.create_task_group() as group:
        await group.start(_be_present, url, executor_id, serves)
        try:
            yield
        finally:
            group.cancel_scope.cancel()


async def _be_present(
    url: DatabaseUrl,
    executor_id: str,
    serves: Serves,
    *,
    task_status: anyio.abc.TaskStatus[None],
) -> None:
    present = False
    while True:
        try:
            async with lease_executor(url, executor_id) as connection:
                await _record(connection, executor_id, serves)
                if not present:
                    present = True
                    task_status.started()
                while True:
                    await anyio.sleep(_LOOK_AGAIN_S)
                    await connection.execute("SELECT 1")
        except (AexpError, OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            # Later on it may be mended: a database that is away, or being reset.
            if not present:
                raise
            log.warning("host.executor_unseen", executor_id=executor_id, error=str(error))
            await anyio.sleep(_LOOK_AGAIN_S)


async def _record(connection: Connection, executor_id: str, serves: Serves) -> None:
    await connection.execute(
        "INSERT INTO aexp.executors (executor_id, serves, host, pid) VALUES ($1, $2, $3, $4)"
        " ON CONFLICT (executor_id) DO UPDATE SET serves = $2, host = $3, pid = $4,"
        " started_at = clock_timestamp()",
        executor_id,
        serves,
        platform.node(),
        os.getpid(),
    )


@dataclass(frozen=True, slots=True)
class HandedOver:
    """How many workflows of a run were handed over; ``living`` executors may claim them."""

    run_id: str
    workflows: int
    living: frozenset[str]


async def hand_over(url: DatabaseUrl, client: DBOSClient, executor_id: str) -> Sequence[HandedOver]:
    """Put what a dead executor has claimed back on its queues, for the living to claim; by run.

    By DBOS's own means (``DBOSClient.resume_workflows``), which count recoveries anew and clear the
    workflows' deadlines. Raises ExecutorWorking while a process of the executor lives, and
    UnknownExecutor.
    """
    async with _hold_dead_executor(url, executor_id) as connection:
        known = await _known(connection)
        if executor_id not in known:
            raise UnknownExecutor(executor_id)
        runs = (await _claimed(connection, executor_id)).keys()
        for run_id in runs:
            if await lease_holders(connection, run_id, [executor_id]):
                raise ExecutorWorking(executor_id)
        handed_over = []
        for run_id in runs:
            # Held, so that it does not come back while we take from it.
            async with lease_run(url, run_id, executor_id):
                # Read again: meanwhile somebody may have cancelled and resumed some of it.
                released = await release_claims(connection, client, executor_id, run_id)
            living = await lease_holders(connection, run_id, known - {executor_id})
            handed_over.append(HandedOver(run_id, len(released), living))
        log.info("host.executor_recovered", recovered=executor_id, runs=sorted(runs))
        return handed_over


@asynccontextmanager
async def _hold_dead_executor(url: DatabaseUrl, executor_id: str) -> AsyncIterator[Connection]:
    async with AsyncExitStack() as stack:
        try:
            connection = await stack.enter_async_context(lease_executor(url, executor_id))
        except ExecutorAlive as error:
            raise ExecutorWorking(executor_id) from error
        yield connection


async def release_claims(
    connection: Connection, client: DBOSClient, executor_id: str, run_id: str
) -> Sequence[str]:
    """Put what the executor has claimed of the run back on its queues; the workflows' ids.

    It does not ask whether the executor lives: one that does records nothing of them any more, but
    the step that it is in may be done twice.
    """
    by_queue = (await _claimed(connection, executor_id)).get(run_id, {})
    for queue, ids in by_queue.items():
        for some in batches(ids):
            await client.resume_workflows_async(some, queue_name=queue)
    return [workflow_id for ids in by_queue.values() for workflow_id in ids]


async def _known(connection: Connection) -> frozenset[str]:
    """List all that have served, worked on a run, or claimed a workflow of one."""
    rows = await connection.fetch(
        "SELECT executor_id FROM aexp.executors"  # noqa: S608 - our own words
        " UNION SELECT executor_id FROM aexp.processes"
        f" UNION SELECT executor_id FROM {CLAIMS} JOIN aexp.runs USING (application_version)"
    )
    return frozenset(row["executor_id"] for row in rows)


async def _claimed(
    connection: Connection, executor_id: str
) -> Mapping[str, Mapping[str | None, list[str]]]:
    """Return the workflows that the executor has claimed and not ended, by run and queue."""
    rows = await connection.fetch(
        f"SELECT run_id, workflow_id, queue_name FROM {CLAIMS}"  # noqa: S608 - our own words
        " JOIN aexp.runs USING (application_version)"
        " WHERE executor_id = $1 ORDER BY run_id",
        executor_id,
    )
    claimed: defaultdict[str, defaultdict[str | None, list[str]]] = defaultdict(
        lambda: defaultdict(list)
    )
    for row in rows:
        claimed[row["run_id"]][row["queue_name"]].append(row["workflow_id"])
    return claimed
