"""``bulk``: a million messages, each exactly once, many to a workflow.

Async is the scenario ``resume``, as `aexp run resume --set chunk=…` runs it. The limit is COPY of
the same rows into the same table, indexes and all, with nothing else to do: by one connection, to
which the others are compared, and by two and three, which on two cores leave none to make the rows.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

import anyio
import anyio.to_thread
import asyncpg
from dbos import DBOS, SetWorkflowID, SQLAlchemyDatasource

from aexp.bench.workload import (
    Cell,
    Comparison,
    Counted,
    Curve,
    CurvePoint,
    Loop,
    Variant,
    Workload,
)
from aexp.bench.workloads.bare import POLL_S, launched, register
from aexp.bench.workloads.publications import RUN_ID, WARM_UP, counted_publications, records
from aexp.engine.runtime import Queue, open_runtime
from aexp.scenarios.resume.delivery import COLUMNS
from aexp.scenarios.resume.messages import split_numbers
from aexp.scenarios.resume.workflow import QUEUE, ResumeParameters, publisher

__all__ = ["BULK", "publish_all"]

_COPY = f"COPY aexp.publications ({', '.join(COLUMNS)}) FROM STDIN"

# Of this process, as DBOS is: a workflow's inputs could not carry it.
_datasource: SQLAlchemyDatasource | None = None


async def publish_all(run_id: str, messages: int, chunk: int) -> None:
    """Run the workflow of the scenario ``resume`` in the runtime around it."""
    parameters = ResumeParameters(messages=messages, chunk=chunk, latency_s=0)
    with SetWorkflowID(run_id):
        await publisher.publish_messages(**parameters.model_dump(mode="json"))


async def publish_in_chunks(cell: Cell) -> Counted:
    """Run the scenario ``resume``. Size: ``messages``, ``chunk``, ``concurrency``."""
    queue = Queue(name=QUEUE, worker_concurrency=cell.size["concurrency"])
    publisher.restore({})
    async with open_runtime(cell.settings, cell.url, scope=RUN_ID, queues=[queue]):
        await publish_all(WARM_UP, 2000, 500)
        with cell.measured():
            await publish_all(RUN_ID, cell.size["messages"], cell.size["chunk"])
    return await anyio.to_thread.run_sync(counted_publications, cell)


@DBOS.workflow(name="bench.sync.publish_chunk")
def _publish_chunk(run_id: str, first: int, count: int) -> int:
    assert _datasource is not None
    return _datasource.run_tx_step(
        {"name": "publish", "isolation_level": "READ COMMITTED"}, _copy, run_id, first, count
    )


def _copy(run_id: str, first: int, count: int) -> int:
    assert _datasource is not None
    connection = _datasource.sql_session().connection().connection.driver_connection
    assert connection is not None
    with connection.cursor() as cursor, cursor.copy(_COPY) as copy:
        for record in records(run_id, first, count):
            copy.write_row(record)
    return count


@DBOS.workflow(name="bench.sync.publish_chunks")
def _publish_chunks(run_id: str, messages: int, chunk: int) -> int:
    handles = [
        DBOS.enqueue_workflow(QUEUE, _publish_chunk, run_id, part.first, part.count)
        for part in split_numbers(messages, chunk)
    ]
    return sum(handle.get_result(polling_interval_sec=POLL_S) for handle in handles)


def publish_in_chunks_sync(cell: Cell) -> Counted:
    """Run a transactional step for each chunk. Size: ``messages``, ``chunk``, ``threads``."""
    threads = cell.size["threads"]
    with launched(cell, threads=threads, prepare=lambda: _make_datasource(cell)):
        register(QUEUE, concurrency=threads)
        _publish_chunks(WARM_UP, 2000, 500)
        with cell.measured():
            _publish_chunks(RUN_ID, cell.size["messages"], cell.size["chunk"])
    assert _datasource is not None
    _datasource.engine.dispose()
    return counted_publications(cell)


def _make_datasource(cell: Cell) -> None:
    global _datasource  # noqa: PLW0603 - see above
    _datasource = SQLAlchemyDatasource.create(cell.url.libpq, run_migrations=False)


def _encoded(messages: int) -> list[bytes]:
    """Encode the rows in COPY's text format, in parts that are sent as they are."""
    return [
        "".join(
            "\t".join(map(str, record)) + "\n" for record in records(RUN_ID, part.first, part.count)
        ).encode()
        for part in split_numbers(messages, 10_000)
    ]


