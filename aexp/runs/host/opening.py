"""A host from its parts, and what it does of itself."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import anyio
import anyio.lowlevel
import anyio.to_thread
from dbos import DBOSClient

from aexp.database import DatabaseUrl
from aexp.database.connect import open_database, psycopg_engine
from aexp.model.scenario import Scenario
from aexp.runs.host.executors import Serves, present_executor
from aexp.runs.host.host import Host
from aexp.runs.host.standing_run import StandingRun, maintain
from aexp.runs.run_processes import open_run_processes
from aexp.settings import Settings

__all__ = ["open_host"]

POOL_SIZE = 16


@asynccontextmanager
async def open_host(
    settings: Settings,
    url: DatabaseUrl,
    *,
    scenarios: Mapping[str, Scenario[Any]],
    max_active_runs: int,
    serves: Serves = "service",
    keep: StandingRun | None = None,
) -> AsyncIterator[Host]:
    """Host runs of ``scenarios`` for the life of the context; at its end their processes drain.

    Goes on with the runs that were hosted before and have not ended, joins those that others begin,
    and keeps one of ``keep`` going. A worker does not kill its processes, whatever a run was asked
    for: who began it does. Needs a migrated database. Raises ExecutorAlive when another process is
    this executor.
    """
    engine = psycopg_engine(url, pool_size=2, pool_pre_ping=True)
    try:
        async with (
            open_database(url, application_name="aexp host", pool_size=POOL_SIZE) as database,
            present_executor(url, settings.executor_id, serves),
            open_run_processes(url) as processes,
            anyio.create_task_group() as group,
        ):
            client = DBOSClient(
                system_database_engine=engine, lazy=True, retry_connection_errors=False
            )
            host = Host(
                settings,
                url,
                database.pool,
                client,
                processes,
                group,
                scenarios,
                max_active_runs,
                serves,
            )
            group.start_soon(processes.warm_up)
            looking = anyio.CancelScope()
            group.start_soon(_look_after, host, keep, looking)
            try:
                yield host
            finally:
                looking.cancel()
                with anyio.CancelScope(shield=True):
                    # A run that was just being begun comes to be active in this turn.
                    await anyio.lowlevel.checkpoint()
                    async with anyio.create_task_group() as stopping:
                        for run_id in host.active:
                            stopping.start_soon(host.stop, run_id)
    finally:
        await anyio.to_thread.run_sync(engine.dispose)


async def _look_after(host: Host, keep: StandingRun | None, scope: anyio.CancelScope) -> None:
    """Keep going what is to go on, until ``scope`` is cancelled."""
    with scope:
        async with anyio.create_task_group() as group:
            group.start_soon(host.look_after_all)
            if keep is not None:
                group.start_soon(maintain, host, keep)
