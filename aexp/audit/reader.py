"""Read the history of a run from the tables of DBOS, the ledger and the recordings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import anyio.to_thread
from dbos import DBOSClient, Serializer

from aexp.audit.history import History
from aexp.audit.repetitions import RecordedBody
from aexp.database import DatabaseUrl
from aexp.database.connect import Connection, psycopg_engine
from aexp.engine.refusals import error_text
from aexp.engine.tables import steps, workflows
from aexp.model.promise import SAMPLE
from aexp.model.run import Ending, Run
from aexp.runs.store import WAS_CANCELLED, list_processes

__all__ = ["read_ending", "read_history"]


async def read_ending(
    url: DatabaseUrl, connection: Connection, run: Run, *, serializer: Serializer | None = None
) -> Ending:
    """Read how the root workflow stands; its result is deserialised by DBOS itself, by means of
    ``serializer`` where the module that made it has one of its own.
    """
    processes = await list_processes(connection, run.run_id)
    found = await anyio.to_thread.run_sync(_root, url, run.run_id, serializer)
    if found is None:
        cancelled = await connection.fetchval(
            f"SELECT {WAS_CANCELLED} FROM aexp.runs WHERE run_id = $1",  # noqa: S608 - our own words
            run.run_id,
        )
        return Ending("CANCELLED" if cancelled else "NOT STARTED", None, None, processes)
    error = error_text(found.error) if found.error is not None else None
    return Ending(found.status, found.output, error, processes)


def _root(url: DatabaseUrl, workflow_id: str, serializer: Serializer | None) -> Any:
    engine = psycopg_engine(url, pool_size=1)
    try:
        own: dict[str, Any] = {} if serializer is None else {"serializer": serializer}
        client = DBOSClient(system_database_engine=engine, lazy=True, **own)
        found = client.list_workflows(workflow_ids=[workflow_id], load_input=False)
        return found[0] if found else None
    finally:
        engine.dispose()


async def read_history(connection: Connection, run: Run, ending: Ending) -> History:
    """Read what happened, of all workflows that carry the run's application version."""
    version = run.application_version
    by_status = await workflows.count_by_status(connection, version)
    recorded = await steps.count_steps(connection, version)
    unfinished = await workflows.list_not_ended_well(connection, version, SAMPLE)
    return History(
        root_status=ending.status,
        error=ending.error,
        workflows=by_status,
        steps=recorded,
        timeout_s=await workflows.overrun_timeout_s(connection, run.run_id),
        unfinished=[dict(row) for row in unfinished],
        steps_ran=await connection.fetchval(
            "SELECT EXISTS (SELECT FROM aexp.step_bodies WHERE run_id = $1)", run.run_id
        ),
        copied=await steps.count_before(connection, run.run_id, run.fork_step or 0),
        repeated=await _repeated(connection, run),
        ran_again=await _ran_again(connection, run),
        unrecorded=[process.pid for process in ending.processes if not process.recorded],
    )


async def _repeated(connection: Connection, run: Run) -> list[Mapping[str, Any]]:
    rows = await connection.fetch(
        "SELECT workflow_id, step, step_id, pid, began_at::text AS began_at FROM aexp.ledger"
        " WHERE run_id = $1 AND checkpointed ORDER BY began_at LIMIT $2",
        run.run_id,
        SAMPLE,
    )
    return [dict(row) for row in rows]


# A run that has another process after one had completed it was made to run once more.
_RAN_AGAIN = """
    SELECT process_no, pid, workflow_id, step_id, name, attempt, transactional, arguments, site,
        (extract(epoch FROM began_at) * 1000)::float8 AS began_ms,
        (extract(epoch FROM recorded_at) * 1000)::float8 AS recorded_ms,
        (SELECT count(*) FROM aexp.processes AS earlier WHERE earlier.run_id = $1
            AND earlier.ended = 'completed' AND earlier.ended_at <= processes.started_at) AS era
    FROM aexp.step_bodies JOIN aexp.processes USING (run_id, process_no)
    WHERE run_id = $1 AND (workflow_id, step_id) IN (
        SELECT workflow_id, step_id FROM aexp.step_bodies WHERE run_id = $1
        GROUP BY workflow_id, step_id HAVING count(*) FILTER (WHERE attempt = 1) > 1
    )
"""


async def _ran_again(connection: Connection, run: Run) -> list[RecordedBody]:
    rows = await connection.fetch(_RAN_AGAIN, run.run_id)
    if not rows:
        return []
    completed = await steps.completion_times(
        connection, [(row["workflow_id"], row["step_id"]) for row in rows]
    )
    rewinds = await steps.list_starts(connection, run.application_version, "DBOS.rewindWorkflow")
    return [
        RecordedBody(
            **{**row, "era": row["era"] + sum(start <= row["began_ms"] for start in rewinds)},
            completed_ms=completed.get((row["workflow_id"], row["step_id"])),
        )
        for row in rows
    ]
