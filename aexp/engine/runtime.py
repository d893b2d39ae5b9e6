"""DBOS on asyncio: configure, launch, queues and schedules, drain, destroy.

The path of the data: a workflow is enqueued on a queue, a thread of DBOS claims it and starts its
coroutine on the loop that called :func:`open_runtime`; what it checkpoints goes through DBOS's
psycopg pool in bounded threads, what a step writes goes through our asyncpg connections.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any, NoReturn

import anyio
import anyio.to_thread
import asyncpg
import sqlalchemy
import structlog
from dbos import DBOS, AsyncSQLAlchemyDatasource, DBOSClient

from aexp.database import Database, DatabaseUrl, open_database
from aexp.database.connect import psycopg_engine
from aexp.database.retry import retry_on_disconnect
from aexp.engine.config import APPLICATION_NAME, make_config
from aexp.engine.declared import Declarations
from aexp.engine.log_records import expect_cancellations, watch_cancellations
from aexp.engine.refusals import explain_refusals
from aexp.engine.registry import active_workflows, stop_claiming
from aexp.engine.tables.schedules import set_queue_poll
from aexp.engine.threads import run_sync_workflows_apart
from aexp.engine.tracing import flush_spans
from aexp.engine.waiting import watch_waits
from aexp.errors import DatabaseError
from aexp.processes.progress import Progress
from aexp.settings import Settings

__all__ = [
    "ROOT_QUEUE",
    "Queue",
    "Runtime",
    "application_version",
    "current_runtime",
    "open_runtime",
    "poll_rarely",
    "remove_queues",
]

# Where the root workflow of a run is enqueued; a runtime that is to start one has it among its own.
ROOT_QUEUE = "aexp"
DRAIN_POLL_S = 0.02
_POLL_S = 0.02
_SLOWEST_POLL_S = 0.25
_RARE_POLL_S = 1.0
log = structlog.stdlib.get_logger("aexp.engine.runtime")


@dataclass(frozen=True, slots=True, kw_only=True)
class Queue:
    """A queue to register at start; the limits are DBOS's own, None means no limit.

    ``worker_concurrency`` bounds one process, ``global_concurrency`` all of them together;
    ``limiter`` is (starts, period in seconds). ``poll_interval_s`` None takes the setting's.

    A queue belongs to its run: DBOS knows it as ``NAME.RUN_ID``, and :func:`aexp.fan_out` and
    :meth:`Runtime.queue_name` translate, so that no run's limits or abandoned work touch another's.
    With ``shared`` it has the name as it stands, for code that enqueues on it by that name.
    """

    name: str = field(kw_only=False)
    shared: bool = False
    worker_concurrency: int | None = None
    global_concurrency: int | None = None
    limiter: tuple[int, float] | None = None
    poll_interval_s: float | None = None


@dataclass(frozen=True, slots=True, repr=False)
class Runtime:
    """A process in which DBOS is launched."""

    settings: Settings
    database: Database
    datasource: AsyncSQLAlchemyDatasource
    client: DBOSClient
    enqueuing: sqlalchemy.Engine
    scope: str
    application_version: str
    queue_names: Mapping[str, str]
    progress: Progress
    dbos: DBOS
    application: str = APPLICATION_NAME
    # The tasks there were before any resource and any workflow.
    own_tasks: frozenset[asyncio.Task[Any]] = frozenset()
    draining: anyio.Event = field(default_factory=anyio.Event)
    # Set when the schedules of the run have been applied.
    scheduled: anyio.Event = field(default_factory=anyio.Event)
    parked: set[str] = field(default_factory=set)
    # By workflow and DBOS's token of its execution.
    fanning_out: set[tuple[str, str | None]] = field(default_factory=set)
    # One at a time makes its rows while the others copy theirs: were all made at once, all would be
    # ready late, and PostgreSQL would have nothing to do until then.
    making_rows: anyio.Lock = field(default_factory=anyio.Lock)

    def queue_name(self, name: str) -> str:
        """Return what DBOS calls the queue ``name``; one that was not declared keeps its name."""
        return self.queue_names.get(name, name)

    async def drain(self) -> None:
        """Claim nothing more and wait for steps in flight, ``drain_timeout_s`` at most.

        A workflow that only waits for its children is parked (see aexp.durable.fan_out) and not
        waited for; whatever has not ended is left as it is, for the next process to recover.
        """
        log.info("runtime.drain_began", timeout_s=self.settings.drain_timeout_s)
        expect_cancellations()
        self.draining.set()
        stop_claiming(self.dbos)
        with anyio.move_on_after(self.settings.drain_timeout_s):
            quiet = 0
            # Twice in a row: what was claimed a moment ago is active only when its task has begun.
            while quiet < 2:
                await anyio.sleep(DRAIN_POLL_S)
                quiet = quiet + 1 if active_workflows(self.dbos) <= self.parked else 0
        await _destroy()
        log.info("runtime.drained")

    async def until(self, condition: Callable[[], Awaitable[bool]]) -> None:
        """Return, in a workflow or its step, when ``condition`` has come true; a drain parks it.

        Asks again and again, less often with time, and waits out lost connections. It is late by
        a twentieth of the time at most, or by 20 ms.
        """
        began = anyio.current_time()
        while not await retry_on_disconnect(condition):
            if self.draining.is_set():
                await self.park()
            waited = anyio.current_time() - began
            await anyio.sleep(min(max(_POLL_S, waited / 20), _SLOWEST_POLL_S))

    async def park(self) -> NoReturn:
        """Wait for the end of this process in the calling workflow, which stays unfinished.

        Nothing is raised: code of the workflow's that catches it would go on as if its children
        had ended.
        """
        self.parked.add(str(DBOS.workflow_id))
        await anyio.sleep_forever()
        raise AssertionError("nobody wakes what sleeps for ever")


async def _destroy() -> None:
    # From a thread, since it joins threads. Shielded: workflows that go on after their runtime has
    # gone would be recorded as failed.
    with anyio.CancelScope(shield=True):
        await anyio.to_thread.run_sync(DBOS.destroy)


_current: Runtime | None = None


def current_runtime() -> Runtime:
    """Return the runtime of this process.

    Process-wide as DBOS itself is: DBOS starts workflows from its own threads, into which no
    context variable of ours reaches. Raises RuntimeError when DBOS is not launched by aexp.
    """
    if _current is None:
        raise RuntimeError("no aexp runtime is open in this process: run this through `aexp run`")
    return _current


@asynccontextmanager
async def open_runtime(
    settings: Settings,
    url: DatabaseUrl,
    *,
    scope: str,
    session_name: str = "aexp",
    queues: Sequence[Queue] = (),
    listen_to_all: bool = False,
    own_application: bool = False,
    declared: Declarations | None = None,
    progress: Progress | None = None,
    resources: Callable[[Runtime], AsyncIterator[None]] | None = None,
) -> AsyncIterator[Runtime]:
    """Launch DBOS on the running loop for the life of the context.

    ``scope`` is the run, or another name that keeps this work apart: its workflows carry the
    application version ``run-SCOPE``, and only they are recovered and claimed. PostgreSQL knows our
    sessions as ``session_name``.

    Only with ``own_application`` do schedules keep to this scope, see aexp.durable.schedules. What
    a module has ``declared`` is kept, but for what must be ours, which a line of the log names.

    ``resources`` is entered after the database is open and before DBOS launches, so that recovered
    workflows find it. Unless ``listen_to_all``, only ``queues`` are polled. On the way out nothing
    blocks the loop: DBOS is destroyed from a thread.
    """
    global _current  # noqa: PLW0603 - see current_runtime
    if _current is not None:
        raise RuntimeError("a runtime is already open in this process")
    explain_refusals()
    declared = declared or Declarations()
    async with AsyncExitStack() as stack:
        stack.push_async_callback(flush_spans)
        try:
            runtime = await _assemble(
                stack,
                settings,
                url,
                declared,
                scope=scope,
                application=_own_application(scope) if own_application else APPLICATION_NAME,
                session_name=session_name,
                queues=queues,
                progress=progress,
            )
            await _prepare(runtime, queues, declared, listen_to_all=listen_to_all)
            _current = runtime
            stack.callback(_forget)
            if resources is not None:
                await stack.enter_async_context(asynccontextmanager(resources)(runtime))
            # Entered last, so left first: before what a running workflow uses is taken from it.
            stack.push_async_callback(_destroy)
            watch_cancellations()
            watch_waits()
            DBOS.launch()
            run_sync_workflows_apart(runtime.dbos)
        except (sqlalchemy.exc.DBAPIError, asyncpg.PostgresError, OSError) as error:
            reason = " ".join(str(getattr(error, "orig", error)).split())
            raise DatabaseError(f"cannot launch DBOS on {url}: {reason}") from error
        yield runtime


async def _assemble(
    stack: AsyncExitStack,
    settings: Settings,
    url: DatabaseUrl,
    declared: Declarations,
    *,
    scope: str,
    application: str,
    session_name: str,
    queues: Sequence[Queue],
    progress: Progress | None,
) -> Runtime:
    """Make a DBOS that is not launched, and all that goes with it, which ``stack`` closes."""
    opened = open_database(
        url, application_name=session_name, pool_size=settings.database_pool_size
    )
    database = await stack.enter_async_context(opened)
    # A module of the user's may have made a DBOS of its own at import: its registrations stay.
    await _destroy()
    version = application_version(scope)
    config = make_config(
        settings, url, declared, application=application, version=version, session_name=session_name
    )
    dbos = DBOS(config=config)
    stack.push_async_callback(_destroy)
    enqueuing = _enqueuing_engine(url, session_name)
    stack.callback(enqueuing.dispose)
    return Runtime(
        settings=settings,
        database=database,
        # Before the launch, as DBOS asks.
        datasource=await AsyncSQLAlchemyDatasource.create(
            database.url.libpq, engine=database.engine, run_migrations=False
        ),
        client=DBOSClient(
            system_database_engine=enqueuing,
            application_name=application,
            lazy=True,
            **({"serializer": declared.serializer} if declared.serializer else {}),
        ),
        enqueuing=enqueuing,
        scope=scope,
        application_version=version,
        queue_names={
            queue.name: queue.name if queue.shared else f"{queue.name}.{scope}" for queue in queues
        },
        progress=progress or Progress(),
        dbos=dbos,
        application=application,
        own_tasks=frozenset(asyncio.all_tasks()),
    )


def application_version(scope: str) -> str:
    """Return the application version that the workflows of a run carry.

    One for each run: a process recovers and claims the work of its run and of no other, and an
    edit of the workflow's source does not strand it.
    """
    return f"run-{scope}"


def _own_application(scope: str) -> str:
    # DBOS's names of applications know no capitals, which alone may tell two runs apart.
    digest = hashlib.sha256(scope.encode()).hexdigest()[:8]
    return f"{APPLICATION_NAME}-{scope.lower()}-{digest}"


def _forget() -> None:
    global _current  # noqa: PLW0603 - see current_runtime
    _current = None


def _enqueuing_engine(url: DatabaseUrl, session_name: str) -> sqlalchemy.Engine:
    # Enqueuing many workflows in one transaction goes through the driver that DBOS compiles its
    # statements for: over another one it would compile each of them again.
    return psycopg_engine(
        url,
        pool_size=2,
        max_overflow=0,
        connect_args={"application_name": session_name},
    )


async def _prepare(
    runtime: Runtime, queues: Sequence[Queue], declared: Declarations, *, listen_to_all: bool
) -> None:
    """Register what must be in the database before DBOS launches."""
    # Queues that are in the table by then are polled at once; DBOS looks for later ones only each
    # second.
    polled = [replace(queue, name=runtime.queue_name(queue.name)) for queue in queues]
    await anyio.to_thread.run_sync(_register, runtime, polled, declared)
    if not listen_to_all:
        DBOS.listen_queues([*(queue.name for queue in polled), *declared.queues])


def _register(runtime: Runtime, queues: Sequence[Queue], declared: Declarations) -> None:
    # Registered by no application in particular: those with schedules have a name of their own.
    registrar = DBOSClient(system_database_engine=runtime.enqueuing, lazy=True)
    for queue in queues:
        try:
            _register_queue(registrar, runtime, queue)
        except AssertionError:
            # DBOS looks at once for what it has written, and whoever has led the run to its end may
            # have removed it in between. That comes once in the life of a run.
            _register_queue(registrar, runtime, queue)
    interval = {"polling_interval_sec": runtime.settings.poll_interval_s}
    for name, options in declared.queues.items():
        registrar.register_queue(name, **{**interval, **options})
    # A version that is new becomes the latest when DBOS launches, one that is resumed does not,
    # and DBOS gives the ticks of schedules to the latest version only.
    versions = runtime.client.list_application_versions()
    if runtime.application_version in {known["version_name"] for known in versions}:
        runtime.client.set_latest_application_version(runtime.application_version)


def _register_queue(registrar: DBOSClient, runtime: Runtime, queue: Queue) -> None:
    registrar.register_queue(
        queue.name,
        worker_concurrency=queue.worker_concurrency,
        global_concurrency=queue.global_concurrency,
        limiter={"limit": queue.limiter[0], "period": queue.limiter[1]} if queue.limiter else None,
        polling_interval_sec=queue.poll_interval_s or runtime.settings.poll_interval_s,
    )


async def poll_rarely(runtime: Runtime, name: str) -> None:
    """Look for work on the queue ``name`` only once a second from now on, in all processes.

    Each look costs DBOS three milliseconds of a processor and three transactions. The next process
    that starts looks as often as before.
    """
    # By itself, and not through DBOS: a process that stands still in the midst of its transaction
    # would hold the queue, which the one that takes its work over registers again.
    await retry_on_disconnect(
        lambda: set_queue_poll(runtime.database.pool, runtime.queue_name(name), _RARE_POLL_S)
    )


async def remove_queues(runtime: Runtime) -> None:
    """Remove the queues of a run that has ended; shared ones stay."""
    for name, known_as in runtime.queue_names.items():
        if name != known_as:
            await runtime.client.delete_queue_async(known_as)
