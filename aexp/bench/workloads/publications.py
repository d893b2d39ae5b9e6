"""The messages that the workloads publish, and how often each of them stands in the database."""

from __future__ import annotations

import os
from typing import Any

import psycopg

from aexp.bench.workload import Cell, Counted
from aexp.scenarios.resume.messages import Chunk, read_chunk

__all__ = [
    "INSERT",
    "RUN_ID",
    "WARM_UP",
    "counted_publications",
    "insert_values",
    "records",
]

RUN_ID = "bench"
# What is published before anything is measured carries this run's id, and is not looked at again.
WARM_UP = "warm-up"

# The key refuses a message's double, so that it may be published again after a kill.
INSERT = """
    INSERT INTO aexp.publications (run_id, position, channel, body, pid, idempotency_key)
    VALUES ({}, {}, {}, {}::text::json, {}, {})
    ON CONFLICT (idempotency_key) WHERE idempotency_key IS NOT NULL DO NOTHING
"""

_WRONG = """
    WITH published AS (
        SELECT position, count(*) AS times,
            bool_and(body::text = '{"message": "Message ' || position || '"}'
                AND channel = 'workflow' || position %% 2 + 1) AS unaltered
        FROM aexp.publications WHERE run_id = %s GROUP BY position
    )
    SELECT position, asked.position IS NOT NULL, coalesce(times, 0), unaltered
    FROM generate_series(0, %s - 1) AS asked (position) FULL JOIN published USING (position)
    WHERE asked.position IS NULL OR times IS DISTINCT FROM 1 OR NOT unaltered
    ORDER BY position
"""


def records(run_id: str, first: int, count: int) -> list[tuple[Any, ...]]:
    """Return COLUMNS (see aexp.scenarios.resume.delivery) of ``count`` messages from position
    ``first`` on.
    """
    pid = os.getpid()
    return [
        (run_id, position, f"workflow{position % 2 + 1}", body, pid)
        for position, body in enumerate(read_chunk(None, Chunk(first, count)), start=first)
    ]


def insert_values(run_id: str, position: int) -> tuple[Any, ...]:
    """Return the values that INSERT takes for one message."""
    (record,) = records(run_id, position, 1)
    return (*record, f"{run_id}:{position}")


def counted_publications(cell: Cell) -> Counted:
    """Count what a cell published that had ``messages`` to publish."""
    with psycopg.connect(cell.url.libpq) as connection:
        row = connection.execute(
            "SELECT count(*) FROM aexp.publications WHERE run_id = %s", (RUN_ID,)
        ).fetchone()
        assert row is not None
        wrong = _wrong(connection, cell.size["messages"])
    return Counted(units=row[0], anomalies=wrong)


def _wrong(connection: psycopg.Connection, messages: int) -> list[str]:
    """Name the messages of ``messages`` that are missing, doubled or altered, or not asked for.

    A line for each. Empty when every message stands there once.
    """
    rows = connection.execute(_WRONG, (RUN_ID, messages)).fetchall()
    return [_line(*row) for row in rows]


def _line(position: int, asked: bool, times: int, unaltered: bool | None) -> str:  # noqa: FBT001
    if not asked:
        return f"message {position} was published, and nobody had asked for it"
    if times != 1:
        return f"message {position} was published {times} times"
    assert unaltered is False
    return f"message {position} was altered"
