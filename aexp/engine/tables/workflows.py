"""Ask for workflows and how they stand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import asyncpg

from aexp.database.connect import Connection, Queryable
from aexp.engine.statuses import ENDS, UNFINISHED
from aexp.engine.tables.texts import bounded

__all__ = [
    "CLAIMS",
    "HAVE_ENDED",
    "NAME_OF",
    "STATUS_OF",
    "any_of_version",
    "any_unfinished",
    "copy_ended",
    "count_by_queue",
    "count_by_status",
    "count_claims",
    "count_of_version",
    "count_succeeded",
    "is_workflow",
    "join_status_of",
    "list_all",
    "list_not_ended_well",
    "list_of_version",
    "list_tree",
    "list_with_outcomes",
    "overrun_timeout_s",
    "rename_version",
    "reopen",
    "status_of",
    "versions_with",
]

# Whether none of the workflows $1 has a status of $2.
HAVE_ENDED = (
    "SELECT NOT EXISTS (SELECT FROM dbos.workflow_status"
    " WHERE workflow_uuid = ANY($1::text[]) AND status = ANY($2::text[]))"
)
# What the workflow $1 is called; a condition may follow.
NAME_OF = "SELECT name FROM dbos.workflow_status WHERE workflow_uuid = $1"
# For psycopg.
STATUS_OF = "SELECT status FROM dbos.workflow_status WHERE workflow_uuid = %s"
# What executors have claimed and not ended, as a table.
CLAIMS = (
    "(SELECT workflow_uuid AS workflow_id, application_version, executor_id, queue_name, updated_at"
    " FROM dbos.workflow_status WHERE status = 'PENDING') AS claims"
)


def join_status_of(workflow_id: str) -> str:
    """Return a join that adds the columns of that workflow, null where there is none."""
    return f"LEFT JOIN dbos.workflow_status ON workflow_uuid = {workflow_id}"


def is_workflow(workflow_id: str) -> str:
    """Return a condition: there is a workflow of this id."""
    return f"EXISTS (SELECT FROM dbos.workflow_status WHERE workflow_uuid = {workflow_id})"


def any_of_version(version: str, statuses: str) -> str:
    """Return a condition: a workflow of that application version has one of ``statuses``."""
    return (
        f"EXISTS (SELECT FROM dbos.workflow_status AS any_ WHERE any_.status = ANY({statuses})"
        f" AND any_.application_version = {version})"
    )


def versions_with(statuses: str) -> str:
    """Return a table: the application versions of workflows that have one of ``statuses``."""
    return f"(SELECT application_version FROM dbos.workflow_status WHERE status = ANY({statuses}))"  # noqa: S608


def count_of_version(version: str) -> str:
    """Return a value: how many workflows an application version has."""
    return f"(SELECT count(*) FROM dbos.workflow_status WHERE application_version = {version})"  # noqa: S608


async def status_of(connection: Queryable, workflow_id: str) -> str | None:
    """Return the status of a workflow, None when there is none of this id."""
    status: str | None = await connection.fetchval(
        "SELECT status FROM dbos.workflow_status WHERE workflow_uuid = $1", workflow_id
    )
    return status


async def any_unfinished(connection: Queryable, version: str, name: str) -> bool:
    """Return whether a workflow called ``name`` of an application version has not ended."""
    unfinished: bool = await connection.fetchval(
        "SELECT EXISTS (SELECT FROM dbos.workflow_status WHERE name = $1"
        " AND application_version = $2 AND status = ANY($3::text[]))",
        name,
        version,
        UNFINISHED,
    )
    return unfinished


async def count_by_status(connection: Queryable, version: str) -> dict[str, int]:
    """Return how many workflows of an application version have each status."""
    rows = await connection.fetch(
        "SELECT status, count(*) AS n FROM dbos.workflow_status"
        " WHERE application_version = $1 GROUP BY status ORDER BY status",
        version,
    )
    return {row["status"]: row["n"] for row in rows}


async def count_succeeded(connection: Queryable, version: str, name: str) -> int:
    """Return how many workflows called ``name`` of an application version have succeeded."""
    succeeded: int = await connection.fetchval(
        "SELECT count(*) FROM dbos.workflow_status WHERE application_version = $1"
        " AND name = $2 AND status = 'SUCCESS'",
        version,
        name,
    )
    return succeeded


async def count_claims(connection: Queryable, version: str) -> dict[str, int]:
    """Return, by executor, how many workflows of an application version it has claimed and not
    ended.
    """
    rows = await connection.fetch(
        "SELECT executor_id, count(*) AS n FROM dbos.workflow_status"
        " WHERE application_version = $1 AND status = 'PENDING' GROUP BY executor_id",
        version,
    )
    return {row["executor_id"]: row["n"] for row in rows}


async def count_by_queue(connection: Queryable) -> Mapping[str, int]:
    """Return how many workflows wait in queues of each kind.

    A run's queues are its own, named after it: without its id there are as many as kinds of queues.
    """
    rows = await connection.fetch(
        "SELECT split_part(queue_name, '.', 1) AS queue, count(*) AS n FROM dbos.workflow_status"
        " WHERE status IN ('ENQUEUED', 'DELAYED') AND queue_name IS NOT NULL GROUP BY 1"
    )
    return {row["queue"]: row["n"] for row in rows}


async def list_of_version(
    connection: Queryable, version: str, statuses: Sequence[str] | None = None
) -> Sequence[asyncpg.Record]:
    """Return ``workflow_id``, ``name`` and ``queue_name`` of the workflows of an application
    version, of those in ``statuses`` if any are given.
    """
    return await connection.fetch(
        "SELECT workflow_uuid AS workflow_id, name, queue_name FROM dbos.workflow_status"
        " WHERE application_version = $1 AND ($2::text[] IS NULL OR status = ANY($2::text[]))",
        version,
        statuses,
    )


async def list_all(connection: Queryable, most_bytes: int) -> Sequence[asyncpg.Record]:
    """Return every workflow of every version, the oldest first, who has it and who started it.

    ``inputs_digest`` and ``outcome_digest`` tell stored texts apart; ``outcome``, the output or the
    error, is None when larger than ``most_bytes``.
    """
    return await connection.fetch(
        "SELECT workflows.workflow_uuid AS workflow_id, name, status, executor_id,"
        " application_version, coalesce(recovery_attempts, 0) AS recovery_attempts,"
        " queue_name AS queue, class_name || '/' || config_name AS instance,"
        " parent_workflow_id AS parent_id, workflows.serialization,"
        " md5(coalesce(given.inputs, workflows.inputs)) AS inputs_digest,"
        " md5(found.outcome) AS outcome_digest,"
        " CASE WHEN octet_length(found.outcome) <= $1 THEN found.outcome END AS outcome"
        " FROM dbos.workflow_status AS workflows"
        " LEFT JOIN dbos.workflow_input AS given USING (workflow_uuid)"
        " LEFT JOIN dbos.workflow_output AS ended USING (workflow_uuid),"
        " LATERAL (SELECT coalesce(ended.output, workflows.output, ended.error, workflows.error)"
        "  AS outcome) AS found"
        " ORDER BY created_at, workflows.workflow_uuid",
        most_bytes,
    )


async def list_not_ended_well(
    connection: Queryable, version: str, limit: int
) -> Sequence[asyncpg.Record]:
    """Return workflows of an application version that have come to no end, the oldest first."""
    return await connection.fetch(
        "SELECT workflow_uuid AS workflow_id, name, status, recovery_attempts, queue_name"
        " FROM dbos.workflow_status WHERE application_version = $1"
        " AND status <> ALL($3::text[]) ORDER BY created_at LIMIT $2",
        version,
        limit,
        ENDS,
    )


async def overrun_timeout_s(connection: Queryable, workflow_id: str) -> float | None:
    """Return the timeout at whose end a workflow was cancelled; None when it was not so."""
    timeout_ms: int | None = await connection.fetchval(
        "SELECT workflow_timeout_ms FROM dbos.workflow_status WHERE workflow_uuid = $1"
        " AND status = 'CANCELLED' AND workflow_deadline_epoch_ms <= updated_at",
        workflow_id,
    )
    return timeout_ms / 1000 if timeout_ms is not None else None


async def list_tree(
    connection: Queryable, version: str, root_id: str, limit: int
) -> Sequence[asyncpg.Record]:
    """Return the workflows of an application version, the root first, each with its
    ``parent_id`` and with the ``total`` of all; times are in milliseconds.
    """
    return await connection.fetch(
        "SELECT workflow_uuid AS workflow_id, name, status, queue_name AS queue, created_at,"
        " started_at_epoch_ms AS started_at, completed_at AS ended_at,"
        " coalesce(recovery_attempts, 0) AS attempts, parent_workflow_id AS parent_id,"
        " count(*) OVER () AS total"
        " FROM dbos.workflow_status WHERE application_version = $1"
        " ORDER BY workflow_uuid <> $2, created_at, workflow_uuid LIMIT $3",
        version,
        root_id,
        limit,
    )


# DBOS 3.4 writes what a workflow ended with into a table of its own; rows of old stand in place.
_WITH_OUTCOMES = f"""
    SELECT workflows.workflow_uuid AS workflow_id, workflows.name, parent_workflow_id AS parent_id,
        queue_name AS queue, status, created_at AS created_ms, started_at_epoch_ms AS started_ms,
        completed_at AS completed_ms, coalesce(recovery_attempts, 0) AS attempts, serialization,
        {bounded("coalesce(ended.output, workflows.output)", "output", "$2")},
        {bounded("coalesce(ended.error, workflows.error)", "error", "$2")}
    FROM dbos.workflow_status AS workflows LEFT JOIN dbos.workflow_output AS ended
        ON ended.workflow_uuid = workflows.workflow_uuid
    WHERE workflows.application_version = $1
    ORDER BY workflows.workflow_uuid = $3 DESC, status <> 'SUCCESS' DESC,
        recovery_attempts > 1 DESC NULLS LAST, created_at, workflows.workflow_uuid
    LIMIT $4
