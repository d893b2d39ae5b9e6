"""Move all that workflows know of time."""

from __future__ import annotations

from aexp.database.connect import Connection

__all__ = ["move_times"]

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


async def move_times(connection: Connection, seconds: float) -> None:
    """Move everything that is recorded of workflows by so many seconds, into the past where they
    are negative: deadlines, delays, the ends of sleeps, and when what happened.
    """
    async with connection.transaction():
        for statement in _MOVES:
            await connection.execute(statement, round(seconds * 1000))
