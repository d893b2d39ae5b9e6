"""DBOS on asyncio: configure, launch, queues and schedules, drain, destroy.

The path of the data: a workflow is enqueued on a queue, a thread of DBOS claims it and starts its
coroutine on the loop that called :func:`open_runtime`; what it checkpoints goes through DBOS's
psycopg pool in bounded threads, what a step writes goes through our asyncpg connections.
"""

from __future__ import annotations

import logging
import math
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import anyio
import anyio.to_thread
import asyncpg
import sqlalchemy
import structlog
from dbos import DBOS, AsyncSQLAlchemyDatasource, DBOSClient, DBOSConfig

from aexp.database import Database, DatabaseUrl, open_database
from aexp.errors import DatabaseError
from aexp.progress import Progress
from aexp.settings import Settings

__all__ = [
    "APPLICATION_NAME",
    "ROOT_QUEUE",
    "Queue",
    "Runtime",
    "Schedule",
    "current_runtime",
    "open_runtime",
    "remove_schedules",
]

APPLICATION_NAME = "aexp"
ROOT_QUEUE = "aexp"

log = structlog.stdlib.get_logger("aexp.runtime")


@dataclass(frozen=True, slots=True, kw_only=True)
class Queue:
    """A queue to register at start; the limits are DBOS's own, None means no limit.

    ``worker_concurrency`` bounds one process, ``global_concurrency`` all of them together;
    ``limiter`` is (starts, period in seconds). ``poll_interval_s`` None takes the setting's.
    """

    name: str
    worker_concurrency: int | None = None
    global_concurrency: int | None = None
    limiter: tuple[int, float] | None = None
    poll_interval_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """A schedule that exists while its run does; ``cron`` may have a field for seconds first.

    ``workflow`` is called with the scheduled time and ``context``. Ticks that no process was up to
    see are lost unless ``backfill``.
    """

    name: str
    workflow: Callable[..., Coroutine[Any, Any, Any]]
    cron: str
    context: Any = None
    backfill: bool = False


@dataclass(frozen=True, slots=True, repr=False)
class Runtime:
    """A process in which DBOS is launched."""

    settings: Settings
    database: Database
    datasource: AsyncSQLAlchemyDatasource
    client: DBOSClient
    enqueuing: sqlalchemy.Engine
    application_version: str
    progress: Progress
    draining: anyio.Event = field(default_factory=anyio.Event)

    async def drain(self) -> None:
        """Claim nothing more and wait for steps in flight, ``drain_timeout_s`` at most.

        A workflow that only waits for its children stops waiting (see aexp.fanout); whatever has
        not ended is left as it is, for the next process to recover.
        """
        log.info("runtime.drain_began", timeout_s=self.settings.drain_timeout_s)
        self.draining.set()
        await _destroy(math.ceil(self.settings.drain_timeout_s))
        log.info("runtime.drained")


async def _destroy(drain_timeout_s: int = 0) -> None:
    # From a thread: it joins threads and, when it drains, sleeps. Shielded: workflows that go on
    # after their runtime has gone would be recorded as failed.
    with anyio.CancelScope(shield=True):
        await anyio.to_thread.run_sync(
            lambda: DBOS.destroy(workflow_completion_timeout_sec=drain_timeout_s)
        )


_current: Runtime | None = None


def current_runtime() -> Runtime:
    """The runtime of this process.

    Process-wide as DBOS itself is: DBOS starts workflows from its own threads, into which no
    context variable of ours reaches. Raises RuntimeError when DBOS is not launched by aexp.
    """
    if _current is None:
        raise RuntimeError("no aexp runtime is open in this process: run this through `aexp run`")
    return _current


def _config(
    settings: Settings, url: DatabaseUrl, application_name: str, application_version: str
) -> DBOSConfig:
    return {
        "name": APPLICATION_NAME,
        "system_database_url": url.libpq,
        "application_version": application_version,
        "executor_id": settings.executor_id,
        # DBOS's default is unbounded: a thousand gathered calls would make a thousand threads.
        "max_executor_threads": settings.executor_threads,
        "sys_db_pool_size": settings.system_pool_size,
        "db_engine_kwargs": {"connect_args": {"application_name": application_name}},
        "notification_listener_polling_interval_sec": 0.1,
        "scheduler_polling_interval_sec": 1.0,
        # What aexp.log has set: DBOS would set its logger back to INFO.
        "log_level": logging.getLevelName(logging.getLogger("dbos").getEffectiveLevel()),
        "run_migrations": False,
    }