"""  # noqa: S608 - our own columns


async def list_with_outcomes(
    connection: Queryable, version: str, root_id: str, *, limit: int, most_bytes: int
) -> Sequence[asyncpg.Record]:
    """Return the workflows of an application version with what they ended with.

    First the root, then what did not end well, then what was recovered, then the earliest. An
    ``output`` and an ``error`` are as stored, and None when larger than ``most_bytes``
    (``output_bytes``, ``error_bytes``).
    """
    return await connection.fetch(_WITH_OUTCOMES, version, most_bytes, root_id, limit)


async def reopen(connection: Connection, workflow_id: str) -> None:
    """Have a workflow that has ended run again from its own checkpoints.

    Its result is forgotten, and so are the events and stream entries that its body made, which it
    makes again.
    """
    async with connection.transaction():
        for statement in _REOPEN.split(";"):
            await connection.execute(statement, workflow_id)


_OF_BODY = "('DBOS.setEvent', 'DBOS.writeStream', 'DBOS.closeStream')"
_REOPEN = f"""
    DELETE FROM dbos.workflow_output WHERE workflow_uuid = $1;
    UPDATE dbos.workflow_status SET status = 'PENDING', output = NULL, error = NULL,
        completed_at = NULL, owner_xid = NULL, workflow_deadline_epoch_ms = NULL
        WHERE workflow_uuid = $1;
    DELETE FROM dbos.workflow_events AS events
        USING dbos.workflow_events_history AS earlier, dbos.operation_outputs AS steps
        WHERE events.workflow_uuid = $1 AND earlier.workflow_uuid = $1
            AND earlier.key = events.key AND steps.workflow_uuid = $1
            AND steps.function_id = earlier.function_id
            AND steps.function_name = 'DBOS.setEvent';
    DELETE FROM dbos.workflow_events_history AS earlier USING dbos.operation_outputs AS steps
        WHERE earlier.workflow_uuid = $1 AND steps.workflow_uuid = $1
            AND steps.function_id = earlier.function_id
            AND steps.function_name = 'DBOS.setEvent';
    DELETE FROM dbos.streams USING dbos.operation_outputs AS steps
        WHERE streams.workflow_uuid = $1 AND steps.workflow_uuid = $1
            AND steps.function_id = streams.function_id AND steps.function_name IN {_OF_BODY};
    DELETE FROM dbos.operation_outputs WHERE workflow_uuid = $1 AND function_name IN {_OF_BODY}
"""  # noqa: S608 - our own words


async def rename_version(connection: Queryable, known: str, now: str) -> None:
    """Give all workflows of the application version ``known`` to ``now``."""
    await connection.execute(
        "UPDATE dbos.workflow_status SET application_version = $2 WHERE application_version = $1",
        known,
        now,
    )


async def copy_ended(connection: Connection, count: int, *, timeout_s: float) -> None:
    """Make ``count`` copies of a queue's workflow that has succeeded, under ids of their own."""
    await connection.execute(
        "INSERT INTO dbos.workflow_status SELECT (jsonb_populate_record(ended,"
        " jsonb_build_object('workflow_uuid', 'earlier-' || n))).*"
        " FROM dbos.workflow_status AS ended, generate_series(1, $1::bigint) AS n"
        " WHERE ended.workflow_uuid = (SELECT workflow_uuid FROM dbos.workflow_status"
        " WHERE status = 'SUCCESS' AND queue_name IS NOT NULL LIMIT 1)",
        count,
        timeout=timeout_s,
    )
