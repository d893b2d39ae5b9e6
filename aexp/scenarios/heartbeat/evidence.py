"""Read the evidence of a run of ``heartbeat`` from the database."""

from __future__ import annotations

from datetime import UTC, datetime

from aexp.database.connect import Connection
from aexp.engine.registry import UNFINISHED
from aexp.model.run import Ending, Run
from aexp.scenarios.heartbeat.promises import BEAT, EVENT, SCHEDULE, Beat, Firing, HeartbeatEvidence

__all__ = ["gather"]


async def gather(connection: Connection, run: Run, ending: Ending) -> HeartbeatEvidence:
    """Read the evidence of ``run``: every tick, since one that stands out among them is meant."""
    name = f"{SCHEDULE}.{run.run_id}"
    since = await connection.fetchval(
        "SELECT min(data->>'at') FROM aexp.events WHERE run_id = $1"
        " AND event = 'schedule.began' AND data->>'schedule' = $2",
        run.run_id,
        name,
    )
    beats = await connection.fetch(
        "SELECT workflow_id, data->>'scheduled' AS scheduled, data->>'actual' AS actual, pid"
        " FROM aexp.events WHERE run_id = $1 AND event = $2 ORDER BY scheduled, happened_at",
        run.run_id,
        EVENT,
    )
    firings = await connection.fetch(
        "SELECT workflow_uuid, created_at FROM dbos.workflow_status"
        " WHERE application_version = $1 AND name = $2 ORDER BY created_at, workflow_uuid",
        run.application_version,
        BEAT,
    )
    bodies = await connection.fetch(
        "SELECT workflow_id, count(*) AS n FROM aexp.ledger WHERE run_id = $1 AND step = 'beat'"
        " GROUP BY workflow_id",
        run.run_id,
    )
    left = await connection.fetch(
        "SELECT schedule_name FROM dbos.workflow_schedules"
        " WHERE right(schedule_name, length($1)) = $1 ORDER BY schedule_name",
        f".{run.run_id}",
    )
    return HeartbeatEvidence(
        asked=run.parameters["ticks"],
        every_s=run.parameters["every_s"],
        backfill=run.parameters["backfill"],
        since=datetime.fromisoformat(since) if since is not None else None,
        ended=ending.status not in {*UNFINISHED, "NOT STARTED"},
        beats=[
            Beat(
                row["workflow_id"],
                datetime.fromisoformat(row["scheduled"]),
                datetime.fromisoformat(row["actual"]),
                row["pid"],
            )
            for row in beats
        ],
        firings=[
            Firing(
                row["workflow_uuid"],
                _time_in(row["workflow_uuid"], f"sched-{name}-"),
                datetime.fromtimestamp(row["created_at"] / 1000, UTC),
            )
            for row in firings
        ],
        bodies={row["workflow_id"]: row["n"] for row in bodies},
        starts=[process.started_at for process in ending.processes],
        left=[row["schedule_name"] for row in left],
    )


def _time_in(workflow_id: str, prefix: str) -> datetime | None:
    """Return the time with which DBOS ends the id of a tick's workflow."""
    if not workflow_id.startswith(prefix):
        return None
    try:
        time = datetime.fromisoformat(workflow_id.removeprefix(prefix))
    except ValueError:
        return None
    return time if time.tzinfo is not None else None