async def _stream(parts: Sequence[bytes]) -> AsyncIterator[bytes]:
    for part in parts:
        yield part


async def copy_only(cell: Cell) -> Counted:
    """Run one COPY by each of ``connections``, of rows that are ready. Size: ``messages`` too."""
    rows = await anyio.to_thread.run_sync(_encoded, cell.size["messages"])
    shares = [rows[n :: cell.size["connections"]] for n in range(cell.size["connections"])]

    async def copy(connection: asyncpg.Connection[asyncpg.Record], share: Sequence[bytes]) -> None:
        await connection.copy_to_table(
            "publications", schema_name="aexp", columns=COLUMNS, source=_stream(share)
        )

    connections = [await asyncpg.connect(cell.url.dsn) for _ in shares]
    try:
        with cell.measured():
            async with anyio.create_task_group() as group:
                for connection, share in zip(connections, shares, strict=True):
                    group.start_soon(copy, connection, share)
    finally:
        for connection in connections:
            await connection.close()
    return await anyio.to_thread.run_sync(counted_publications, cell)


def _async(chunk: int, *, messages: int, in_quick: bool, loop: Loop = "uvloop") -> Variant:
    return Variant(
        name=f"chunk {chunk}" if loop == "uvloop" else f"chunk {chunk} {loop}",
        run=publish_in_chunks,
        loop=loop,
        size={"chunk": chunk, "concurrency": 20, "messages": messages},
        quick_size={"chunk": chunk, "concurrency": 20},
        in_quick=in_quick,
        point=CurvePoint(loop, chunk),
    )


BULK = Workload(
    name="bulk",
    summary="many messages to a workflow, exactly once",
    unit="message",
    size={"messages": 1_000_000},
    quick_size={"messages": 400_000},
    curve=Curve(x="messages in a chunk", figure="rate", limit="limit"),
    variants=[
        Variant(
            name="sync", run=publish_in_chunks_sync, loop=None, size={"chunk": 20_000, "threads": 4}
        ),
        # Rates of less work, where it would take minutes.
        _async(100, messages=50_000, in_quick=False),
        _async(1_000, messages=200_000, in_quick=False),
        _async(5_000, messages=1_000_000, in_quick=False),
        _async(20_000, messages=1_000_000, in_quick=True),
        _async(20_000, loop="asyncio", messages=1_000_000, in_quick=False),
        _async(50_000, messages=1_000_000, in_quick=False),
        *(
            Variant(
                name="limit" if connections == 1 else f"limit, {connections} connections",
                run=copy_only,
                loop="uvloop",
                size={"connections": connections},
                in_quick=connections == 1,
            )
            for connections in (1, 2, 3)
        ),
    ],
    comparisons=[
        Comparison(
            figure="rate",
            variant="chunk 20000",
            against="limit",
            least=0.7,
            reason="what DBOS does for a chunk takes nearly as long as copying it",
        ),
        Comparison(figure="rate", variant="chunk 20000", against="limit, 2 connections"),
        Comparison(figure="rate", variant="chunk 50000", against="limit"),
        Comparison(figure="rate", variant="chunk 20000", against="sync"),
        Comparison(figure="cpu_ms", variant="chunk 20000", against="sync"),
        Comparison(figure="rate", variant="chunk 20000 asyncio", against="chunk 20000"),
    ],
)
