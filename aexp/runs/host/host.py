"""The runs of a service: begun, gone on with, cancelled, resumed and deleted."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import anyio
import anyio.abc
import asyncpg
import structlog
from dbos import DBOSClient

from aexp.database import DatabaseUrl
from aexp.database.connect import borrowed
from aexp.engine.registry import UNFINISHED
from aexp.engine.runtime import application_version
from aexp.errors import AexpError, DatabaseError, RunActive, RunEnded, TooManyRuns, UnknownScenario
from aexp.model.run import Run
from aexp.model.run_ids import check_run_id, new_run_id
from aexp.model.scenario import Scenario, scenario_code
from aexp.processes.progress import Reached
from aexp.runs.host.active_run import ActiveRun, RunDriver
from aexp.runs.host.events import Journal
from aexp.runs.host.executors import Serves
from aexp.runs.host.forks import plan_fork, refuse_when_needed
from aexp.runs.host.hosted_run import HostedRuns
from aexp.runs.host.periodic import repeat
from aexp.runs.host.progress import RunCounts
from aexp.runs.host.records import STANDING, Newest, Records
from aexp.runs.kill_plan import KillPlan
from aexp.runs.leases import lease_exclusively
from aexp.runs.run_processes import RunProcesses
from aexp.settings import Settings

__all__ = ["Host"]

# An executor elsewhere sees within a moment that a run was cancelled.
_LET_GO_S = 10.0
_POLL_S = 0.05
# What DBOS can be told to go on with.
_STOPPED = ("CANCELLED", "MAX_RECOVERY_ATTEMPTS_EXCEEDED")

log = structlog.stdlib.get_logger("aexp.runs.host")


class Host:
    """The runs of a service. Made by :func:`aexp.runs.host.open_host`."""

    def __init__(
        self,
        settings: Settings,
        url: DatabaseUrl,
        pool: asyncpg.Pool[asyncpg.Record],
        client: DBOSClient,
        processes: RunProcesses,
        group: anyio.abc.TaskGroup,
        scenarios: Mapping[str, Scenario[Any]],
        max_active_runs: int,
        serves: Serves,
    ) -> None:
        self.url = url
        self.pool = pool
        self.scenarios = scenarios
        self.max_active_runs = max_active_runs
        self.journal = Journal(pool)
        self.counts = RunCounts(pool, scenarios)
        self.driver = RunDriver(settings, url, pool, self.journal, self.counts, processes, serves)
        self._records = Records(url, pool, client)
        self._group = group
        self._serves = serves
        self._runs = HostedRuns(max_active_runs)
        self._starting = anyio.Lock()

    @property
    def active(self) -> Sequence[str]:
        """Ids of the runs that are being worked on."""
        return [active.run.run_id for active in self._runs.active]

    def is_settled(self, run_id: str) -> bool:
        """Return whether this service neither works on the run nor is about to change it."""
        hosted = self._runs.find(run_id)
        return hosted.active is None and not hosted.controlled

    def progress(self, run_id: str) -> Reached | None:
        """Return how far a run has come that is worked on here; None when that is not known."""
        active = self._runs.find(run_id).active
        return active.reached if active is not None else None

    async def start(
        self,
        name: str,
        parameters: Mapping[str, Any],
        *,
        run_id: str | None = None,
        kills: int = 0,
        seed: int = 0,
        standing: bool = False,
    ) -> tuple[Run, bool]:
        """Begin a run of the scenario ``name``; return it, and whether it is new.

        With the ``run_id`` of a run that was begun with the same parameters it is that one, however
        many are being worked on; one that has not ended and is not worked on goes on. ``kills`` are
        as with ``aexp run``. A ``standing`` run is not counted among the active ones, and hosts
        that have no such run leave it.

        Raises UnknownScenario, InvalidParameter, BadInput, RunMismatch, TooManyRuns, and
        UsageError when ``run_id`` cannot be one.
        """
        scenario = self.scenarios.get(name)
        if scenario is None:
            # Never a path: who may send a request may not run code of their own.
            raise UnknownScenario(name, ())
        model = scenario.validate(parameters)
        run_id = check_run_id(run_id or new_run_id(scenario.name))
        if standing:
            self._runs.stand(run_id)
        known = await self._records.find(run_id)
        if known is None:
            # Before the facts, which may take long to note.
            self._refuse_when_full(run_id)
            with scenario_code(scenario, "facts"):
                facts = await scenario.facts(model)
        else:
            # The input may be gone by now.
            facts = known.facts
        wanted = Run(
            run_id=run_id,
            scenario=scenario.name,
            target=name,
            parameters=model.model_dump(mode="json"),
            facts=facts,
            application_version=application_version(run_id),
        )
        asked = {"kills": kills, "seed": seed}
        return await self._begin(wanted, {**asked, STANDING: True} if standing else asked)

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
            # Who asks again is told of the run, which goes on when there is a place for it.
            if self._runs.is_full(run_id) and await self._records.find(run_id) is None:
                raise TooManyRuns(self.max_active_runs)
            with self._runs.expecting(run_id):
                begun, fresh, ended = await self._records.record(wanted, asked)
                plan = await self._plan(begun)
                # Somebody may have taken it from us in the meantime.
                if not ended and not self._runs.find(run_id).controlled:
                    self._go_on(begun, plan)
        if fresh:
            log.info("host.run_requested", run_id=run_id, scenario=begun.scenario, **asked)
        return begun, fresh

    def _refuse_when_full(self, run_id: str) -> None:
        if self._runs.is_full(run_id):
            raise TooManyRuns(self.max_active_runs)

    def _go_on(self, run: Run, plan: KillPlan) -> None:
        """Work on the run, unless somebody took its place meanwhile: it is looked after then."""
        active = ActiveRun(run, plan)
        if self._runs.begin(active):
            self._group.start_soon(self._drive, active)

    async def _drive(self, active: ActiveRun) -> None:
        try:
            await self.driver.drive(active)
        finally:
            self._runs.end(active)
            active.ended.set()
            self.journal.tell(active.run.run_id)

    async def _plan(self, run: Run) -> KillPlan:
        """Plan the kills that are still to land, whichever service was asked for them."""
        asked = await self.journal.kills(run.run_id)
        scenario = self.scenarios.get(run.target)
        if asked is None or scenario is None or self._serves == "worker":
            return KillPlan(0, 0, None)
        parameters = scenario.validate(run.parameters)
        with scenario_code(scenario, "steps"):
            steps = scenario.steps(parameters, run.facts)
        return KillPlan(asked["asked"], asked["seed"], steps, asked["landed"])

    async def look_after_all(self) -> None:
        """Go on with hosted runs that have not ended, as many as there is room for, until
        cancelled.

        They were begun here before, or by another service on the same database.
        """
        await repeat(self._look_after_some, "host.looking_failed")

    async def _look_after_some(self) -> None:
        room = self._runs.room
        if room <= 0:
            return
        known = self._runs.in_hand
        # A worker knows no scenarios, but goes on with whatever services began.
        targets = list(self.scenarios) if self._serves == "service" else None
        for run in await self._records.unfinished(room, known, targets):
            try:
                plan = await self._plan(run)
            except AexpError as error:
                if isinstance(error, DatabaseError):
                    raise
                # Its scenario no longer takes its parameters. The others are to go on.
                self._runs.give_up(run.run_id)
                log.warning("host.run_given_up", run_id=run.run_id, error=str(error))
                continue
            # Somebody may have taken it from us in the meantime.
            if not self._runs.find(run.run_id).controlled:
                self._go_on(run, plan)

    async def newest(self, stem: str) -> Newest:
        """Return the newest run whose id is ``stem`` and a number.

        One that failed here does not go on.
        """
        found = await self._records.newest(stem)
        if found.run is not None and self._runs.find(found.run.run_id).given_up:
            return replace(found, goes_on=False)
        return found

    async def wait(self, run_id: str) -> None:
        """Return when nobody works on the run any more: it has ended, failed or been stopped."""
        active = self._runs.find(run_id).active
        if active is not None:
            await active.ended.wait()

    async def stop(self, run_id: str) -> None:
        """Take the run from its process, which drains; nothing is recorded as failed."""
        active = self._runs.find(run_id).active
        if active is not None:
            active.stop.ask()
            await active.ended.wait()

    def kill(self) -> None:
        """Kill every worker process: this process is about to end."""
        for active in self._runs.active:
            if active.supervisor is not None:
                active.supervisor.kill()

    async def cancel(self, run_id: str) -> None:
        """Cancel all workflows of the run that have not ended.

        Raises UnknownRun, RunEnded, and RunActive while it is being changed already.
        """
        with self._controlling(run_id):
            run = await self._records.run(run_id)
            await self.stop(run_id)
            if await self._records.has_ended(run):
                raise RunEnded(run_id)
            # Nobody joins it any more. One that has no workflow yet has no status that says so.
            await self._records.set_hosted(run_id, hosted=False)
            found = await self._cancel_all(run)
            # DBOS takes them from their queues; who resumes them must know where they belong.
            queues = {row["name"]: row["queue_name"] for row in found if row["queue_name"]}
            cancelled = {"workflows": len(found), "queues": queues}
            await self.journal.write(run_id, "run.cancelled", cancelled)
        log.info("host.run_cancelled", run_id=run_id, workflows=len(found))

    async def _cancel_all(self, run: Run) -> Collection[asyncpg.Record]:
        """Cancel whatever the run has unfinished, until no executor elsewhere could start more."""
        found: dict[str, asyncpg.Record] = {}
        with anyio.move_on_after(_LET_GO_S):
            while True:
                # Asked before: who has let go has started all that it will.
                held = await self._records.is_leased(run.run_id)
                unfinished = await self._records.workflows(run, UNFINISHED)
                found |= {row["workflow_id"]: row for row in unfinished}
                await self._records.cancel(unfinished)
                if not held:
                    break
                await anyio.sleep(_POLL_S)
        return found.values()

    async def resume(self, run_id: str) -> Run:
        """Go on with a run that was cancelled, interrupted or dead-lettered.

        Raises UnknownRun, UnknownScenario, RunActive when it is worked on already, RunEnded when it
        ended in order, TooManyRuns, and RunBusy while another service resumes it.
        """
        with self._controlling(run_id):
            run = await self._records.run(run_id)
            if run.target not in self.scenarios:
                # Code of somebody's own, which only `aexp run` takes.
                raise UnknownScenario(run.target, ())
            if self._runs.find(run_id).active is not None or await self._records.is_leased(run_id):
                raise RunActive(run_id)
            self._refuse_when_full(run_id)
            with self._runs.expecting(run_id):
                plan = await self._plan(run)
                # Nobody else may resume it meanwhile: what they have claimed would be taken from
                # them.
                async with lease_exclusively(self.url, run_id):
                    stopped = await self._records.workflows(run, _STOPPED)
                    if not stopped and await self._records.has_ended(run):
                        raise RunEnded(run_id)
                    await self._records.enqueue_again(stopped, await self.journal.queues(run_id))
                    await self._records.set_hosted(run_id, hosted=True)
                    await self.journal.write(run_id, "run.resumed", {"workflows": len(stopped)})
                self._go_on(run, plan)
        log.info("host.run_resumed", run_id=run_id, workflows=len(stopped))
        return run

    async def delete(self, run_id: str) -> None:
        """Delete a run with its workflows and whatever is recorded of it.

        Raises UnknownRun, RunActive while this service works on it, RunBusy while another does,
        RunUnfinished while a fork of it has not ended.
        """
        with self._controlling(run_id):
            run = await self._records.run(run_id)
            if self._runs.find(run_id).active is not None:
                raise RunActive(run_id)
            async with lease_exclusively(self.url, run_id) as connection:
                await refuse_when_needed(connection, run_id)
                workflows = await self._records.delete(run)
        log.info("host.run_deleted", run_id=run_id, workflows=workflows)

    @contextmanager
    def _controlling(self, run_id: str) -> Iterator[None]:
        """Keep all others of this service from changing the run in this context."""
        with self._runs.controlling(run_id):
            try:
                yield
            finally:
                self.journal.tell(run_id)
