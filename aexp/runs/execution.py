"""One process's life on a run: hold the run, launch DBOS, see the root workflow end, or drain."""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, closing, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import anyio
import anyio.to_thread
import structlog
from dbos import SetWorkflowID

from aexp.database import DatabaseUrl
from aexp.database.connect import Connection
from aexp.database.retry import is_connection_error
from aexp.durable.schedules import Schedule, apply_schedules, retire
from aexp.engine.recorder.records import Record, StepBegan
from aexp.engine.registry import UNFINISHED, bind, enqueue
from aexp.engine.runtime import ROOT_QUEUE, Queue, Runtime, open_runtime, poll_rarely, remove_queues
from aexp.engine.statuses import UNBEGUN
from aexp.engine.tables.schedules import any_schedule_of
from aexp.engine.tables.workflows import any_of_version, count_claims, status_of
from aexp.engine.tracing import start_span
from aexp.errors import DatabaseUnreachable, RunElsewhere
from aexp.log import bind_process
from aexp.model.run import Run
from aexp.model.scenario import Scenario, scenario_code
from aexp.processes.loop import leave_terminal_clean
from aexp.processes.progress import Progress
from aexp.processes.signals import Stop
from aexp.runs.forks import fork_root
from aexp.runs.leases import has_others, lease_holders, lease_run, session_name, try_lead
from aexp.runs.recordings import Recording, import_recordings
from aexp.runs.standstill import StandstillWatch
from aexp.runs.store import get_run, record_end, record_start
from aexp.settings import Settings

__all__ = ["Outcome", "absent_executors", "execute", "has_ended"]

Outcome = Literal["completed", "interrupted"]

_POLL_S = 0.02
_SLOWEST_POLL_S = 0.1
_OTHERS_LEAVE_S = 2.0

log = structlog.stdlib.get_logger("aexp.runs.execution")


async def execute(
    run: Run,
    scenario: Scenario[Any],
    settings: Settings,
    url: DatabaseUrl,
    progress: Progress,
    stop: Stop,
    *,
    crash_after: int | None = None,
    hosted: bool = False,
    deadline: float | None = None,
    recorded: bool = True,
    observe: Callable[[Record], None] | None = None,
) -> Outcome:
    """Work on ``run`` until all its workflows have ended, or until ``stop`` is asked for.

    Other executors may work on the run at the same time; one of them leads it. A run that has ended
    already is not touched. Raises RunBusy when another process of this executor has the run,
    RunElsewhere when an executor that is not alive has some of its workflows, what the scenario's
    ``check_facts`` raises, DatabaseUnreachable when the database fails for good, and Standstill
    when nothing of the run can move any more: with a ``deadline``, in seconds since the epoch,
    before that.

    A ``hosted`` run is worked on for a host: executors that are away are waited for, and nothing is
    done once nobody hosts it any more. Steps are ``recorded``, unless the caller does it, and
    ``observe`` is told each of their bodies' begins and ends.
    """
    bind_process(run_id=run.run_id, scenario=run.scenario, executor_id=settings.executor_id)
    async with lease_run(url, run.run_id, settings.executor_id) as connection:
        if not await _is_to_be_done(connection, run, settings.executor_id, hosted=hosted):
            return "completed"
        parameters = scenario.validate(run.parameters)
        if scenario.check_facts is not None:
            await scenario.check_facts(parameters, run.facts)
        recording = await _record(run, settings, progress, observe) if recorded else None
        if crash_after is not None:
            progress.observe(partial(_kill_after, progress, crash_after))
        work = _Work(
            run,
            scenario,
            parameters,
            settings,
            url,
            progress,
            connection,
            stop,
            hosted=hosted,
            deadline=deadline,
            recording=recording,
        )
        with nullcontext() if recording is None else closing(recording):
            return await work.do()


async def _record(
    run: Run,
    settings: Settings,
    progress: Progress,
    observe: Callable[[Record], None] | None,
) -> Recording:
    def note(record: Record) -> None:
        if isinstance(record, StepBegan):
            progress.step_began()
        if observe is not None:
            observe(record)

    recording = await anyio.to_thread.run_sync(Recording, settings.home, run.run_id, note)
    recording.start()
    return recording


async def _is_to_be_done(
    connection: Connection, run: Run, executor_id: str, *, hosted: bool
) -> bool:
    """Return whether something of the run is left to do, for who holds it now."""
    with _connected_throughout(run):
        await _close_records_of_the_dead(connection, run.run_id, executor_id)
        await import_recordings(connection, run.run_id)
        if await has_ended(connection, run):
            return False
        if hosted:
            # Cancelled before we held it; who cancels from now on sees that we do.
            return await _is_hosted(connection, run)
        await _refuse_foreign_work(connection, run)
        return True


