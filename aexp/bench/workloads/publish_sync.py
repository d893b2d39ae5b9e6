"""One message to a workflow, with DBOS's sync API as its documentation uses it."""

from __future__ import annotations

import time

import sqlalchemy
from dbos import DBOS

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

__all__ = ["publish_sync"]

QUEUE = "publisher_queue"
WARM_UP_MESSAGES = 10
_CONNECTIONS = 20
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


def publish_sync(cell: Cell) -> Counted:
    """As many messages at a time as there are ``threads``; None is as many as there are messages.

    Size: ``messages``, ``threads``, ``latency_s``, ``in_step``.
    """
    global _engine  # noqa: PLW0603 - see above
    threads, in_step = cell.size["threads"], cell.size["in_step"]
    _engine = psycopg_engine(
        cell.url, pool_size=_CONNECTIONS, max_overflow=0, isolation_level="AUTOCOMMIT"
    )
    try:
        with launched(cell, threads=threads):
            register(QUEUE, concurrency=threads)
            _publish_all(WARM_UP, WARM_UP_MESSAGES, 0.0, in_step)
            with cell.measured():
                _publish_all(RUN_ID, cell.size["messages"], cell.size["latency_s"], in_step)
    finally:
        _engine.dispose()
    return counted_publications(cell)
