"""One message to a workflow, with DBOS's sync API: as its documentation uses it, and in batches.

In batches it does what aexp's fan_out does: many children are enqueued in one transaction and
awaited by one query a poll. What is left between the two is no longer that.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import sqlalchemy
from dbos import DBOS, DBOSClient, EnqueueOptions

from aexp.bench.workload import Cell, Counted
from aexp.bench.workloads.bare import POLL_S, launched, register
from aexp.bench.workloads.publications import (
    INSERT,
    RUN_ID,
    WARM_UP,
    counted_publications,
    insert_values,
)
from aexp.database.connect import psycopg_engine
from aexp.engine.registry import UNFINISHED
from aexp.scenarios.resume.messages import Chunk, split_numbers

__all__ = ["publish_sync", "publish_sync_in_batches"]

QUEUE = "publisher_queue"
WARM_UP_MESSAGES = 10
_CONNECTIONS = 20
_BATCH = 500
_STATEMENT = INSERT.format(*["%s"] * 6)

# Of this process, as DBOS is: a workflow's inputs could not carry it.
_engine: sqlalchemy.Engine | None = None


def _insert(run_id: str, position: int, latency_s: float) -> int:
    if latency_s:
        time.sleep(latency_s)
    assert _engine is not None
    with _engine.connect() as connection:
        connection.exec_driver_sql(_STATEMENT, insert_values(run_id, position))
    return position


@DBOS.workflow(name="bench.sync.publish")
def _publish(run_id: str, position: int, latency_s: float) -> int:
    return _insert(run_id, position, latency_s)


@DBOS.workflow(name="bench.sync.publish_in_step")
def _publish_in_step(run_id: str, position: int, latency_s: float) -> int:
    return DBOS.run_step({"name": "publish"}, _insert, run_id, position, latency_s)


@DBOS.workflow(name="bench.sync.publish_all")
def _publish_all(run_id: str, messages: int, latency_s: float, in_step: bool) -> list[int]:  # noqa: FBT001
    publish = _publish_in_step if in_step else _publish
    handles = [
        DBOS.enqueue_workflow(QUEUE, publish, run_id, position, latency_s)
        for position in range(messages)
    ]
    return [handle.get_result(polling_interval_sec=POLL_S) for handle in handles]


@DBOS.workflow(name="bench.sync.publish_in_batches")
def _publish_in_batches(run_id: str, messages: int, latency_s: float, in_step: bool) -> list[int]:  # noqa: FBT001
    publish = "bench.sync.publish_in_step" if in_step else "bench.sync.publish"
    batches = [
        DBOS.run_step({"name": "enqueue"}, _enqueue, publish, run_id, part, latency_s)
        for part in split_numbers(messages, _BATCH)
    ]
    return [
        position
        for ids in batches
        for position in DBOS.run_step({"name": "collect"}, _collect, ids)
    ]


def _enqueue(workflow: str, run_id: str, part: Chunk, latency_s: float) -> list[str]:
    """Enqueue all of ``part`` in one transaction; return the ids of the children."""
    assert _engine is not None
    client = DBOSClient(system_database_engine=_engine, application_name="bench", lazy=True)
    children: dict[str, int] = {
        f"{DBOS.workflow_id}.{position}": position
        for position in range(part.first, part.first + part.count)
    }
    common: EnqueueOptions = {
        "workflow_name": workflow,
        "queue_name": QUEUE,
        "app_version": "bench",
    }
    transactional = _engine.execution_options(isolation_level="READ COMMITTED")
    with transactional.begin() as connection:
        for child, position in children.items():
            options: EnqueueOptions = {**common, "workflow_id": child}
            client.enqueue_in_transaction(connection, options, run_id, position, latency_s)
    return list(children)


def _collect(ids: list[str]) -> list[int]:
    """Wait until all have ended; what they returned."""
    while DBOS.list_workflows(
        workflow_ids=ids, status=list(UNFINISHED), limit=1, load_input=False, load_output=False
    ):
        time.sleep(POLL_S)
    outputs: dict[str, Any] = {
        ended.workflow_id: ended.output
        for ended in DBOS.list_workflows(workflow_ids=ids, load_input=False)
    }
    return [outputs[child] for child in ids]


def publish_sync(cell: Cell) -> Counted:
    """Publish as many messages at a time as there are ``threads``; None is one for each message.

    Size: ``messages``, ``threads``, ``latency_s``, ``in_step``.
    """
    return _publish_with(cell, _publish_all)


def publish_sync_in_batches(cell: Cell) -> Counted:
    """Publish as in :func:`publish_sync`, but enqueue and await in batches. Size: likewise."""
    return _publish_with(cell, _publish_in_batches)


def _publish_with(
    cell: Cell, publish_all: Callable[[str, int, float, bool], Sequence[int]]
) -> Counted:
    global _engine  # noqa: PLW0603 - see above
    threads, in_step = cell.size["threads"], cell.size["in_step"]
    _engine = psycopg_engine(
        cell.url, pool_size=_CONNECTIONS, max_overflow=0, isolation_level="AUTOCOMMIT"
    )
    try:
        with launched(cell, threads=threads):
            register(QUEUE, concurrency=threads)
            publish_all(WARM_UP, WARM_UP_MESSAGES, 0.0, in_step)
            with cell.measured():
                publish_all(RUN_ID, cell.size["messages"], cell.size["latency_s"], in_step)
    finally:
        _engine.dispose()
    return counted_publications(cell)
