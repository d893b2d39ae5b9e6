"""Ask for the checkpoints of steps."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import asyncpg

from aexp.database.connect import Queryable
from aexp.engine.tables.texts import bounded

__all__ = [
    "COUNT_BY_WORKFLOW",
    "SLEPT_BEFORE",
    "completion_times",
    "count_before",
    "count_of_version",
    "count_steps",
    "count_succeeded",
    "has_checkpoint",
    "has_transaction",
    "is_recorded",
    "last_ended_ms",
    "last_step",
    "list_all",
    "list_page",
    "list_starts",
    "list_with_outcomes",
]

# For psycopg: how many checkpoints of a name each workflow has, and which workflows, their ids like
# that, began to sleep before a time.
COUNT_BY_WORKFLOW = """
    SELECT workflow_uuid, count(*) FROM dbos.operation_outputs WHERE function_name = %s GROUP BY 1
"""
SLEPT_BEFORE = """
    SELECT workflow_uuid FROM dbos.operation_outputs
    WHERE workflow_uuid LIKE %s AND function_name = 'DBOS.sleep' AND started_at_epoch_ms < %s
"""


def has_checkpoint(workflow_id: str, step_id: str) -> str:
    """Return a condition: DBOS has recorded the step."""
    return (
        "EXISTS (SELECT FROM dbos.operation_outputs"
        f" WHERE workflow_uuid = {workflow_id} AND function_id = {step_id})"
    )


def has_transaction(workflow_id: str, step_id: str) -> str:
    """Return a condition: a transaction has recorded the step with its own writes."""
    return (
        "EXISTS (SELECT FROM dbos.datasource_outputs"
        f" WHERE workflow_id = {workflow_id} AND step_id = {step_id})"
    )


def last_ended_ms(workflow_id: str) -> str:
    """Return a value: when the last step of a workflow ended that is recorded."""
    return (
        "(SELECT max(steps.completed_at_epoch_ms) FROM dbos.operation_outputs AS steps"  # noqa: S608
        f" WHERE steps.workflow_uuid = {workflow_id})"
    )


def count_of_version(version: str, but_of: str, before_step: str) -> str:
    """Return a value: how many checkpoints the workflows of an application version have.

    Of the workflow ``but_of`` those before that step do not count.
    """
    return (
        "(SELECT count(*) FROM dbos.operation_outputs AS steps"  # noqa: S608 - our own words
        " JOIN dbos.workflow_status AS workflows USING (workflow_uuid)"
        f" WHERE workflows.application_version = {version}"
        f" AND NOT (workflow_uuid = {but_of} AND function_id < {before_step}))"
    )


async def is_recorded(connection: Queryable, workflow_id: str | None, step_id: int) -> bool:
    """Return whether DBOS has recorded the step."""
    recorded: bool = await connection.fetchval(
        f"SELECT {has_checkpoint('$1', '$2')}", workflow_id, step_id
    )
    return recorded


async def list_starts(connection: Queryable, version: str, name: str) -> list[int]:
    """Return when the steps of that name began, of all workflows of the application ``version``, in
    milliseconds since the epoch.
    """
    rows = await connection.fetch(
        "SELECT steps.started_at_epoch_ms FROM dbos.operation_outputs AS steps"
        " JOIN dbos.workflow_status USING (workflow_uuid)"
        " WHERE application_version = $1 AND function_name = $2"
        " AND steps.started_at_epoch_ms IS NOT NULL",
        version,
        name,
    )
    return [row["started_at_epoch_ms"] for row in rows]


async def completion_times(
    connection: Queryable, of: Collection[tuple[str, int]]
) -> Mapping[tuple[str, int], int]:
    """Return, by workflow and number, when steps were completed that are recorded, in
    milliseconds, by the clock of the process that did them.
    """
    rows = await connection.fetch(
        "SELECT workflow_uuid, function_id, completed_at_epoch_ms FROM dbos.operation_outputs"
        " WHERE (workflow_uuid, function_id) IN (SELECT * FROM unnest($1::text[], $2::int[]))"
        " AND completed_at_epoch_ms IS NOT NULL",
        [workflow_id for workflow_id, _ in of],
        [step_id for _, step_id in of],
    )
    return {(row[0], row[1]): row[2] for row in rows}


async def count_steps(connection: Queryable, version: str) -> int:
    """Return how many checkpoints the workflows of an application version have."""
    steps: int = await connection.fetchval(
        "SELECT count(*) FROM dbos.operation_outputs AS steps"
        " JOIN dbos.workflow_status AS workflows USING (workflow_uuid)"
        " WHERE workflows.application_version = $1",
        version,
    )
    return steps


async def count_before(connection: Queryable, workflow_id: str, step_id: int) -> int:
    """Return how many checkpoints a workflow has before a step."""
    steps: int = await connection.fetchval(
        "SELECT count(*) FROM dbos.operation_outputs WHERE workflow_uuid = $1 AND function_id < $2",
        workflow_id,
        step_id,
    )
    return steps


async def count_succeeded(connection: Queryable, version: str, prefix: str) -> int:
    """Return how many steps whose name begins so have returned, in an application version."""
    steps: int = await connection.fetchval(
        "SELECT count(*) FROM dbos.operation_outputs"
        " JOIN dbos.workflow_status AS workflows USING (workflow_uuid)"
        " WHERE workflows.application_version = $1"
        " AND starts_with(function_name, $2) AND operation_outputs.error IS NULL",
        version,
        prefix,
    )
    return steps


async def last_step(connection: Queryable, workflow_id: str) -> int:
    """Return the number of the last step of a workflow that is recorded, 0 when there is none."""
    last: int = await connection.fetchval(
        "SELECT coalesce(max(function_id), 0) FROM dbos.operation_outputs WHERE workflow_uuid = $1",
        workflow_id,
    )
    return last


async def list_all(connection: Queryable, most_bytes: int) -> Sequence[asyncpg.Record]:
    """Return every checkpoint: ``workflow_id``, ``step_id``, ``name``, ``child_id``, and what it
    holds.

    ``outcome_digest`` tells stored texts apart; ``outcome``, the output or the error
    (``failed``), is None when larger than ``most_bytes``.
    """
    return await connection.fetch(
        "SELECT workflow_uuid AS workflow_id, function_id AS step_id, function_name AS name,"
        " child_workflow_id AS child_id, serialization, error IS NOT NULL AS failed,"
        " md5(coalesce(output, error)) AS outcome_digest,"
        " CASE WHEN octet_length(coalesce(output, error)) <= $1 THEN coalesce(output, error) END"
        "  AS outcome"
        " FROM dbos.operation_outputs ORDER BY workflow_uuid, function_id",
        most_bytes,
    )


_PAGE = f"""
    SELECT steps.workflow_uuid AS workflow_id, function_id AS step_id, function_name AS name,
        steps.started_at_epoch_ms AS began_at, steps.completed_at_epoch_ms AS ended_at,
        child_workflow_id, steps.serialization,
        {bounded("steps.output", "output", "$6")}, {bounded("steps.error", "error", "$6")}
    FROM dbos.operation_outputs AS steps JOIN dbos.workflow_status AS workflows
        ON workflows.workflow_uuid = steps.workflow_uuid
    WHERE workflows.application_version = $1
        AND ($2::text IS NULL OR steps.workflow_uuid = $2)
        AND ($3::text IS NULL OR (steps.workflow_uuid, function_id) > ($3, $4::int))
    ORDER BY steps.workflow_uuid, function_id LIMIT $5
