"""DBOS without aexp, as its documentation has it: what the sync and the naive variants run on."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import anyio.to_thread
from dbos import DBOS, DBOSConfig

from aexp.bench.workload import Cell

__all__ = ["POLL_S", "launched", "launched_async", "register"]

# DBOS looks at a queue once a second unless told otherwise, and so at what it waits for; a good
# user of it tells it otherwise.
POLL_S = 0.05


def _config(cell: Cell, threads: int | None) -> DBOSConfig:
    return {
        "name": "bench",
        "system_database_url": cell.url.libpq,
        "application_version": "bench",
        "executor_id": cell.settings.executor_id,
        # None is DBOS's own default: as many as are asked for.
        "max_executor_threads": threads,
        # As aexp has it: what is logged is not what is compared.
        "log_level": "WARNING",
        "run_migrations": False,
    }


@contextmanager
def launched(
    cell: Cell, *, threads: int | None, prepare: Callable[[], None] | None = None
) -> Iterator[None]:
    """Launch DBOS in this process for the life of the context, workflows in ``threads`` threads.

    ``prepare`` is called before it launches, when datasources are to be made.
    """
    DBOS(config=_config(cell, threads))
    if prepare is not None:
        prepare()
    DBOS.launch()
    try:
        yield
    finally:
        DBOS.destroy()


@asynccontextmanager
async def launched_async(
    cell: Cell, *, threads: int | None, engine: Mapping[str, Any] | None = None
) -> AsyncIterator[None]:
    """Launch DBOS on the running loop for the life of the context, its statements in ``threads``.

    ``engine`` are arguments of its engine, in place of DBOS's own.
    """
    config = _config(cell, threads)
    if engine is not None:
        config["db_engine_kwargs"] = dict(engine)
    DBOS(config=config)
    DBOS.launch()
    try:
        yield
    finally:
        # It joins threads that may be waiting for the loop.
        await anyio.to_thread.run_sync(DBOS.destroy)


def register(queue: str, *, concurrency: int | None) -> None:
    """Register a queue of DBOS's that is looked at often."""
    DBOS.register_queue(queue, worker_concurrency=concurrency, polling_interval_sec=POLL_S)
