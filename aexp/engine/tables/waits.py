"""Ask for what may still move: workflows without an end, their queues, what was sent to them."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import asyncpg

from aexp.database.connect import Queryable
from aexp.engine.statuses import UNFINISHED

__all__ = ["any_active_schedule", "list_events", "list_messages", "list_queues", "list_unfinished"]


async def list_unfinished(
    connection: Queryable, version: str, targets: Collection[str], limit: int
) -> Sequence[asyncpg.Record]:
    """Return the workflows of an application version that have not ended, and ``targets`` however
    they stand, the oldest first; times in milliseconds.
    """
    return await connection.fetch(
        "SELECT workflow_uuid AS workflow_id, name, status, queue_name AS queue, executor_id,"
        " application_version AS version, updated_at, delay_until_epoch_ms AS delayed_ms,"
        " workflow_deadline_epoch_ms AS deadline_ms"
        " FROM dbos.workflow_status WHERE workflow_uuid = ANY($3::text[])"
        " OR (application_version = $1 AND status = ANY($2::text[]))"
        " ORDER BY created_at, workflow_uuid LIMIT $4",
        version,
        UNFINISHED,
        list(targets),
        limit,
    )


async def list_queues(connection: Queryable, names: Collection[str]) -> Sequence[asyncpg.Record]:
    """Return those of the queues that are registered: their limits, ``partitioned``, whose they
    are (``application``), and how many workflows of each are ``pending``.
    """
    return await connection.fetch(
        "SELECT name, concurrency, worker_concurrency, application_name AS application,"
        " coalesce(partition_concurrency, partition_worker_concurrency, partition_rate_limit_max)"
        " IS NOT NULL AS partitioned, (SELECT count(*) FROM dbos.workflow_status"
        " WHERE queue_name = queues.name AND status = 'PENDING') AS pending"
        " FROM dbos.queues AS queues WHERE name = ANY($1::text[])",
        list(names),
    )


async def list_messages(
    connection: Queryable, workflow_ids: Collection[str]
) -> Sequence[asyncpg.Record]:
    """Return ``workflow_id`` and ``topic`` of the messages that these have not received."""
    return await connection.fetch(
        "SELECT DISTINCT destination_uuid AS workflow_id, topic FROM dbos.notifications"
        " WHERE NOT consumed AND destination_uuid = ANY($1::text[])",
        list(workflow_ids),
    )


async def list_events(
    connection: Queryable, workflow_ids: Collection[str]
) -> Sequence[asyncpg.Record]:
    """Return ``workflow_id`` and ``key`` of the events that these have set."""
    return await connection.fetch(
        "SELECT workflow_uuid AS workflow_id, key FROM dbos.workflow_events"
        " WHERE workflow_uuid = ANY($1::text[])",
        list(workflow_ids),
    )


async def any_active_schedule(connection: Queryable, application: str) -> bool:
    """Return whether a schedule of this application may start a workflow."""
    active: bool = await connection.fetchval(
        "SELECT EXISTS (SELECT FROM dbos.workflow_schedules WHERE status = 'ACTIVE'"
        " AND (application_name IS NULL OR application_name = $1))",
        application,
    )
    return active
