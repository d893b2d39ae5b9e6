"""How cost grows: the scenario ``resume`` with more of one thing at a time.

More messages, more processes on the same run, more chunks at a time, and larger tables: rows that
were published earlier, and workflows that ended earlier. Messages go in chunks of a thousand, where
PostgreSQL does most of the work, and each in a workflow of its own, where DBOS does. Every cell
also tells, for one message, what was written to the log and to the tables, and how many transaction
ids it took.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, replace

import anyio
import anyio.to_thread
import asyncpg
from anyio.streams.buffered import BufferedByteReceiveStream

from aexp.bench.workload import Cell, Counted, Curve, CurvePoint, Variant, Workload
from aexp.bench.workloads.bulk import publish_all
from aexp.bench.workloads.publications import RUN_ID, WARM_UP, counted_publications
from aexp.database import DatabaseUrl
from aexp.database.connect import Connection, borrowed
from aexp.engine.log_records import adopt_records
from aexp.engine.runtime import Queue, open_runtime
from aexp.engine.tables.names import WORKFLOW_STATUS
from aexp.engine.tables.workflows import copy_ended
from aexp.log import configure_logging
from aexp.scenarios.resume.workflow import QUEUE, publisher
from aexp.settings import Settings, user_environment

__all__ = ["CONCURRENCY", "MESSAGES", "PUBLISHED", "WORKERS", "WORKFLOWS"]

_CHUNKS, _SINGLE = "chunks of 1000", "a workflow each"
_COSTS = ("wall_ms", "cpu_ms", "server_cpu_ms")
# Full-scale cells fill tables of ten million rows, or publish a message a workflow for minutes.
_TIMEOUT_S = 3600.0


@dataclass(frozen=True, slots=True)
class _State:
    """What PostgreSQL has written until now: log in bytes, the database's size, transactions."""

    wal_bytes: int
    database_bytes: int
    xids: int


async def publish(cell: Cell) -> Counted:
    """Publish ``messages``, ``chunk`` to a workflow, ``concurrency`` chunks at a time.

    ``workers`` processes share the work, this one among them. Before, ``published`` rows and
    ``workflows`` ended ones are in the tables. Figures for a message: ``wal_bytes``,
    ``table_bytes``, ``xids``; and ``connections`` altogether.
    """
    size = cell.size
    publisher.restore({})
    async with (
        open_runtime(
            cell.settings, cell.url, scope=RUN_ID, queues=[_queue(size["concurrency"])]
        ) as runtime,
        _joined(cell, size["workers"] - 1),
        borrowed(runtime.database.pool) as connection,
    ):
        # As many chunks as it takes for every process to have had some.
        await publish_all(WARM_UP, 20 * size["workers"], 1)
        await _fill(connection, size["published"], size["workflows"])
        before = await _state(connection)
        with cell.measured():
            await publish_all(RUN_ID, size["messages"], size["chunk"])
        after = await _state(connection)
        connections = await connection.fetchval(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
        )
    counted = await anyio.to_thread.run_sync(counted_publications, cell)
    return replace(
        counted,
        figures={
            "wal_bytes": (after.wal_bytes - before.wal_bytes) / size["messages"],
            "table_bytes": (after.database_bytes - before.database_bytes) / size["messages"],
            "xids": (after.xids - before.xids) / size["messages"],
            "connections": float(connections),
        },
    )


def _queue(concurrency: int) -> Queue:
    return Queue(name=QUEUE, worker_concurrency=concurrency)


async def _state(connection: Connection) -> _State:
    row = await connection.fetchrow(
        "SELECT (pg_current_wal_lsn() - '0/0')::bigint AS wal_bytes,"
        " pg_database_size(current_database()) AS database_bytes,"
        " pg_snapshot_xmax(pg_current_snapshot())::text::bigint AS xids"
    )
    assert row is not None
    return _State(**dict(row))


async def _fill(connection: Connection, published: int, workflows: int) -> None:
    """Put rows of earlier runs into the two tables that every message goes through, and have it
    over with: nothing of it is to be written down or cleaned up while others are measured.
    """
    await connection.execute(
        "INSERT INTO aexp.publications (run_id, position, channel, body, pid)"
        " SELECT 'earlier', n, 'workflow1', json_build_object('message', 'Message ' || n), 0"
        " FROM generate_series(1, $1::bigint) AS n",
        published,
        timeout=_TIMEOUT_S,
    )
    # Copies of a chunk that the warm-up has published, under ids of their own.
    await copy_ended(connection, workflows, timeout_s=_TIMEOUT_S)
    await connection.execute("VACUUM (ANALYZE, FREEZE)", timeout=_TIMEOUT_S)
    # Only some users may ask for it.
    with suppress(asyncpg.InsufficientPrivilegeError):
        await connection.execute("CHECKPOINT", timeout=_TIMEOUT_S)


@asynccontextmanager
async def _joined(cell: Cell, processes: int) -> AsyncIterator[None]:
    """Start so many more processes that take chunks from the queue, for the life of the context."""
    async with AsyncExitStack() as stack:
        for number in range(1, processes + 1):
            await stack.enter_async_context(_one_joined(cell, number))
        yield