@contextmanager
def _connected_throughout(run: Run) -> Iterator[None]:
    """Say how to go on when the connection is lost on which we hold the run."""
    try:
        yield
    except Exception as error:
        if not is_connection_error(error):
            raise
        raise DatabaseUnreachable(
            f"the connection to the database was lost: {error};"
            f" nothing is lost: `aexp resume {run.run_id}` goes on"
        ) from error


async def _is_hosted(connection: Connection, run: Run) -> bool:
    hosted: bool | None = await connection.fetchval(
        "SELECT hosted FROM aexp.runs WHERE run_id = $1", run.run_id
    )
    return bool(hosted)


async def _close_records_of_the_dead(connection: Connection, run_id: str, executor: str) -> None:
    # We hold the executor's lock, so none of these lives, and nobody saw how they ended.
    await connection.execute(
        "UPDATE aexp.processes SET ended = 'vanished'"
        " WHERE run_id = $1 AND executor_id = $2 AND ended IS NULL",
        run_id,
        executor,
    )


async def _refuse_foreign_work(connection: Connection, run: Run) -> None:
    # DBOS recovers what is PENDING under its own executor id and leaves the rest for ever.
    absent = await absent_executors(connection, run)
    if absent:
        first = max(absent, key=lambda name: absent[name])
        raise RunElsewhere(run.run_id, first, absent[first])


async def absent_executors(connection: Connection, run: Run) -> dict[str, int]:
    """Count the run's workflows that are claimed by executors that do not work on it now.

    Each goes on when its executor does, or when somebody hands it over.
    """
    claimed = await count_claims(connection, run.application_version)
    if not claimed:
        return {}
    present = await lease_holders(connection, run.run_id, claimed)
    return {name: n for name, n in claimed.items() if name not in present}


async def has_ended(connection: Connection, run: Run) -> bool:
    """Return whether the root workflow has ended, all others of the run, and its schedules."""
    return await _root_has_ended(connection, run) and not await connection.fetchval(
        # A process that was killed before it removed schedules has left something to do.
        f"SELECT {any_of_version('$1', '$2::text[]')} OR {any_schedule_of('$3')}",
        run.application_version,
        UNFINISHED,
        f".{run.run_id}",
    )


async def _root_has_begun(connection: Connection, run: Run) -> bool:
    return await status_of(connection, run.run_id) not in {None, *UNBEGUN}


async def _root_has_ended(connection: Connection, run: Run) -> bool:
    return await status_of(connection, run.run_id) not in {None, *UNFINISHED}


