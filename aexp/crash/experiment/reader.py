"""Read what an experiment left behind: the rows of DBOS, the proxy's writes, the bodies' notes."""

from __future__ import annotations

import io
import time
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import anyio
import asyncpg

from aexp.audit import Report, audit_run
from aexp.crash.experiment.user_tables import read_tables
from aexp.crash.http.received import ReceivedRequest
from aexp.crash.judge.evidence import (
    Checkpoint,
    Deadline,
    EventRecord,
    Evidence,
    LifeRecord,
    Message,
    Outage,
    Recorded,
    ScheduleRecord,
    Seen,
    StepRecord,
    StreamEntry,
    TableContent,
    WorkflowRecord,
)
from aexp.crash.judge.ownership import Takeover
from aexp.crash.judge.values import StoredValue
from aexp.database import DatabaseUrl
from aexp.database.connect import Connection, connected
from aexp.engine.recorder.records import parse_records
from aexp.engine.tables import published, schedules, steps, times, workflows
from aexp.engine.tables.names import DATASOURCE_OUTPUTS, OPERATION_OUTPUTS
from aexp.model.run import Run
from aexp.model.scenario import Scenario

__all__ = [
    "CHECKPOINTS",
    "TRANSACTIONS",
    "gather_evidence",
    "read_entries",
    "read_events",
    "read_steps",
    "read_workflows",
]

# What the name of a write says that records a step, and of one that records a transaction with its
# own writes.
CHECKPOINTS = f"insert {OPERATION_OUTPUTS}"
TRANSACTIONS = f"insert {DATASOURCE_OUTPUTS}"
# A larger value is compared as a whole, by its digest.
_MOST_BYTES = 256 * 1024


async def gather_evidence(
    url: DatabaseUrl,
    connection: Connection,
    run: Run,
    scenario: Scenario[object],
    *,
    lives: Sequence[LifeRecord],
    writes: Sequence[Seen],
    bodies: Path,
    recovery_s: float | None,
    outages: Sequence[Outage] = (),
    take_over: Takeover | None = None,
    ignored_tables: Sequence[str] = (),
    databases: Mapping[str, DatabaseUrl] | None = None,
    requests: Sequence[ReceivedRequest] = (),
) -> tuple[Evidence, Report]:
    """Gather the evidence of an experiment on ``run``, alone in its database, and the run's report.

    All workflows there are its own: those of another version too, which must not be.
    """
    report = await audit_run(url, connection, run, scenario, alone=False)
    records = await _read_records(bodies, lives)
    evidence = Evidence(
        status=report.status,
        outcome=report.result,
        lives=lives,
        workflows=await read_workflows(connection),
        steps=await read_steps(connection),
        checkpoints=[
            Checkpoint(seen.write.workflow_id, seen.write.step_id, seen.life, seen.at)
            for seen in writes
            if CHECKPOINTS in seen.write.name
            and seen.write.workflow_id is not None
            and seen.write.step_id is not None
        ],
        records=records,
        verdicts=report.verdicts,
        duplicates=report.duplicates,
        recovery_s=recovery_s,
        outages=outages,
        take_over=take_over,
        run_id=run.run_id,
        events=await read_events(connection),
        entries=await read_entries(connection),
        messages=[Message(**row) for row in await published.list_sent(connection)],
        tables=await _read_all_tables(connection, databases or {}, ignored_tables),
        writes=writes,
        requests=requests,
        deadlines=await _read_deadlines(connection),
        schedules=[ScheduleRecord(**row) for row in await schedules.list_active(connection)],
        clock_offset_s=time.time() - time.monotonic(),
    )
    return evidence, report


async def _read_all_tables(
    connection: Connection, databases: Mapping[str, DatabaseUrl], ignored: Collection[str]
) -> Mapping[str, TableContent]:
    """Read the user's tables there, and those of other ``databases`` with the variable of each
    before the name.
    """
    tables = dict(await read_tables(connection, ignored=ignored))
    for variable, url in databases.items():
        async with connected(url) as other:
            read = await read_tables(other, ignored=ignored)
        tables |= {f"{variable}.{name}": content for name, content in read.items()}
    return tables


async def _read_deadlines(connection: Connection) -> list[Deadline]:
    return [
        Deadline(**{**row, "set_at": float(row["set_at"]), "until": float(row["until"])})
        for row in await times.list_deadlines(connection)
    ]


async def read_workflows(connection: Connection) -> list[WorkflowRecord]:
    """Read all workflows there are, the earliest first."""
    return [
        WorkflowRecord(**_with_stored(row, "outcome"))
        for row in await workflows.list_all(connection, _MOST_BYTES)
    ]


async def read_steps(connection: Connection) -> list[StepRecord]:
    """Read all checkpoints that stand there."""
    return [
        StepRecord(**_with_stored(row, "outcome"))
        for row in await steps.list_all(connection, _MOST_BYTES)
    ]


async def read_events(connection: Connection) -> list[EventRecord]:
    """Read all events as they stand."""
    return [
        EventRecord(**_with_stored(row, "value"))
        for row in await published.list_events(connection, _MOST_BYTES)
    ]


async def read_entries(connection: Connection) -> list[StreamEntry]:
    """Read all entries of streams, in order."""
    return [
        StreamEntry(**_with_stored(row, "value"))
        for row in await published.list_entries(connection, _MOST_BYTES)
    ]


def _with_stored(row: asyncpg.Record, name: str) -> dict[str, Any]:
    """Return the columns of ``row`` with the stored value ``name`` as one."""
    fields = dict(row)
    stored = StoredValue(
        fields.pop(f"{name}_digest"), fields.pop(name), fields.pop("serialization")
    )
    return {**fields, name: stored}


async def _read_records(path: Path, lives: Sequence[LifeRecord]) -> list[Recorded]:
    """Read what the workers noted, of those that are on record."""
    file = anyio.Path(path)
    if not await file.exists():
        return []
    life_of = {life.pid: number for number, life in enumerate(lives)}
    # Not by splitlines, which knows more ends of lines than the one that is written.
    lines = io.StringIO(await file.read_text(encoding="utf-8", errors="replace"))
    return [
        Recorded(life_of[record.pid], record)
        for record in parse_records(lines)
        if record.pid in life_of
    ]
