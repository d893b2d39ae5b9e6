"""The registry of runs and of the processes that worked on them, in schema ``aexp``."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Mapping, Sequence
from typing import Any

from aexp.database.connect import Connection
from aexp.engine.tables.workflows import NAME_OF
from aexp.errors import NoLastRun, RunMismatch, UnknownRun, UsageError
from aexp.model.run import ProcessRecord, Run

__all__ = [
    "RUN_COLUMNS",
    "STATUS",
    "WAS_CANCELLED",
    "begin_run",
    "check_same",
    "find_run",
    "get_run",
    "last_run",
    "list_processes",
    "list_runs",
    "record_end",
    "record_start",
]


# Of a row of aexp.runs: nobody goes on with it until it is resumed. No status says so of one that
# was cancelled before it had a workflow.
WAS_CANCELLED = """(NOT runs.hosted AND EXISTS (SELECT FROM aexp.run_events AS told
    WHERE told.run_id = runs.run_id AND told.event = 'run.cancelled'))"""
# The status of a row of aexp.runs to which that of its root workflow is joined.
STATUS = f"""coalesce(status, CASE WHEN {WAS_CANCELLED} THEN 'CANCELLED' ELSE 'NOT STARTED' END)"""

# Of aexp.runs: what a Run is made of.
RUN_COLUMNS = (
    "run_id, scenario, target, parameters, facts, application_version, created_at, forked_from,"
    " fork_step"
)


async def find_run(connection: Connection, run_id: str) -> Run | None:
    """Return the run of this id, or None."""
    row = await connection.fetchrow(
        f"SELECT {RUN_COLUMNS} FROM aexp.runs WHERE run_id = $1",  # noqa: S608 - our own columns
        run_id,
    )
    return Run(**dict(row)) if row is not None else None


async def get_run(connection: Connection, run_id: str) -> Run:
    """Return the run of this id; raises UnknownRun."""
    run = await find_run(connection, run_id)
    if run is None:
        raise UnknownRun(run_id)
    return run


async def list_runs(connection: Connection, limit: int) -> Sequence[Run]:
    """List the ``limit`` newest runs, newest first."""
    rows = await connection.fetch(
        f"SELECT {RUN_COLUMNS} FROM aexp.runs"  # noqa: S608 - our own columns
        " ORDER BY created_at DESC, run_id LIMIT $1",
        limit,
    )
    return [Run(**dict(row)) for row in rows]


async def last_run(connection: Connection) -> Run:
    """Return the run that was begun last; raises NoLastRun."""
    newest = await list_runs(connection, 1)
    if not newest:
        raise NoLastRun
    return newest[0]


async def begin_run(connection: Connection, run: Run) -> Run:
    """Record ``run``, or return the one that has its id already.

    Raises RunMismatch when that one is of another scenario or has other parameters, and UsageError
    when a workflow that is no run has the id.
    """
    taken = await connection.fetchval(
        f"{NAME_OF} AND NOT EXISTS (SELECT FROM aexp.runs WHERE run_id = $1)",
        run.run_id,
    )
    if taken is not None:
        raise UsageError(
            f"{run.run_id!r} is the id of a workflow {taken!r} already: choose another --run-id"
        )
    relative = await _relative(connection, run.run_id)
    if relative is not None:
        raise UsageError(
            f"runs {run.run_id!r} and {relative!r} could have workflows of the same id:"
            " choose another --run-id"
        )
    row = await connection.fetchrow(
        "INSERT INTO aexp.runs"  # noqa: S608 - our own columns
        " (run_id, scenario, target, parameters, facts, application_version, forked_from,"
        " fork_step) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)"
        f" ON CONFLICT (run_id) DO NOTHING RETURNING {RUN_COLUMNS}",
        run.run_id,
        run.scenario,
        run.target,
        run.parameters,
        run.facts,
        run.application_version,
        run.forked_from,
        run.fork_step,
    )
    if row is not None:
        return Run(**dict(row))
    known = await get_run(connection, run.run_id)
    check_same(known, run.scenario, run.target, run.parameters)
    return known


async def _relative(connection: Connection, run_id: str) -> str | None:
    """Return a run whose id is ``run_id`` and numbers, or which ``run_id`` is so made of.

    DBOS names the children of a workflow ID-1, ID-2 and so on.
    """
    stems, stem = [], run_id
    while (found := re.fullmatch(r"(.+)-[0-9]+", stem)) is not None:
        stem = found[1]
        stems.append(stem)
    relative: str | None = await connection.fetchval(
        "SELECT run_id FROM aexp.runs WHERE run_id = ANY($2::text[])"
        " OR (starts_with(run_id, $1 || '-') AND substr(run_id, length($1) + 1) ~ '^(-[0-9]+)+$')"
        " LIMIT 1",
        run_id,
        stems,
    )
    return relative


def check_same(known: Run, scenario: str, target: str, parameters: Mapping[str, Any]) -> None:
    """Raise RunMismatch unless ``known`` is of this scenario and has these parameters."""
    differences = []
    if (known.scenario, known.target) != (scenario, target):
        what = known.scenario if known.target == known.scenario else known.target
        differences.append(f"scenario {what}")
    differences += [
        f"{name}={known.parameters.get(name)!r}, not {value!r}"
        for name, value in parameters.items()
        if known.parameters.get(name) != value
    ]
    if differences:
        raise RunMismatch(known.run_id, differences)


async def list_processes(connection: Connection, run_id: str) -> Sequence[ProcessRecord]:
    """List the processes of a run in the order in which they started."""
    rows = await connection.fetch(
        "SELECT process_no, pid, executor_id, started_at, ended_at, ended, memory,"
        " recorded"
        " FROM aexp.processes WHERE run_id = $1 ORDER BY process_no",
        run_id,
    )
    return [ProcessRecord(**dict(row)) for row in rows]


async def record_start(
    connection: Connection, run_id: str, executor_id: str, recording: str | None
) -> None:
    """Record that this process works on the run, and the file ``recording`` in which it notes its
    steps, None when it does not.
    """
    await connection.execute(
        "INSERT INTO aexp.processes (run_id, executor_id, pid, host, recording)"
        " VALUES ($1, $2, $3, $4, $5)",
        run_id,
        executor_id,
        os.getpid(),
        platform.node(),
        recording,
    )


async def record_end(
    connection: Connection,
    run_id: str,
    executor_id: str,
    pid: int,
    ended: str,
    memory: Mapping[str, Any] | None,
) -> bool:
    """Record how the run's latest process of this executor and pid ended; False when that is known
    already.
    """
    number = await connection.fetchval(
        "UPDATE aexp.processes SET ended = $4, memory = $5, ended_at = clock_timestamp()"
        " WHERE process_no = (SELECT max(process_no) FROM aexp.processes"
        "  WHERE run_id = $1 AND executor_id = $2 AND pid = $3) AND ended IS NULL"
        " RETURNING process_no",
        run_id,
        executor_id,
        pid,
        ended,
        memory,
    )
    return number is not None
