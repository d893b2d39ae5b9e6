"""The runs of a service: begun, gone on with, cancelled, resumed and deleted."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import anyio
import anyio.abc
import anyio.to_thread
import asyncpg
import structlog
from dbos import DBOSClient

from aexp.database import DatabaseUrl
from aexp.database.connect import borrowed, connected, open_database, psycopg_engine
from aexp.errors import RunActive, RunEnded, RunMismatch, TooManyRuns, UnknownScenario
from aexp.execution import has_ended
from aexp.hosting.care import Care, Carer
from aexp.hosting.forks import plan_fork, refuse_when_needed
from aexp.hosting.journal import Journal
from aexp.progress import Snapshot
from aexp.registration import UNFINISHED
from aexp.runs import Run, begin_run, exclusive, get_run, is_held, new_run_id
from aexp.runtime import application_version
from aexp.scenario import Scenario, scenario_code
from aexp.settings import Settings
from aexp.supervisor import KillPlan

__all__ = ["Host", "open_host"]

POOL_SIZE = 16
# Ids to a statement of DBOS's, which takes 65,535 at most.
_IDS_AT_A_TIME = 5_000
# What DBOS can be told to go on with.
_STOPPED = ("CANCELLED", "MAX_RECOVERY_ATTEMPTS_EXCEEDED")
_TABLES = ("publications", "ledger", "events", "counters", "objects", "runs")

log = structlog.stdlib.get_logger("aexp.hosting")


class Host:
    """The runs of a service. Made by :func:`open_host`."""

    def __init__(
        self,
        settings: Settings,
        url: DatabaseUrl,
        pool: asyncpg.Pool[asyncpg.Record],
        client: DBOSClient,
        group: anyio.abc.TaskGroup,
        scenarios: Mapping[str, Scenario[Any]],
        max_active_runs: int,
    ) -> None:
        self.url = url
        self.pool = pool
        self.scenarios = scenarios
        self.max_active_runs = max_active_runs
        self.journal = Journal(pool)
        self.carer = Carer(settings, url, pool, self.journal)
        self._client = client
        self._group = group
        self._cared_for: dict[str, Care] = {}
        self._controlled: set[str] = set()
        self._starting = anyio.Lock()

    @property
    def active(self) -> Sequence[str]:
        """Ids of the runs that are being worked on."""
        return list(self._cared_for)

    def is_settled(self, run_id: str) -> bool:
        """Whether this service neither works on the run nor is about to change it."""
        return run_id not in self._cared_for and run_id not in self._controlled

    def progress(self, run_id: str) -> tuple[Snapshot, int] | None:
        """How far a run has come that is being worked on, and its kills; None for others."""
        care = self._cared_for.get(run_id)
        return (care.snapshot, care.plan.landed) if care is not None else None

    async def start(
        self,
        name: str,
        parameters: Mapping[str, Any],
        *,
        run_id: str | None = None,
        kills: int = 0,
        seed: int = 0,
    ) -> tuple[Run, bool]:
        """Begin a run of the scenario ``name``, and whether it is new.

        With the ``run_id`` of a run that was begun with the same parameters it is that one; one
        that has not ended and is not worked on goes on. ``kills`` are as with ``aexp run``.
        Raises UnknownScenario, InvalidParameter, BadInput, RunMismatch, TooManyRuns.
        """
        scenario = self.scenarios.get(name)
        if scenario is None:
            # Never a path: who may send a request may not run code of their own.
            raise UnknownScenario(name, ())
        model = scenario.validate(parameters)
        run_id = run_id or new_run_id(scenario.name)
        # Before the facts, which may take long to note.
        self._refuse_when_full(run_id)
        with scenario_code(scenario, "facts"):
            facts = await scenario.facts(model)
        wanted = Run(
            run_id=run_id,
            scenario=scenario.name,
            target=name,
            parameters=model.model_dump(mode="json"),
            facts=facts,
            application_version=application_version(run_id),
        )
        return await self._begin(wanted, {"kills": kills, "seed": seed})

    async def fork(self, run_id: str, start_step: int, *, new_id: str | None = None) -> Run:
        """Begin a fork of a run that has ended, which does its steps anew from ``start_step`` on.

        With the ``new_id`` of a fork that was begun in the same way it is that one. Raises
        UnknownRun, UnknownScenario, RunUnfinished, ForkRefused, RunMismatch, TooManyRuns.
        """
        async with borrowed(self.pool) as connection:
            wanted = await plan_fork(connection, self.scenarios, run_id, start_step, new_id)
        begun, _ = await self._begin(wanted, {"kills": 0, "seed": 0})
        return begun

    async def _begin(self, wanted: Run, asked: Mapping[str, int]) -> tuple[Run, bool]:
        """Record the run and work on it, unless it has ended; and whether it is new."""
        run_id = wanted.run_id
        async with self._starting:
            self._refuse_when_full(run_id)
            begun, fresh, ended = await self._record(wanted, asked)
            if not ended and run_id not in self._controlled:
                self._go_on(begun, await self._plan(begun))
        if fresh:
            log.info("hosting.run_requested", run_id=run_id, scenario=begun.scenario, **asked)
        return begun, fresh

    async def _record(self, wanted: Run, asked: Mapping[str, int]) -> tuple[Run, bool, bool]:
        """The run as it is recorded, whether it is new here, and whether it has ended.

        Raises RunMismatch when it was asked for otherwise.
        """
        async with connected(self.url) as connection, connection.transaction():
            begun = await begin_run(connection, wanted)
            fresh = bool(
                await connection.fetchval(
                    "UPDATE aexp.runs SET hosted = true WHERE run_id = $1 AND NOT hosted"
                    # One that was cancelled before it had a workflow waits to be resumed.
                    " AND NOT EXISTS (SELECT FROM aexp.run_events"
                    "  WHERE run_events.run_id = $1 AND event = 'run.cancelled') RETURNING true",
                    wanted.run_id,
                )
            )
            first = await connection.fetchval(
                "INSERT INTO aexp.run_events (run_id, seq, event, data)"
                " VALUES ($1, 1, 'run.requested', $2)"
                " ON CONFLICT (run_id, seq) DO UPDATE SET seq = 1 RETURNING data",
                wanted.run_id,
                asked,
            )
            known = {"forked_from": begun.forked_from, "fork_step": begun.fork_step, **first}
            given = {"forked_from": wanted.forked_from, "fork_step": wanted.fork_step, **asked}
            differences = [
                f"{name}={known[name]}, not {value}"
                for name, value in given.items()
                if known.get(name, value) != value
            ]
            if differences:
                raise RunMismatch(wanted.run_id, differences)
            hosted = await connection.fetchval(
                "SELECT hosted FROM aexp.runs WHERE run_id = $1", wanted.run_id
            )
            return begun, fresh, not hosted or await has_ended(connection, begun)

    def _refuse_when_full(self, run_id: str) -> None:
        if run_id not in self._cared_for and len(self._cared_for) >= self.max_active_runs:
            raise TooManyRuns(self.max_active_runs)

    def _go_on(self, run: Run, plan: KillPlan) -> None:
        if run.run_id not in self._cared_for:
            care = self._cared_for[run.run_id] = Care(run, plan)
            self._group.start_soon(self._care_for, care)

    async def _care_for(self, care: Care) -> None:
        run_id = care.run.run_id
        try:
            await self.carer.see_to(care)
        finally:
            del self._cared_for[run_id]
            care.ended.set()
            self.journal.tell(run_id)

    async def _plan(self, run: Run) -> KillPlan:
        """The kills that are still to land, whichever service was asked for them."""
        asked = await self.journal.kills(run.run_id)
        scenario = self.scenarios.get(run.target)
        if asked is None or scenario is None:
            return KillPlan(0, 0, None)
        steps = scenario.steps(scenario.validate(run.parameters), run.facts)
        return KillPlan(asked["asked"], asked["seed"], steps, asked["landed"])

    async def go_on_with_all(self) -> int:
        """Go on with every hosted run that has not ended; how many these are."""
        rows = await self.pool.fetch(
            "SELECT run_id FROM aexp.runs LEFT JOIN dbos.workflow_status ON workflow_uuid = run_id"
            " WHERE hosted AND (status IS NULL OR EXISTS (SELECT FROM dbos.workflow_status AS any_"
            "  WHERE any_.application_version = runs.application_version"
            "  AND any_.status = ANY($1::text[]))) ORDER BY runs.created_at",
            UNFINISHED,
        )
        for row in rows:
            run = await self._run(row["run_id"])
            self._go_on(run, await self._plan(run))
        return len(rows)

    async def wait(self, run_id: str) -> None:
        """Return when nobody works on the run any more: it has ended, failed or been stopped."""
        care = self._cared_for.get(run_id)
        if care is not None:
            await care.ended.wait()

    async def stop(self, run_id: str) -> None:
        """Take the run from its process, which drains; nothing is recorded as failed."""
        care = self._cared_for.get(run_id)
        if care is not None:
            care.stop.ask()
            await care.ended.wait()

    def kill(self) -> None:
        """Kill every worker process: this process is about to end."""
        for care in self._cared_for.values():
            if care.supervisor is not None:
                care.supervisor.kill()

    async def cancel(self, run_id: str) -> None:
        """Cancel all workflows of the run that have not ended.

        Raises UnknownRun, RunEnded, and RunActive while it is being changed already.
        """
        with self._controlling(run_id):
            run = await self._run(run_id)
            await self.stop(run_id)
            unfinished = await self._workflows(run, UNFINISHED)
            if not unfinished and await self._workflows(run, None):
                raise RunEnded(run_id)
            # DBOS takes them from their queues; who resumes them must know where they belong.
            queues = {row["name"]: row["queue_name"] for row in unfinished if row["queue_name"]}
            for ids in _batches([row["workflow_uuid"] for row in unfinished]):
                await self._client.cancel_workflows_async(ids)
            # One that has no workflow yet has no status that says so either.
            await self.pool.execute("UPDATE aexp.runs SET hosted = false WHERE run_id = $1", run_id)
            cancelled = {"workflows": len(unfinished), "queues": queues}
            await self.journal.write(run_id, "run.cancelled", cancelled)
        log.info("hosting.run_cancelled", run_id=run_id, workflows=len(unfinished))

    async def resume(self, run_id: str) -> Run:
        """Go on with a run that was cancelled, interrupted or dead-lettered.

        Raises UnknownRun, RunActive when it is worked on already, RunEnded when it ended in order,
        TooManyRuns.
        """
        with self._controlling(run_id):
            run = await self._run(run_id)
            if run_id in self._cared_for or await self._is_held(run_id):
                raise RunActive(run_id)
            self._refuse_when_full(run_id)
            stopped = await self._workflows(run, _STOPPED)
            if not stopped and await self._has_ended(run):
                raise RunEnded(run_id)
            await self._enqueue_again(run_id, stopped)
            await self.pool.execute("UPDATE aexp.runs SET hosted = true WHERE run_id = $1", run_id)
            await self.journal.write(run_id, "run.resumed", {"workflows": len(stopped)})
            self._go_on(run, await self._plan(run))
        log.info("hosting.run_resumed", run_id=run_id, workflows=len(stopped))
        return run

    async def _enqueue_again(self, run_id: str, stopped: Sequence[asyncpg.Record]) -> None:
        """Put ``stopped`` workflows back where they were, so that the queues' limits hold."""
        known = await self.journal.queues(run_id)
        by_queue: dict[str | None, list[str]] = {}
        for row in stopped:
            queue = row["queue_name"] or known.get(row["name"])
            by_queue.setdefault(queue, []).append(row["workflow_uuid"])
        for queue, workflows in by_queue.items():
            for ids in _batches(workflows):
                await self._client.resume_workflows_async(ids, queue_name=queue)

    async def delete(self, run_id: str) -> None:
        """Delete a run with its workflows and whatever is recorded of it.

        Raises UnknownRun, RunActive while this service works on it, RunBusy while another does,
        RunUnfinished while a fork of it has not ended.
        """
        with self._controlling(run_id):
            run = await self._run(run_id)
            if run_id in self._cared_for:
                raise RunActive(run_id)
            async with exclusive(self.url, run_id) as connection:
                await refuse_when_needed(connection, run_id)
                workflows = await self._workflows(run, None)
                for ids in _batches([row["workflow_uuid"] for row in workflows]):
                    await self._client.delete_workflows_async(ids)
                await self._delete_rows(run_id)
        log.info("hosting.run_deleted", run_id=run_id, workflows=len(workflows))

    async def _delete_rows(self, run_id: str) -> None:
        async with borrowed(self.pool) as connection, connection.transaction():
            # What a run that ended in order has removed itself.
            for table, name in (("workflow_schedules", "schedule_name"), ("queues", "name")):
                await connection.execute(
                    f"DELETE FROM dbos.{table} WHERE right({name}, length($1)) = $1",  # noqa: S608
                    f".{run_id}",
                )
            # The run itself last, and its processes and events with it.
            for table in _TABLES:
                await connection.execute(
                    f"DELETE FROM aexp.{table} WHERE run_id = $1",  # noqa: S608 - our own tables
                    run_id,
                )

    @contextmanager
    def _controlling(self, run_id: str) -> Iterator[None]:
        """Nobody else of this service changes the run in this context."""
        if run_id in self._controlled:
            raise RunActive(run_id)
        self._controlled.add(run_id)
        try:
            yield
        finally:
            self._controlled.discard(run_id)
            self.journal.tell(run_id)

    async def _run(self, run_id: str) -> Run:
        async with borrowed(self.pool) as connection:
            return await get_run(connection, run_id)

    async def _has_ended(self, run: Run) -> bool:
        async with borrowed(self.pool) as connection:
            return await has_ended(connection, run)

    async def _is_held(self, run_id: str) -> bool:
        async with borrowed(self.pool) as connection:
            return await is_held(connection, run_id)

    async def _workflows(
        self, run: Run, statuses: Sequence[str] | None
    ) -> Sequence[asyncpg.Record]:
        return await self.pool.fetch(
            "SELECT workflow_uuid, name, queue_name FROM dbos.workflow_status"
            " WHERE application_version = $1 AND ($2::text[] IS NULL OR status = ANY($2::text[]))",
            run.application_version,
            statuses,
        )