@asynccontextmanager
async def open_runtime(
    settings: Settings,
    url: DatabaseUrl,
    *,
    application_version: str,
    application_name: str = "aexp",
    queues: Sequence[Queue] = (),
    listen_to_all: bool = False,
    schedules: Sequence[Schedule] = (),
    progress: Progress | None = None,
    resources: Callable[[Runtime], AsyncIterator[None]] | None = None,
) -> AsyncIterator[Runtime]:
    """Launch DBOS on the running loop for the life of the context.

    ``resources`` is entered after the database is open and before DBOS launches, so that recovered
    workflows find it. Unless ``listen_to_all``, only ``queues`` and the root queue are polled.
    On the way out nothing blocks the loop: DBOS is destroyed from a thread.
    """
    global _current  # noqa: PLW0603 - see current_runtime
    if _current is not None:
        raise RuntimeError("a runtime is already open in this process")
    async with AsyncExitStack() as stack:
        try:
            database = await stack.enter_async_context(
                open_database(
                    url, application_name=application_name, pool_size=settings.database_pool_size
                )
            )
            # A module of the user's may have made a DBOS of its own at import; its registrations
            # stay, its configuration must not win over ours.
            await _destroy()
            DBOS(config=_config(settings, url, application_name, application_version))
            stack.push_async_callback(_destroy)
            datasource = await AsyncSQLAlchemyDatasource.create(
                url.libpq, engine=database.engine, run_migrations=False
            )
            enqueuing = _psycopg_engine(url, application_name)
            stack.callback(enqueuing.dispose)
            client = DBOSClient(
                system_database_engine=enqueuing, application_name=APPLICATION_NAME, lazy=True
            )
            runtime = Runtime(
                settings=settings,
                database=database,
                datasource=datasource,
                client=client,
                enqueuing=enqueuing,
                application_version=application_version,
                progress=progress or Progress(),
            )
            # Queues that are in the table when DBOS launches are polled at once; DBOS looks for
            # later ones only each second.
            polled = [Queue(name=ROOT_QUEUE), *queues]
            await anyio.to_thread.run_sync(_register, client, settings, polled)
            await anyio.to_thread.run_sync(_make_latest, client, application_version)
            if not listen_to_all:
                DBOS.listen_queues([queue.name for queue in polled])
            _current = runtime
            stack.callback(_forget)
            if resources is not None:
                await stack.enter_async_context(asynccontextmanager(resources)(runtime))
            # Entered last, so left first: nothing that a running workflow uses is taken from it
            # while DBOS could still record that it failed.
            stack.push_async_callback(_destroy)
            DBOS.launch()
        except (sqlalchemy.exc.DBAPIError, asyncpg.PostgresError, OSError) as error:
            reason = " ".join(str(getattr(error, "orig", error)).split())
            raise DatabaseError(f"cannot launch DBOS on {url}: {reason}") from error
        for schedule in schedules:
            await _apply(schedule)
        log.debug("runtime.launched", application_version=application_version)
        yield runtime


def _forget() -> None:
    global _current  # noqa: PLW0603 - see current_runtime
    _current = None


def _psycopg_engine(url: DatabaseUrl, application_name: str) -> sqlalchemy.Engine:
    # Enqueuing many workflows in one transaction goes through the driver that DBOS compiles its
    # statements for: over another one it would compile each of them again.
    return sqlalchemy.create_engine(
        sqlalchemy.make_url(url.libpq).set(drivername="postgresql+psycopg"),
        pool_size=2,
        max_overflow=0,
        connect_args={"application_name": application_name},
    )


def _register(client: DBOSClient, settings: Settings, queues: Sequence[Queue]) -> None:
    for queue in queues:
        client.register_queue(
            queue.name,
            worker_concurrency=queue.worker_concurrency,
            global_concurrency=queue.global_concurrency,
            limiter=(
                {"limit": queue.limiter[0], "period": queue.limiter[1]} if queue.limiter else None
            ),
            polling_interval_sec=queue.poll_interval_s or settings.poll_interval_s,
        )


def _make_latest(client: DBOSClient, version: str) -> None:
    # A version that is new becomes the latest when DBOS launches; one that is resumed does not,
    # and DBOS enqueues the ticks of schedules for the latest version only.
    if version in {known["version_name"] for known in client.list_application_versions()}:
        client.set_latest_application_version(version)


async def _apply(schedule: Schedule) -> None:
    await DBOS.apply_schedules_async(
        [
            {
                "schedule_name": schedule.name,
                "workflow_fn": schedule.workflow,
                "schedule": schedule.cron,
                "context": schedule.context,
                "automatic_backfill": schedule.backfill,
            }
        ]
    )


async def remove_schedules(schedules: Sequence[Schedule]) -> None:
    """Remove ``schedules`` from the database; those that are gone already are no error."""
    for schedule in schedules:
        if await DBOS.get_schedule_async(schedule.name) is not None:
            await DBOS.delete_schedule_async(schedule.name)