@dataclass(frozen=True, slots=True)
class _Work:
    """What one process does on a run that it holds."""

    run: Run
    scenario: Scenario[Any]
    parameters: Any
    settings: Settings
    url: DatabaseUrl
    progress: Progress
    connection: Connection
    stop: Stop
    hosted: bool
    deadline: float | None
    recording: Recording | None

    async def do(self) -> Outcome:
        """Run to the end, and record how this process began and ended."""
        with _connected_throughout(self.run):
            path = self.recording.path if self.recording is not None else None
            await record_start(
                self.connection,
                self.run.run_id,
                self.settings.executor_id,
                str(path) if path is not None else None,
            )
        try:
            outcome = await self.run_to_end()
        except DatabaseUnreachable:
            # Nothing can be recorded any more; the next process will note that this one vanished.
            raise
        except BaseException:
            with _connected_throughout(self.run):
                await self.record_end("failed")
            raise
        with _connected_throughout(self.run):
            await self.record_end(outcome)
        return outcome

    async def run_to_end(self) -> Outcome:
        """Launch DBOS, start the root workflow, and see everything end, or drain."""
        schedules = self.scenario.schedules(self.parameters)
        # Ticks are made up for and retired by one process alone, so the others only stand by.
        if schedules and not await self._await(self._leads_or_has_ended):
            return "interrupted"
        async with open_runtime(
            self.settings,
            self.url,
            scope=self.run.run_id,
            session_name=session_name(self.run.run_id, self.settings.executor_id),
            queues=[Queue(name=ROOT_QUEUE), *self.scenario.queues(self.parameters)],
            listen_to_all=self.scenario.listens_to_all_queues,
            own_application=bool(schedules),
            declared=self.scenario.declared,
            progress=self.progress,
            resources=self._resources,
        ) as runtime:
            if not await self._see_to_end(runtime, schedules):
                await runtime.drain()
                return "interrupted"
            return "completed"

    async def _see_to_end(self, runtime: Runtime, schedules: Sequence[Schedule]) -> bool:
        """Serve the run's queues until all has ended, and lead the run if nobody else does; False
        when a stop was asked for before.
        """
        if not await self._await(self._leads_or_has_ended):
            return False
        with _connected_throughout(self.run):
            if await has_ended(self.connection, self.run):
                # Another executor led it to its end, and we may have registered its queues since.
                await remove_queues(runtime)
                return True
            # It may have been deleted since we read it, while nobody led it.
            await get_run(self.connection, self.run.run_id)
        await apply_schedules(runtime, schedules, self.stop.asked)
        await self._start(runtime)
        watch = None
        if not self.hosted:
            watch = StandstillWatch(runtime, self.connection, self.run, self.deadline)
        if not await self._await(_root_has_begun, watch):
            return False
        with _connected_throughout(self.run):
            if not await _root_has_ended(self.connection, self.run):
                await poll_rarely(runtime, ROOT_QUEUE)
        if not await self._await(_root_has_ended, watch):
            return False
        await retire(runtime, schedules)
        # What the root started and did not wait for belongs to the run too.
        if not await self._await(has_ended, watch):
            return False
        await remove_queues(runtime)
        await self._await_others_gone()
        log.info("run.ended")
        return True

    async def _await_others_gone(self) -> None:
        """Return when the other executors have left the run, or after a moment: what they record at
        their end belongs to its account.
        """
        with _connected_throughout(self.run), anyio.move_on_after(_OTHERS_LEAVE_S):
            while await has_others(self.connection, self.run.run_id, self.settings.executor_id):
                await anyio.sleep(_POLL_S)

    async def _leads_or_has_ended(self, connection: Connection, run: Run) -> bool:
        # Who leads already may ask again.
        return await try_lead(connection, run.run_id) or await has_ended(connection, run)

    async def record_end(self, ended: Outcome | Literal["failed"]) -> None:
        """Record how this process ended, even if this task is being cancelled."""
        with anyio.CancelScope(shield=True):
            if self.recording is not None:
                self.recording.close()
                await import_recordings(self.connection, self.run.run_id)
            await record_end(
                self.connection,
                self.run.run_id,
                self.settings.executor_id,
                os.getpid(),
                ended,
                self.progress.snapshot().memory,
            )

    async def _resources(self, runtime: Runtime) -> AsyncIterator[None]:
        if self.scenario.reached is not None:
            with scenario_code(self.scenario, "reached"):
                found = await self.scenario.reached(self.connection, self.run)
            self.progress.begin(total=found.total, done=found.done)
        if self.scenario.resources is None:
            yield
            return
        opened = asynccontextmanager(self.scenario.resources)(runtime, self.run)
        with scenario_code(self.scenario, "resources"):
            await opened.__aenter__()
        try:
            yield
        finally:
            with scenario_code(self.scenario, "resources"):
                await opened.__aexit__(None, None, None)

    async def _start(self, runtime: Runtime) -> None:
        await fork_root(runtime, self.connection, self.run)
        arguments = self.scenario.arguments(self.parameters)
        positional, named = bind(self.scenario.workflow, arguments)
        with SetWorkflowID(self.run.run_id), start_span(self.run.run_id):
            await enqueue(runtime.queue_name(ROOT_QUEUE), self.scenario.workflow, positional, named)
        log.info("run.started", parameters=dict(self.run.parameters))

    async def _await(
        self,
        condition: Callable[[Connection, Run], Awaitable[bool]],
        watch: StandstillWatch | None = None,
    ) -> bool:
        """Wait until ``condition`` is true; return False when a stop was asked for before.

        Raises Standstill when ``watch`` sees that it never will be.
        """
        interval = _POLL_S
        with _connected_throughout(self.run):
            while not await condition(self.connection, self.run):
                with anyio.move_on_after(interval):
                    await self.stop.event.wait()
                    return False
                if watch is not None:
                    await watch.look()
                interval = min(interval * 1.1, _SLOWEST_POLL_S)
        return True


def _kill_after(progress: Progress, units: int) -> None:
    """Kill this very process (SIGKILL) once it has done so many units itself."""
    if progress.own >= units:
        log.warning("run.killing_itself", after=progress.own)
        leave_terminal_clean()
        os.kill(os.getpid(), signal.SIGKILL)