"""  # noqa: S608 - our own columns


async def list_page(
    connection: Queryable,
    version: str,
    *,
    workflow_id: str | None,
    place: tuple[str, int] | None,
    limit: int,
    most_bytes: int,
) -> Sequence[asyncpg.Record]:
    """Return the checkpoints of an application version after ``place``, by workflow and number.

    Times (``began_at``, ``ended_at``) are in milliseconds; an ``output`` and an ``error`` are as
    stored, and None when larger than ``most_bytes`` (``output_bytes``, ``error_bytes``).
    """
    return await connection.fetch(
        _PAGE, version, workflow_id, *(place or (None, None)), limit, most_bytes
    )


_WITH_OUTCOMES = f"""
    SELECT workflow_uuid AS workflow_id, function_id, function_name AS name,
        started_at_epoch_ms AS began_ms, completed_at_epoch_ms AS ended_ms, child_workflow_id,
        serialization,
        {bounded("steps.output", "output", "$2")}, {bounded("steps.error", "error", "$2")}
    FROM dbos.operation_outputs AS steps
    WHERE workflow_uuid = ANY($1::text[]) AND NOT (workflow_uuid = $4 AND function_id < $5)
    ORDER BY error IS NOT NULL DESC, started_at_epoch_ms, workflow_uuid, function_id
    LIMIT $3
"""  # noqa: S608 - our own columns


async def list_with_outcomes(
    connection: Queryable,
    workflow_ids: Sequence[str],
    *,
    but_of: str,
    before_step: int,
    limit: int,
    most_bytes: int,
) -> Sequence[asyncpg.Record]:
    """Return the checkpoints of workflows with what they ended with: first errors, then by time.

    Of the workflow ``but_of`` those before that step are left out. Texts as in :func:`list_page`.
    """
    return await connection.fetch(
        _WITH_OUTCOMES, workflow_ids, most_bytes, limit, but_of, before_step
    )
