"""Ask for the schedules and queues that DBOS knows, and change them.

Those of a run are named after it: they end in a suffix that is its own.
"""

from __future__ import annotations

from collections.abc import Sequence

import asyncpg

from aexp.database.connect import Queryable

__all__ = ["any_schedule_of", "delete_owned", "list_active", "set_queue_poll"]


def any_schedule_of(suffix: str) -> str:
    """Return a condition: there is a schedule whose name ends in ``suffix``."""
    return (
        "EXISTS (SELECT FROM dbos.workflow_schedules"
        f" WHERE right(schedule_name, length({suffix})) = {suffix})"
    )


async def list_active(connection: Queryable) -> Sequence[asyncpg.Record]:
    """Return ``name``, ``cron``, ``timezone`` and ``backfill`` of the schedules that fire."""
    return await connection.fetch(
        "SELECT schedule_name AS name, schedule AS cron, cron_timezone AS timezone,"
        " automatic_backfill AS backfill FROM dbos.workflow_schedules WHERE status = 'ACTIVE'"
        " ORDER BY schedule_name"
    )


async def delete_owned(connection: Queryable, suffix: str) -> None:
    """Delete the schedules and the queues whose names end in ``suffix``."""
    await connection.execute(
        "DELETE FROM dbos.workflow_schedules WHERE right(schedule_name, length($1)) = $1", suffix
    )
    await connection.execute("DELETE FROM dbos.queues WHERE right(name, length($1)) = $1", suffix)


async def set_queue_poll(connection: Queryable, name: str, interval_s: float) -> None:
    """Have every process look for work on the queue ``name`` so often from now on."""
    await connection.execute(
        "UPDATE dbos.queues SET polling_interval_sec = $2 WHERE name = $1", name, interval_s
    )
