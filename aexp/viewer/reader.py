"""Read the timeline of a run from the tables of DBOS, the registry and the ledger."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import anyio.to_thread
import asyncpg

from aexp.database.connect import Connection
from aexp.model.run import Run
from aexp.runs.leases import is_leased
from aexp.runs.store import list_processes
from aexp.viewer.drawing import draw_timeline
from aexp.viewer.timeline import BodyRow, StepRow, Timeline, WorkflowRow
from aexp.viewer.values import MOST_BYTES, MOST_CHARACTERS, stored_text

__all__ = ["MOST_BARS", "MOST_LANES", "gather_timeline"]

MOST_LANES = 2_000
MOST_BARS = 10_000
# All outputs and errors together, so that a page with the most bars still opens at once.
MOST_TEXT = 4_000_000
LEAST_CHARACTERS = 200

# Which workflows are those of a run: the one place that says so. $1 is the run's version.
_OF_RUN = "workflows.application_version = $1"

# DBOS 3.4 writes what a workflow ended with into a table of its own; rows of old stand in place.
# What is larger than $2 bytes is not read.
_WORKFLOWS = f"""
    SELECT workflows.workflow_uuid AS workflow_id, workflows.name, parent_workflow_id AS parent_id,
        queue_name AS queue, status, created_at AS created_ms, started_at_epoch_ms AS started_ms,
        completed_at AS completed_ms, coalesce(recovery_attempts, 0) AS attempts, serialization,
        {{output}}, {{error}}
    FROM dbos.workflow_status AS workflows LEFT JOIN dbos.workflow_output AS ended
        ON ended.workflow_uuid = workflows.workflow_uuid
    WHERE {_OF_RUN}
    ORDER BY workflows.workflow_uuid = $3 DESC, status <> 'SUCCESS' DESC,
        recovery_attempts > 1 DESC NULLS LAST, created_at, workflows.workflow_uuid
    LIMIT $4
"""  # noqa: S608 - our own columns

_STEPS = """
    SELECT workflow_uuid AS workflow_id, function_id, function_name AS name,
        started_at_epoch_ms AS began_ms, completed_at_epoch_ms AS ended_ms, child_workflow_id,
        serialization, {output}, {error}
    FROM dbos.operation_outputs AS steps
    WHERE workflow_uuid = ANY($1::text[]) AND NOT (workflow_uuid = $4 AND function_id < $5)
    ORDER BY error IS NOT NULL DESC, started_at_epoch_ms, workflow_uuid, function_id
    LIMIT $3
"""

_BODIES = """
    SELECT workflow_id, step_id, step, pid, checkpointed,
        (extract(epoch FROM began_at) * 1000)::float8 AS began_ms
    FROM aexp.ledger WHERE run_id = $1 AND workflow_id = ANY($2::text[])
    ORDER BY began_at LIMIT $3
"""

_COUNTS = f"""
    SELECT count(*) AS lanes,
        (SELECT count(*) FROM dbos.operation_outputs AS steps
            JOIN dbos.workflow_status AS workflows USING (workflow_uuid)
            WHERE {_OF_RUN} AND NOT (workflow_uuid = $2 AND function_id < $3)) AS bars,
        (SELECT count(*) FROM aexp.ledger WHERE run_id = $2) AS bodies,
        (extract(epoch FROM clock_timestamp()) * 1000)::bigint AS now_ms
    FROM dbos.workflow_status AS workflows WHERE {_OF_RUN}
"""  # noqa: S608 - our own columns


def _bounded(column: str, name: str) -> str:
    """Select a stored text unless it is larger than $2 bytes, and its size."""
    return (
        f"CASE WHEN octet_length({column}) <= $2 THEN {column} END AS {name},"
        f" octet_length({column}) AS {name}_bytes"
    )


async def gather_timeline(
    connection: Connection,
    run: Run,
    *,
    most_lanes: int = MOST_LANES,
    most_bars: int = MOST_BARS,
) -> Timeline:
    """Gather the timeline of ``run`` as it stands now.

    Shows at most so many workflows and checkpoints; where there are more, the root comes first,
    then what did not end well, then what was recovered, then the earliest. A text has at most 2,000
    characters, fewer where there are very many. Outputs are decoded in a thread.
    """
    # Asked first: a process that ends meanwhile has then left all its traces.
    alive = await is_leased(connection, run.run_id)
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        # What a fork begins with happened in another run, and before this one began.
        first_step = run.fork_step or 0
        counts = await connection.fetchrow(_COUNTS, run.application_version, run.run_id, first_step)
        assert counts is not None
        workflows = await connection.fetch(
            _WORKFLOWS.format(
                output=_bounded("coalesce(ended.output, workflows.output)", "output"),
                error=_bounded("coalesce(ended.error, workflows.error)", "error"),
            ),
            run.application_version,
            MOST_BYTES,
            run.run_id,
            most_lanes,
        )
        shown = [row["workflow_id"] for row in workflows]
        steps = await connection.fetch(
            _STEPS.format(
                output=_bounded("steps.output", "output"), error=_bounded("steps.error", "error")
            ),
            shown,
            MOST_BYTES,
            most_bars,
            run.run_id,
            first_step,
        )
        bodies = await connection.fetch(_BODIES, run.run_id, shown, 2 * most_bars)
        processes = await list_processes(connection, run.run_id)
    lanes, bars = await anyio.to_thread.run_sync(_read, workflows, steps)
    created = run.created_at
    return draw_timeline(
        processes,
        lanes,
        bars,
        [BodyRow(**dict(row)) for row in bodies],
        created_ms=round(created.timestamp() * 1000) if created else counts["now_ms"],
        now_ms=counts["now_ms"],
        alive=alive,
        truncated={
            "lanes": counts["lanes"] - len(lanes),
            "bars": counts["bars"] - len(bars),
            "bodies": counts["bodies"] - len(bodies),
        },
    )


def _read(
    workflows: Sequence[asyncpg.Record], steps: Sequence[asyncpg.Record]
) -> tuple[list[WorkflowRow], list[StepRow]]:
    """Read the rows with their texts decoded: the more there are, the shorter."""
    limit = MOST_TEXT // max(1, len(steps) + len(workflows))
    limit = min(MOST_CHARACTERS, max(LEAST_CHARACTERS, limit))
    return (
        [WorkflowRow(**fields) for fields in _decoded(workflows, limit=limit)],
        [StepRow(**fields) for fields in _decoded(steps, limit=limit)],
    )


def _decoded(rows: Sequence[asyncpg.Record], *, limit: int) -> list[dict[str, Any]]:
    """Return ``rows`` with their outputs and errors as short texts."""
    decoded = []
    for row in rows:
        fields = dict(row)
        serialization = fields.pop("serialization")
        for name in ("output", "error"):
            size = fields.pop(f"{name}_bytes")
            if size is not None and fields[name] is None:
                fields[name] = f"({size:,} bytes as stored: too large to show)"
            else:
                fields[name] = stored_text(fields[name], serialization, limit=limit)
        decoded.append(fields)
    return decoded
