"""One process's life on a run: hold the run, launch DBOS, see the root workflow end, or drain."""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Literal, TypeVar

import anyio
import asyncpg
import structlog
from dbos import DBOS, SetWorkflowID

from aexp.database import DatabaseUrl
from aexp.database.connect import Connection
from aexp.errors import DatabaseUnreachable
from aexp.log import bind_process
from aexp.progress import Progress
from aexp.runs import (
    Run,
    application_name,
    exclusive,
    record_end,
    record_start,
)
from aexp.runtime import ROOT_QUEUE, Runtime, open_runtime, remove_schedules
from aexp.scenario import Scenario
from aexp.settings import Settings

__all__ = ["Outcome", "execute", "run_on_loop"]

R = TypeVar("R")
Outcome = Literal["completed", "interrupted"]

_POLL_S = 0.02
_SLOWEST_POLL_S = 0.1
_UNFINISHED = ["PENDING", "ENQUEUED", "DELAYED"]

log = structlog.stdlib.get_logger("aexp.execution")


def run_on_loop(
    loop: Literal["uvloop", "asyncio"], main: Callable[[], Coroutine[Any, Any, R]]
) -> R:
    """Run ``main`` to its end on a new event loop of this kind."""
    return anyio.run(main, backend="asyncio", backend_options={"use_uvloop": loop == "uvloop"})


async def execute(
    run: Run,
    scenario: Scenario[Any],
    settings: Settings,
    url: DatabaseUrl,
    progress: Progress,
    *,
    crash_after: int | None = None,
) -> Outcome:
    """Work on ``run`` until all its workflows have ended, or until a signal asks to stop.

    A run that has ended already is not touched. Raises RunBusy when another process has the run,
    DatabaseError when the database fails for good.
    """
    bind_process(run_id=run.run_id, scenario=run.scenario, executor_id=settings.executor_id)
    async with exclusive(url, run.run_id, settings.executor_id) as connection:
        await _close_records_of_the_dead(connection, run.run_id, settings.executor_id)
        if await _has_ended(connection, run):
            return "completed"
        await record_start(connection, run.run_id, settings.executor_id)
        if crash_after is not None:
            progress.observe(partial(_kill_after, progress, crash_after))
        try:
            outcome = await _work(run, scenario, settings, url, progress, connection)
        except DatabaseUnreachable:
            # Nothing can be recorded any more; the next process will note that this one vanished.
            raise
        except BaseException:
            await _record_end(connection, run, progress, "failed")
            raise
        await _record_end(connection, run, progress, outcome)
        return outcome


async def _record_end(
    connection: Connection, run: Run, progress: Progress, ended: Outcome | Literal["failed"]
) -> None:
    # Shielded: how it ended is recorded even if this task is being cancelled.
    with anyio.CancelScope(shield=True):
        await record_end(connection, run.run_id, os.getpid(), ended, progress.snapshot().memory)


async def _close_records_of_the_dead(connection: Connection, run_id: str, executor: str) -> None:
    # We hold the lock, so none of these lives, and nobody saw how they ended.
    await connection.execute(
        "UPDATE aexp.processes SET ended = 'vanished'"
        " WHERE run_id = $1 AND executor_id = $2 AND ended IS NULL",
        run_id,
        executor,
    )


async def _has_ended(connection: Connection, run: Run) -> bool:
    """Whether the root workflow has ended, and all others that the run started."""
    return await _root_has_ended(connection, run) and not await connection.fetchval(
        "SELECT EXISTS (SELECT FROM dbos.workflow_status WHERE application_version = $1"
        " AND status = ANY($2::text[]))",
        run.application_version,
        _UNFINISHED,
    )


async def _root_has_ended(connection: Connection, run: Run) -> bool:
    status = await connection.fetchval(
        "SELECT status FROM dbos.workflow_status WHERE workflow_uuid = $1", run.run_id
    )
    return status is not None and status not in _UNFINISHED


async def _work(
    run: Run,
    scenario: Scenario[Any],
    settings: Settings,
    url: DatabaseUrl,
    progress: Progress,
    connection: Connection,
) -> Outcome:
    parameters = scenario.validate(run.parameters)
    if scenario.check_facts is not None:
        await scenario.check_facts(parameters, run.facts)
    schedules = scenario.schedules(parameters)

    async def resources(runtime: Runtime) -> AsyncIterator[None]:
        if scenario.resources is None:
            yield
            return
        async with asynccontextmanager(scenario.resources)(runtime, run):
            yield

    async with (
        open_runtime(
            settings,
            url,
            application_version=run.application_version,
            application_name=application_name(run.run_id, settings.executor_id),
            queues=scenario.queues(parameters),
            listen_to_all=scenario.listens_to_all_queues,
            schedules=schedules,
            progress=progress,
            resources=resources,
        ) as runtime,
        _stop_on_signal(runtime),
    ):
        with SetWorkflowID(run.run_id):
            await DBOS.enqueue_workflow_async(ROOT_QUEUE, scenario.workflow, **run.parameters)
        log.info("run.started", parameters=dict(run.parameters))
        if not await _await(_root_has_ended, connection, run, runtime):
            return "interrupted"
        await remove_schedules(schedules)
        # What the root started and did not wait for belongs to the run too.
        if not await _await(_has_ended, connection, run, runtime):
            return "interrupted"
        log.info("run.ended")
        return "completed"


async def _await(
    condition: Callable[[Connection, Run], Awaitable[bool]],
    connection: Connection,
    run: Run,
    runtime: Runtime,
) -> bool:
    """True when ``condition`` has come true, False when the runtime drained before."""
    interval = _POLL_S
    try:
        while not await condition(connection, run):
            if runtime.draining.is_set():
                return False
            await anyio.sleep(interval)
            interval = min(interval * 1.1, _SLOWEST_POLL_S)
    except (OSError, asyncpg.PostgresConnectionError, asyncpg.InterfaceError) as error:
        raise DatabaseUnreachable(
            f"the connection to the database was lost: {error};"
            f" nothing is lost: `aexp resume {run.run_id}` goes on"
        ) from error
    return True


@asynccontextmanager
async def _stop_on_signal(runtime: Runtime) -> AsyncIterator[None]:
    """SIGINT and SIGTERM drain; a second one ends the process at once."""
    drained = anyio.Event()

    async def watch() -> None:
        with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
            async for number in signals:
                if runtime.draining.is_set():
                    os._exit(130)
                log.warning("run.interrupted", signal=number.name)
                group.start_soon(drain)

    async def drain() -> None:
        await runtime.drain()
        drained.set()

    try:
        async with anyio.create_task_group() as group:
            group.start_soon(watch)
            yield
            if runtime.draining.is_set():
                await drained.wait()
            group.cancel_scope.cancel()
    except BaseExceptionGroup as wrapped:
        # One error of the body, as the caller would have seen it without the group.
        if len(wrapped.exceptions) == 1:
            raise wrapped.exceptions[0] from wrapped.exceptions[0].__cause__
        raise


def _kill_after(progress: Progress, units: int) -> None:
    """SIGKILL this very process once it has done so many units itself."""
    if progress.own >= units:
        log.warning("run.killing_itself", after=progress.own)
        os.kill(os.getpid(), signal.SIGKILL)
