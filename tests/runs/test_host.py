"""Hosts in this process: what is written down of runs, and who may change them."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import anyio.from_thread
import pytest
from structlog.testing import capture_logs

from aexp.audit.reader import read_ending
from aexp.database import DatabaseUrl
from aexp.database.connect import Connection
from aexp.errors import (
    InvalidParameter,
    RunBusy,
    RunEnded,
    RunMismatch,
    TooManyRuns,
    UnknownRun,
    UnknownScenario,
    UsageError,
)
from aexp.model.run import Run
from aexp.model.run_ids import check_run_id, run_id_of_key
from aexp.runs.host import Host, open_host
from aexp.runs.host.active_run import ActiveRun
from aexp.runs.host.events import Journal
from aexp.runs.host.records import STANDING
from aexp.runs.kill_plan import KillPlan
from aexp.runs.leases import lease_run
from aexp.runs.store import begin_run, get_run
from aexp.scenarios.resume.workflow import SCENARIO as RESUME
from aexp.scenarios.scope.workflow import SCENARIO
from aexp.service.options import ServiceOptions
from aexp.service.server import listen, serve
from aexp.settings import Settings
from tests.support.cli import TIMEOUT_S, eventually

pytestmark = pytest.mark.asyncio


@asynccontextmanager
async def running_host(database: DatabaseUrl) -> AsyncIterator[Host]:
    """A host that may work on one run. No fixture, which another task would end."""
    async with open_host(
        Settings(), database, scenarios={"resume": RESUME, "scope": SCENARIO}, max_active_runs=1
    ) as host:
        yield host


async def a_run(connection: Connection) -> str:
    run = await begin_run(connection, Run("r", "scope", "scope", {}, {}, "run-r"))
    return run.run_id


async def requested(
    connection: Connection, run_id: str, target: str, parameters: Mapping[str, Any], **asked: Any
) -> None:
    """A run that some service was asked for, and began nothing of."""
    await begin_run(connection, Run(run_id, "scope", target, parameters, {}, f"run-{run_id}"))
    await connection.execute("UPDATE aexp.runs SET hosted = true WHERE run_id = $1", run_id)
    await connection.execute(
        "INSERT INTO aexp.run_events (run_id, seq, event, data)"
        " VALUES ($1, 1, 'run.requested', $2)",
        run_id,
        {"kills": 0, "seed": 0, **asked},
    )


async def test_events_are_numbered_without_a_gap_whoever_writes(
    database: DatabaseUrl, connection: Connection
) -> None:
    async with running_host(database) as host:
        run_id = await a_run(connection)
        async with anyio.create_task_group() as group:
            for number in range(40):
                journal = (host.journal, Journal(host.pool))[number % 2]
                group.start_soon(journal.write, run_id, "run.progressed", {"done": number})
        events = await host.journal.read(run_id, 0)
        assert [event.seq for event in events] == list(range(1, 41))
        assert sorted(event.data["done"] for event in events) == list(range(40))
        assert await host.journal.read(run_id, 39) == events[39:]


async def test_who_asks_for_news_and_then_looks_misses_nothing(
    database: DatabaseUrl, connection: Connection
) -> None:
    async with running_host(database) as host:
        run_id = await a_run(connection)
        news = host.journal.news(run_id)
        assert await host.journal.read(run_id, 0) == []
        await host.journal.write(run_id, "run.progressed", {})
        assert news.is_set()
        assert not host.journal.news(run_id).is_set()


async def test_an_event_of_a_run_that_is_no_more_is_no_error(database: DatabaseUrl) -> None:
    async with running_host(database) as host:
        await host.journal.write("gone", "run.progressed", {})
        assert await host.journal.read("gone", 0) == []


async def test_a_kill_that_is_written_down_twice_is_one(
    database: DatabaseUrl, connection: Connection
) -> None:
    await requested(connection, "r", "of another service", {}, kills=2)
    async with running_host(database) as host:
        # As after a commit whose answer was lost.
        for kills in (1, 1, 2):
            await host.journal.write("r", "run.process_killed", {"kills": kills})
        assert await host.journal.kills("r") == {"asked": 2, "landed": 2, "seed": 0}


async def test_only_known_scenarios_and_parameters_are_begun(
    database: DatabaseUrl, connection: Connection
) -> None:
    async with running_host(database) as host:
        for name in ("objects", "os:system", "flow.py:flow"):
            with pytest.raises(UnknownScenario):
                await host.start(name, {})
        with pytest.raises(InvalidParameter):
            await host.start("scope", {"nope": 1})
        # As the name of an installed scenario may be.
        named = run_id_of_key("acme.orders", "a key")
        assert check_run_id(named) == run_id_of_key("acme.orders", "a key")
        assert named != run_id_of_key("acme-orders", "a key")
        with pytest.raises(UsageError, match="is not valid"):
            await host.start("scope", {}, run_id="acme.orders-1")
        for change in (host.cancel, host.resume, host.delete):
            with pytest.raises(UnknownRun):
                await change("nope")
        assert await connection.fetchval("SELECT count(*) FROM aexp.runs") == 0


async def test_a_run_is_worked_on_and_leaves_room_for_the_next(
    database: DatabaseUrl, connection: Connection
) -> None:
    async with running_host(database) as host:
        run, fresh = await host.start("scope", {}, run_id="one")
        assert fresh
        assert list(host.active) == ["one"]
        assert await host.start("scope", {}, run_id="one") == (run, False)
        with pytest.raises(TooManyRuns):
            await host.start("scope", {}, run_id="two")
        await host.wait("one")
        assert host.is_settled("one")
        names = [event.event for event in await host.journal.read("one", 0)]
        assert names[:2] == ["run.requested", "run.began"]
        assert names[-1] == "run.ended"
        with pytest.raises(RunEnded):
            await host.resume("one")
        with pytest.raises(RunEnded):
            await host.cancel("one")
        assert host.driver.steps_begun["scope"] > 0
        await host.delete("one")
        assert await connection.fetchval("SELECT count(*) FROM aexp.run_events") == 0


async def test_who_asks_again_is_answered_though_the_input_is_gone_and_no_place_is_left(
    database: DatabaseUrl, connection: Connection, tmp_path: Path
) -> None:
    given = tmp_path / "in.jsonl"
    given.write_text('{"n": 1}\n')
    async with running_host(database) as host:
        ask = partial(host.start, "resume", {"input": str(given)}, run_id="asked")
        run, fresh = await ask(kills=0)
        assert fresh
        await host.cancel("asked")
        await host.start("scope", {"pause_s": 3600}, run_id="other")
        given.unlink()
        assert await ask(kills=0) == (run, False)
        with pytest.raises(RunMismatch):
            await ask(kills=1)
        with pytest.raises(TooManyRuns):
            await host.start("scope", {}, run_id="third")
        assert list(host.active) == ["other"]


async def test_a_run_that_is_cancelled_before_it_has_a_workflow_is_audited_as_cancelled(
    database: DatabaseUrl, connection: Connection
) -> None:
    async with running_host(database) as host:
        run = await get_run(connection, await a_run(connection))
        assert (await read_ending(database, connection, run)).status == "NOT STARTED"
        await host.cancel(run.run_id)
        assert (await read_ending(database, connection, run)).status == "CANCELLED"


async def test_a_run_that_another_process_holds_is_not_deleted(
    database: DatabaseUrl, connection: Connection
) -> None:
    async with running_host(database) as host:
        run_id = await a_run(connection)
        async with lease_run(database, run_id, "elsewhere"):
            with pytest.raises(RunBusy):
                await host.delete(run_id)
        await host.delete(run_id)
        assert await connection.fetchval("SELECT count(*) FROM aexp.runs") == 0


async def test_what_cannot_go_on_keeps_nothing_else_from_it(
    database: DatabaseUrl, connection: Connection
) -> None:
    await requested(connection, "alien", "flows.py:flow", {})
    await requested(connection, "stale", "scope", {"a parameter of long ago": 1}, kills=1)
    await requested(connection, "fine", "scope", {"steps": 1})
    # As while somebody resets the database.
    await connection.execute("ALTER TABLE aexp.runs RENAME TO away")
    with capture_logs() as lines:
        async with running_host(database) as host:
            await eventually(lambda: any(line["event"] == "host.looking_failed" for line in lines))
            await connection.execute("ALTER TABLE aexp.away RENAME TO runs")

            async def has_ended() -> bool:
                return "run.ended" in [one.event for one in await host.journal.read("fine", 0)]

            await eventually(has_ended)
            for run_id in ("alien", "stale"):
                events = await host.journal.read(run_id, 0)
                assert [event.event for event in events] == ["run.requested"]
    given_up = [line["run_id"] for line in lines if line["event"] == "host.run_given_up"]
    assert given_up == ["stale"]


async def test_a_service_whose_host_fails_ends_and_says_why(
    database: DatabaseUrl, monkeypatch: pytest.MonkeyPatch
) -> None:
    serving = anyio.Event()

    async def break_down(_host: Host) -> None:
        await serving.wait()
        raise ZeroDivisionError

    monkeypatch.setattr(Host, "look_after_all", break_down)
    options = ServiceOptions(settings=Settings(), url=database, hosts=None, max_active_runs=1)
    with (
        listen("127.0.0.1", 0) as listening,
        anyio.fail_after(TIMEOUT_S),
        pytest.raises(BaseExceptionGroup) as failed,
    ):
        await serve(
            options,
            {},
            [listening],
            lambda: anyio.from_thread.run_sync(serving.set),
            lambda: pytest.fail("nobody has sent a signal"),
        )
    assert failed.value.subgroup(ZeroDivisionError) is not None


async def test_who_is_asked_to_stop_waits_for_no_database_that_is_away(
    database: DatabaseUrl, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("aexp.database.retry.PATIENCE_S", math.inf)
    monkeypatch.setattr("aexp.runs.host.active_run._LAST_WORDS_S", 0.1)
    run = await get_run(connection, await a_run(connection))
    async with running_host(database) as host:
        # All that is tried with it fails as a connection does.
        await host.pool.close()
        active = ActiveRun(run, KillPlan(0, 0, None))
        with anyio.fail_after(TIMEOUT_S):
            async with anyio.create_task_group() as group:
                group.start_soon(host.driver.drive, active)
                # What it tries before it is asked.
                await anyio.wait_all_tasks_blocked()
                active.stop.ask()
    assert not active.failed
    assert active.steps_begun == 0


async def test_no_more_runs_are_worked_on_than_may_be_however_many_are_resumed_at_once(
    database: DatabaseUrl, connection: Connection
) -> None:
    run_ids = [f"r{number}" for number in range(4)]
    async with running_host(database) as host:
        for run_id in run_ids:
            await begin_run(
                connection, Run(run_id, "scope", "scope", {"pause_s": 3600}, {}, f"run-{run_id}")
            )
            await host.cancel(run_id)
        resumed = []

        async def resume(run_id: str) -> None:
            with suppress(TooManyRuns):
                resumed.append(await host.resume(run_id))

        async with anyio.create_task_group() as group:
            for run_id in run_ids:
                group.start_soon(resume, run_id)
        assert [run.run_id for run in resumed] == list(host.active)
        assert len(resumed) == 1


async def test_only_a_standing_run_is_taken_for_the_newest_of_them(
    database: DatabaseUrl, connection: Connection
) -> None:
    async with running_host(database) as host:
        none = await host.newest("beat-n")
        assert (none.run, none.free) == (None, 1)
        for run_id in ("beat-n9", "beat-n10"):
            await requested(connection, run_id, "of another service", {}, **{STANDING: True})
        # As forks can be called.
        for run_id in ("beat-n11", "beat-n12-1", "beat-n14", "beat-nine"):
            await requested(connection, run_id, "of another service", {})
        newest = await host.newest("beat-n")
        assert newest.run is not None
        assert (newest.run.run_id, newest.goes_on, newest.well) == ("beat-n10", True, False)
        # The first that no run has, nor a child of which could be called like a run.
        assert newest.free == 13
