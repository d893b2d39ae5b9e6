"""What the service reads of runs, their workflows and their steps."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import anyio.to_thread
import asyncpg

from aexp.durable.fan_out import parent_of
from aexp.engine.registry import UNFINISHED
from aexp.engine.tables import steps, workflows
from aexp.model.run import Run
from aexp.runs.store import STATUS
from aexp.viewer.values import MOST_BYTES, stored_text

__all__ = [
    "read_progress",
    "read_run_page",
    "read_status",
    "read_step_page",
    "read_workflows",
]

MOST_WORKFLOWS = 5_000
# pydantic writes what is nested 255 deep at most.
_MOST_DEPTH = 100
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


async def read_run_page(
    pool: Any,
    *,
    scenario: str | None,
    status: str | None,
    began_after: datetime | None,
    began_before: datetime | None,
    place: tuple[datetime, str] | None,
    limit: int,
) -> Sequence[Mapping[str, Any]]:
    """Read runs that fit, newest first, beginning after ``place``."""
    rows: Sequence[Mapping[str, Any]] = await pool.fetch(
        f"SELECT run_id, scenario, {STATUS} AS status,"  # noqa: S608 - our own words
        " runs.created_at, parameters"
        f" FROM aexp.runs {workflows.join_status_of('run_id')}"
        " WHERE ($1::text IS NULL OR scenario = $1)"
        f" AND ($2::text IS NULL OR {STATUS} = $2)"
        " AND ($3::timestamptz IS NULL OR runs.created_at > $3)"
        " AND ($4::timestamptz IS NULL OR runs.created_at < $4)"
        " AND ($5::timestamptz IS NULL OR (runs.created_at, run_id) < ($5, $6::text))"
        " ORDER BY runs.created_at DESC, run_id DESC LIMIT $7",
        scenario,
        status,
        began_after,
        began_before,
        *(place or (None, None)),
        limit,
    )
    return rows


async def read_status(pool: Any, run_id: str) -> tuple[str | None, bool]:
    """Read a run's status, None when it is no more, and whether all its workflows have ended."""
    row = await pool.fetchrow(
        f"SELECT {STATUS} AS status,"  # noqa: S608 - our own words
        f" {STATUS} <> ALL($2::text[] || 'NOT STARTED'::text) AND NOT"
        f" {workflows.any_of_version('runs.application_version', '$2::text[]')} AS ended"
        f" FROM aexp.runs {workflows.join_status_of('run_id')}"
        " WHERE run_id = $1",
        run_id,
        UNFINISHED,
    )
    return (row["status"], row["ended"]) if row is not None else (None, True)


async def read_progress(pool: Any, run_id: str) -> Mapping[str, Any] | None:
    """Read how far a run had come when that was last written down."""
    progress: Mapping[str, Any] | None = await pool.fetchval(
        "SELECT data FROM aexp.run_events WHERE run_id = $1 AND event = 'run.progressed'"
        " ORDER BY seq DESC LIMIT 1",
        run_id,
    )
    return progress


async def read_workflows(pool: Any, run: Run) -> tuple[Sequence[dict[str, Any]], int, int]:
    """Read the workflows of a run as trees, how many there are, and how many are shown."""
    rows = await workflows.list_tree(pool, run.application_version, run.run_id, MOST_WORKFLOWS)
    known = {row["workflow_id"] for row in rows}
    children: defaultdict[str | None, list[asyncpg.Record]] = defaultdict(list)
    for row in rows:
        parent = row["parent_id"] or parent_of(row["workflow_id"])
        children[parent if parent in known else None].append(row)
    trees, shown = _grow(children)
    return trees, rows[0]["total"] if rows else 0, shown


def _grow(
    children: Mapping[str | None, Sequence[asyncpg.Record]],
) -> tuple[Sequence[dict[str, Any]], int]:
    trees: list[dict[str, Any]] = []
    shown = 0
    todo = [(row, trees, 1) for row in reversed(children.get(None, ()))]
    while todo:
        row, siblings, depth = todo.pop()
        node = {
            "workflow_id": row["workflow_id"],
            "name": row["name"],
            "status": row["status"],
            "queue": row["queue"],
            "created_at": _time(row["created_at"]),
            "started_at": _time(row["started_at"]),
            "ended_at": _time(row["ended_at"]),
            "attempts": row["attempts"],
            "children": [],
        }
        siblings.append(node)
        shown += 1
        if depth < _MOST_DEPTH:
            below = children.get(row["workflow_id"], ())
            todo += [(child, node["children"], depth + 1) for child in reversed(below)]
    return trees, shown


async def read_step_page(
    pool: Any,
    run: Run,
    *,
    workflow_id: str | None,
    place: tuple[str, int] | None,
    limit: int,
) -> Sequence[dict[str, Any]]:
    """Read checkpoints of a run after ``place``, by workflow and number, decoded in a thread."""
    rows = await steps.list_page(
        pool,
        run.application_version,
        workflow_id=workflow_id,
        place=place,
        limit=limit,
        most_bytes=MOST_BYTES,
    )
    return await anyio.to_thread.run_sync(_decoded, run, rows)


def _decoded(run: Run, rows: Sequence[asyncpg.Record]) -> list[dict[str, Any]]:
    """Return checkpoints with their outputs and errors as short texts."""
    return [
        {
            "workflow_id": row["workflow_id"],
            "step_id": row["step_id"],
            "name": row["name"],
            "began_at": _time(row["began_at"]),
            "ended_at": _time(row["ended_at"]),
            "child_workflow_id": row["child_workflow_id"],
            "copied": row["workflow_id"] == run.run_id and row["step_id"] < (run.fork_step or 0),
            "output": _text(row, "output"),
            "error": _text(row, "error"),
        }
        for row in rows
    ]


def _text(row: asyncpg.Record, name: str) -> str | None:
    if row[f"{name}_bytes"] is not None and row[name] is None:
        return f"({row[f'{name}_bytes']:,} bytes as stored: too large to show)"
    return stored_text(row[name], row["serialization"])


def _time(ms: int | None) -> datetime | None:
    return _EPOCH + timedelta(milliseconds=ms) if ms is not None else None