@asynccontextmanager
async def _one_joined(cell: Cell, number: int) -> AsyncIterator[None]:
    process = await anyio.open_process(
        [sys.executable, "-P", "-m", __name__, f"w{number}", str(cell.size["concurrency"])],
        stdin=subprocess.PIPE,
        stderr=None,
        env=user_environment({"AEXP_DATABASE_URL": cell.url.libpq}),
    )
    async with process:
        assert process.stdin is not None
        assert process.stdout is not None
        # It says so when it takes chunks, and ends at the end of its stdin.
        said = BufferedByteReceiveStream(process.stdout)
        await said.receive_until(b"\n", 64)
        yield
        await process.stdin.aclose()
        async for more in said:
            # Nobody reads it meanwhile: with enough of it the process would stand still.
            raise RuntimeError(f"a joined process said more than it should: {more!r}")
        if await process.wait():
            raise RuntimeError(f"a joined process ended with {process.returncode}")


async def join(executor_id: str, concurrency: int) -> None:
    """Take chunks from the queue, as a process of its own, until stdin ends."""
    settings = Settings(executor_id=executor_id)
    assert settings.database_url is not None
    url = DatabaseUrl.parse(settings.database_url.get_secret_value())
    publisher.restore({})
    async with open_runtime(settings, url, scope=RUN_ID, queues=[_queue(concurrency)]):
        sys.stdout.write("joined\n")
        sys.stdout.flush()
        await anyio.wait_readable(sys.stdin)


def _variant(
    name: str, series: str, x: int, *, full: dict[str, int], quick: dict[str, int] | None
) -> Variant:
    """Make a point of a curve; without ``quick`` it is left out of --quick."""
    return Variant(
        name=name,
        run=publish,
        loop="uvloop",
        size=full,
        quick_size=quick,
        in_quick=quick is not None,
        point=CurvePoint(series, x),
    )


def _workload(name: str, summary: str, variants: Sequence[Variant], curve: Curve) -> Workload:
    size = {"concurrency": 20, "workers": 1, "published": 0, "workflows": 0}
    return Workload(
        name=name,
        summary=summary,
        unit="message",
        variants=variants,
        comparisons=[],
        size=size,
        quick_size=size,
        curve=curve,
        timeout_s=_TIMEOUT_S,
    )


def _messages(series: str, chunk: int, messages: int, *, in_quick: bool) -> Variant:
    size = {"chunk": chunk, "messages": messages}
    return _variant(
        f"{messages:,}, {series}", series, messages, full=size, quick=size if in_quick else None
    )


MESSAGES = _workload(
    "growth-messages",
    "more messages",
    [
        *(
            _messages(_CHUNKS, 1000, messages, in_quick=messages < 1_000_000)
            for messages in (1_000, 10_000, 100_000, 1_000_000)
        ),
        # A hundred thousand of these take six minutes, a million an hour.
        *(
            _messages(_SINGLE, 1, messages, in_quick=messages < 1_000)
            for messages in (100, 300, 1_000, 10_000, 30_000)
        ),
    ],
    Curve(x="messages", figure="wall_ms", log_y=True, grows=_COSTS),
)

WORKERS = _workload(
    "growth-workers",
    "more processes on the same run",
    [
        _variant(
            f"{workers} {'process' if workers == 1 else 'processes'}, {series}",
            series,
            workers,
            full={"chunk": chunk, "messages": messages, "workers": workers},
            quick=(
                {"chunk": chunk, "messages": messages // 10, "workers": workers}
                if workers <= 2
                else None
            ),
        )
        for series, chunk, messages in ((_CHUNKS, 1000, 400_000), (_SINGLE, 1, 4_000))
        for workers in (1, 2, 3, 4)
    ],
    Curve(x="processes", figure="rate", log_x=False, relative=True, grows=("cpu_ms",)),
)

CONCURRENCY = _workload(
    "growth-concurrency",
    "more chunks at a time",
    [
        _variant(
            f"{concurrency} at a time",
            _CHUNKS,
            concurrency,
            full={"chunk": 1000, "messages": 200_000, "concurrency": concurrency},
            quick=(
                {"chunk": 1000, "messages": 20_000, "concurrency": concurrency}
                if concurrency in {1, 8, 64}
                else None
            ),
        )
        for concurrency in (1, 2, 4, 8, 16, 32, 64)
    ],
    Curve(x="chunks at a time", figure="rate", grows=("cpu_ms", "server_cpu_ms")),
)

PUBLISHED = _workload(
    "growth-published",
    "a larger table of messages",
    [
        _variant(
            f"{rows:,} rows",
            _CHUNKS,
            rows,
            full={"chunk": 1000, "messages": 100_000, "published": rows},
            quick=(
                {"chunk": 1000, "messages": 20_000, "published": rows} if rows < 10**6 else None
            ),
        )
        for rows in (10**4, 10**5, 10**6, 10**7)
    ],
    Curve(x="rows in aexp.publications", figure="wall_ms", log_y=True, grows=_COSTS),
)

WORKFLOWS = _workload(
    "growth-workflows",
    "more workflows that have ended",
    [
        _variant(
            f"{rows:,} workflows",
            _SINGLE,
            rows,
            full={"chunk": 1, "messages": 2_000, "workflows": rows},
            quick={"chunk": 1, "messages": 100, "workflows": rows} if rows < 10**5 else None,
        )
        for rows in (10**3, 10**4, 10**5, 10**6)
    ],
    Curve(x=f"rows in {WORKFLOW_STATUS}", figure="wall_ms", log_y=True, grows=_COSTS),
)


if __name__ == "__main__":
    adopt_records()
    configure_logging("json", "warning")
    anyio.run(join, sys.argv[1], int(sys.argv[2]), backend_options={"use_uvloop": True})