def _batches(ids: Sequence[str]) -> Iterator[list[str]]:
    for first in range(0, len(ids), _IDS_AT_A_TIME):
        yield list(ids[first : first + _IDS_AT_A_TIME])


@asynccontextmanager
async def open_host(
    settings: Settings,
    url: DatabaseUrl,
    *,
    scenarios: Mapping[str, Scenario[Any]],
    max_active_runs: int,
) -> AsyncIterator[Host]:
    """Host runs of ``scenarios`` for the life of the context; at its end their processes drain.

    Goes on with the runs that were hosted before and have not ended. Needs a migrated database.
    """
    engine = psycopg_engine(url, pool_size=2, pool_pre_ping=True)
    try:
        async with (
            open_database(url, application_name="aexp host", pool_size=POOL_SIZE) as database,
            anyio.create_task_group() as group,
        ):
            client = DBOSClient(
                system_database_engine=engine, lazy=True, retry_connection_errors=False
            )
            host = Host(settings, url, database.pool, client, group, scenarios, max_active_runs)
            await host.go_on_with_all()
            try:
                yield host
            finally:
                with anyio.CancelScope(shield=True):
                    async with anyio.create_task_group() as stopping:
                        for run_id in host.active:
                            stopping.start_soon(host.stop, run_id)
    finally:
        await anyio.to_thread.run_sync(engine.dispose)
