"""What is recorded of times: move it, and ask for what has an end."""

from __future__ import annotations

from collections.abc import Sequence

import asyncpg

from aexp.database.connect import Connection

__all__ = ["list_deadlines", "move_times"]

# What is an epoch in milliseconds; what a sleep, or a wait with a timeout, has recorded is its end
# in seconds, as a JSON number (dbos 3.4, ``_sys_db.py``, ``record_sleep``).
_MOVES = (
    """
    UPDATE dbos.workflow_status SET
        created_at = created_at + $1,
        updated_at = updated_at + $1,
        started_at_epoch_ms = started_at_epoch_ms + $1,
        completed_at = completed_at + $1,
        delay_until_epoch_ms = delay_until_epoch_ms + $1,
        workflow_deadline_epoch_ms = workflow_deadline_epoch_ms + $1,
        debounce_deadline_epoch_ms = debounce_deadline_epoch_ms + $1
    """,
    """
    UPDATE dbos.operation_outputs SET
        started_at_epoch_ms = started_at_epoch_ms + $1,
        completed_at_epoch_ms = completed_at_epoch_ms + $1,
        output = CASE
            WHEN function_name = 'DBOS.sleep' THEN (output::numeric + $1 / 1000.0)::text
            ELSE output
        END
    """,
    "UPDATE dbos.notifications SET created_at_epoch_ms = created_at_epoch_ms + $1",
)

# A wait with a timeout records the end of it as a sleep of the number after its own.
_DEADLINES = """
    SELECT sleeps.workflow_uuid AS workflow_id, sleeps.function_id AS step_id,
        coalesce(waits.function_name, sleeps.function_name) AS waits,
        sleeps.started_at_epoch_ms / 1000.0 AS set_at, sleeps.output::numeric AS until,
        (
            SELECT topic FROM dbos.notifications WHERE destination_uuid = sleeps.workflow_uuid
                AND consumed_by_function_id = waits.function_id LIMIT 1
        ) AS topic
    FROM dbos.operation_outputs AS sleeps LEFT JOIN dbos.operation_outputs AS waits
        ON waits.workflow_uuid = sleeps.workflow_uuid
        AND waits.function_id = sleeps.function_id - 1
        AND waits.function_name IN ('DBOS.recv', 'DBOS.getEvent')
    WHERE sleeps.function_name = 'DBOS.sleep' AND sleeps.output IS NOT NULL
    UNION ALL
    SELECT workflow_uuid, NULL, 'timeout', coalesce(started_at_epoch_ms, created_at) / 1000.0,
        workflow_deadline_epoch_ms / 1000.0, NULL
    FROM dbos.workflow_status WHERE workflow_deadline_epoch_ms IS NOT NULL
    UNION ALL
    SELECT workflow_uuid, NULL, CASE WHEN is_debounced THEN 'debounce' ELSE 'delay' END,
        created_at / 1000.0, delay_until_epoch_ms / 1000.0, NULL
    FROM dbos.workflow_status WHERE delay_until_epoch_ms IS NOT NULL
    UNION ALL
    SELECT workflow_uuid, NULL, 'rate limit', started_at_epoch_ms / 1000.0,
        started_at_epoch_ms / 1000.0
            + coalesce(rate_limit_period_sec, partition_rate_limit_period_sec), NULL
    FROM dbos.workflow_status AS limited JOIN dbos.queues AS queues ON queues.name = queue_name
    WHERE rate_limited AND started_at_epoch_ms IS NOT NULL
    ORDER BY set_at, workflow_id, step_id
"""


async def list_deadlines(connection: Connection) -> Sequence[asyncpg.Record]:
    """Return what has an end in time: ``workflow_id``, ``step_id`` of a sleep or the end of a wait,
    else None, what ``waits`` for it, when it was ``set_at`` and lasts ``until``, in seconds since
    the epoch, and the ``topic`` of a message that was received.
    """
    return await connection.fetch(_DEADLINES)


async def move_times(connection: Connection, seconds: float) -> None:
    """Move everything that is recorded of workflows by so many seconds, into the past where they
    are negative: deadlines, delays, the ends of sleeps, and when what happened.
    """
    async with connection.transaction():
        for statement in _MOVES:
            await connection.execute(statement, round(seconds * 1000))
