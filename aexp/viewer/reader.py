"""Read the timeline of a run from the tables of DBOS, the registry and the ledger."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import anyio.to_thread
import asyncpg

from aexp.database.connect import Connection
from aexp.engine.tables import steps, workflows
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

_BODIES = """
    SELECT workflow_id, step_id, step, pid, checkpointed,
        (extract(epoch FROM began_at) * 1000)::float8 AS began_ms
    FROM aexp.ledger WHERE run_id = $1 AND workflow_id = ANY($2::text[])
    ORDER BY began_at LIMIT $3
"""

# Of the run $2, whose version is $1 and which begins at its step $3.
_COUNTS = f"""
    SELECT {workflows.count_of_version("$1")} AS lanes,
        {steps.count_of_version("$1", "$2", "$3")} AS bars,
        (SELECT count(*) FROM aexp.ledger WHERE run_id = $2) AS bodies,
        (extract(epoch FROM clock_timestamp()) * 1000)::bigint AS now_ms
"""  # noqa: S608 - our own columns


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
        lane_rows = await workflows.list_with_outcomes(
            connection,
            run.application_version,
            run.run_id,
            limit=most_lanes,
            most_bytes=MOST_BYTES,
        )
        shown = [row["workflow_id"] for row in lane_rows]
        bar_rows = await steps.list_with_outcomes(
            connection,
            shown,
            but_of=run.run_id,
            before_step=first_step,
            limit=most_bars,
            most_bytes=MOST_BYTES,
        )
        bodies = await connection.fetch(_BODIES, run.run_id, shown, 2 * most_bars)
        processes = await list_processes(connection, run.run_id)
    lanes, bars = await anyio.to_thread.run_sync(_read, lane_rows, bar_rows)
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
    lane_rows: Sequence[asyncpg.Record], bar_rows: Sequence[asyncpg.Record]
) -> tuple[list[WorkflowRow], list[StepRow]]:
    """Read the rows with their texts decoded: the more there are, the shorter."""
    limit = MOST_TEXT // max(1, len(bar_rows) + len(lane_rows))
    limit = min(MOST_CHARACTERS, max(LEAST_CHARACTERS, limit))
    return (
        [WorkflowRow(**fields) for fields in _decoded(lane_rows, limit=limit)],
        [StepRow(**fields) for fields in _decoded(bar_rows, limit=limit)],
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
