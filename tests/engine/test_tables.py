"""Every query on DBOS's tables is one that this DBOS has the tables for, and means what it says."""

from __future__ import annotations

from collections import Counter

import psycopg
import pytest

from aexp.database import DatabaseUrl
from aexp.database.connect import Connection, connect
from aexp.engine.runtime import application_version
from aexp.engine.statuses import UNFINISHED
from aexp.engine.tables import schedules, steps, workflows
from aexp.engine.tables.names import DATASOURCE_OUTPUTS, OPERATION_OUTPUTS, WORKFLOW_STATUS
from tests.support.cli import Cli

RUN = "x"
VERSION = application_version(RUN)


@pytest.mark.asyncio
async def test_what_a_run_leaves_is_found(cli: Cli, database: DatabaseUrl) -> None:
    assert cli("run", "resume", "--set", "messages=2", "--run-id", RUN).code == 0
    connection = await connect(database)
    try:
        await _workflows_of_the_run(connection)
        await _steps_of_the_run(connection)
        await _changes(connection)
    finally:
        await connection.close()
    with psycopg.connect(database.libpq) as plain:
        assert plain.execute(workflows.STATUS_OF, (RUN,)).fetchone() == ("SUCCESS",)
        assert plain.execute(steps.COUNT_BY_WORKFLOW, ("nobody's",)).fetchall() == []
        assert plain.execute(steps.SLEPT_BEFORE, (f"{RUN}%", 0)).fetchall() == []


async def _workflows_of_the_run(connection: Connection) -> None:
    everything = await workflows.list_all(connection, 100)
    ids = {row["workflow_id"] for row in everything}
    assert RUN in ids
    assert len(ids) == len(everything) > 1
    assert await workflows.status_of(connection, RUN) == "SUCCESS"
    assert await workflows.status_of(connection, "another") is None
    assert await workflows.count_by_status(connection, VERSION) == {"SUCCESS": len(ids)}
    assert await workflows.count_claims(connection, VERSION) == {}
    assert await workflows.count_by_queue(connection) == {}
    assert await workflows.list_not_ended_well(connection, VERSION, 9) == []
    tree = await workflows.list_tree(connection, VERSION, RUN, 1)
    assert [(row["workflow_id"], row["total"]) for row in tree] == [(RUN, len(ids))]
    for listed in (
        await workflows.list_of_version(connection, VERSION),
        await workflows.list_of_version(connection, VERSION, ["SUCCESS"]),
        await workflows.list_with_outcomes(connection, VERSION, RUN, limit=99, most_bytes=9999),
    ):
        assert {row["workflow_id"] for row in listed} == ids
    assert await workflows.list_of_version(connection, VERSION, ["PENDING"]) == []
    for name, times in Counter(row["name"] for row in everything).items():
        assert await workflows.count_succeeded(connection, VERSION, name) == times
        assert not await workflows.any_unfinished(connection, VERSION, name)

    name = next(row["name"] for row in everything if row["workflow_id"] == RUN)
    assert await connection.fetchval(workflows.NAME_OF, RUN) == name
    assert await connection.fetchval(workflows.HAVE_ENDED, list(ids), UNFINISHED)
    assert await connection.fetchval(f"SELECT {workflows.count_of_version('$1')}", VERSION) == len(
        ids
    )
    any_of = workflows.any_of_version("$1", "$2::text[]")
    assert await connection.fetchval(f"SELECT {any_of}", VERSION, ["SUCCESS"])
    assert not await connection.fetchval(f"SELECT {any_of}", VERSION, UNFINISHED)
    versions = f"SELECT application_version FROM {workflows.versions_with('$1::text[]')} AS found"
    assert {row[0] for row in await connection.fetch(versions, ["SUCCESS"])} == {VERSION}
    assert await connection.fetch(f"SELECT * FROM {workflows.CLAIMS}") == []
    joined = f"SELECT status FROM (SELECT $1::text AS id) AS ours {workflows.join_status_of('id')}"
    there = f"SELECT {workflows.is_workflow('$1')}"
    assert await connection.fetchval(joined, RUN) == "SUCCESS"
    assert await connection.fetchval(joined, "another") is None
    assert await connection.fetchval(there, RUN)
    assert not await connection.fetchval(there, "another")


async def _steps_of_the_run(connection: Connection) -> None:
    everything = await steps.list_all(connection, 100)
    places = {(row["workflow_id"], row["step_id"]) for row in everything}
    last = max(step for workflow, step in places if workflow == RUN)
    of_root = sum(workflow == RUN for workflow, _ in places)
    assert await steps.count_steps(connection, VERSION) == len(places) == len(everything)
    assert await steps.last_step(connection, RUN) == last
    assert await steps.last_step(connection, "another") == 0
    assert await steps.count_before(connection, RUN, last) == of_root - 1
    assert await steps.is_recorded(connection, RUN, last)
    assert not await steps.is_recorded(connection, RUN, last + 1)
    assert await steps.count_succeeded(connection, VERSION, "") == len(places)
    assert await steps.count_succeeded(connection, VERSION, "nobody's") == 0

    page = await steps.list_page(
        connection, VERSION, workflow_id=None, place=None, limit=99, most_bytes=9999
    )
    assert [(row["workflow_id"], row["step_id"]) for row in page] == sorted(places)
    rest = await steps.list_page(
        connection, VERSION, workflow_id=RUN, place=(RUN, last - 1), limit=99, most_bytes=0
    )
    assert [(row["step_id"], row["output"]) for row in rest] == [(last, None)]
    shown = await steps.list_with_outcomes(
        connection, [RUN], but_of=RUN, before_step=last, limit=99, most_bytes=9999
    )
    assert [(row["workflow_id"], row["function_id"]) for row in shown] == [(RUN, last)]

    counted = f"SELECT {steps.count_of_version('$1', '$2', '$3')}"
    assert await connection.fetchval(counted, VERSION, RUN, last) == len(places) - of_root + 1
    ended = await connection.fetchval(f"SELECT {steps.last_ended_ms('$1')}", RUN)
    assert ended == max(row["ended_at"] for row in page if row["workflow_id"] == RUN)
    recorded = f"SELECT {steps.has_checkpoint('$1', '$2')}, {steps.has_transaction('$1', '$2')}"
    assert [tuple(row) for row in await connection.fetch(recorded, RUN, last)] == [(True, False)]
    for table in (DATASOURCE_OUTPUTS, OPERATION_OUTPUTS, WORKFLOW_STATUS):
        assert await connection.fetchval("SELECT to_regclass($1)::text", table) == table


async def _changes(connection: Connection) -> None:
    everything = len(await workflows.list_all(connection, 100))
    await workflows.copy_ended(connection, 3, timeout_s=60)
    assert len(await workflows.list_all(connection, 100)) == everything + 3
    await workflows.rename_version(connection, VERSION, "later")
    assert await workflows.list_of_version(connection, VERSION) == []
    await schedules.set_queue_poll(connection, f"no_queue.{RUN}", 1.0)
    await schedules.delete_owned(connection, f".{RUN}")
    left = f"SELECT {schedules.any_schedule_of('$1')}"
    assert await connection.fetchval(left, f".{RUN}") is False
