"""Workloads that are over in a moment, and some whose cells come to nothing."""

from __future__ import annotations

import subprocess
import sys
import time
from dataclasses import replace

import psycopg

from aexp.bench.workload import Cell, Comparison, Counted, CurvePoint, Variant, Workload
from aexp.database import open_database

TABLE = "CREATE TABLE rows (number bigint)"
INSERT = "INSERT INTO rows SELECT generate_series(1, {})"


def count_rows(cell: Cell) -> Counted:
    with psycopg.connect(cell.url.libpq) as connection:
        found = connection.execute("SELECT count(*), count(DISTINCT number) FROM rows").fetchone()
    assert found is not None
    rows, different = found
    wrong = [f"{rows - different} rows doubled"] if rows != different else []
    return Counted(units=rows, anomalies=wrong)


def insert(cell: Cell, *, times: int = 1) -> Counted:
    with psycopg.connect(cell.url.libpq, autocommit=True) as connection:
        connection.execute(TABLE)
        with cell.measured():
            for _ in range(times):
                connection.execute(INSERT.format(int(cell.size["rows"])).encode())
    return count_rows(cell)


async def insert_async(cell: Cell) -> Counted:
    async with open_database(cell.url, application_name="test", pool_size=2) as database:
        await database.pool.execute(TABLE)
        with cell.measured():
            await database.pool.execute(INSERT.format(cell.size["rows"]))
    return count_rows(cell)


TINY = Workload(
    name="tiny",
    summary="Rows into a table.",
    unit="row",
    variants=[
        Variant(name="sync", run=insert, loop=None, point=CurvePoint("sync", 1)),
        Variant(name="async", run=insert_async, loop="uvloop", quick_size={"rows": 20}),
        Variant(name="long", run=insert_async, loop="asyncio", in_quick=False),
    ],
    comparisons=[
        Comparison(figure="rate", variant="async", against="sync"),
        Comparison(figure="threads", variant="sync", most=1000, reason="there are none"),
        Comparison(figure="cpu_ms", variant="sync", most=0, reason="it takes some"),
        Comparison(figure="rate", variant="long", against="sync"),
    ],
    size={"rows": 1000},
    quick_size={"rows": 10},
)


def insert_twice(cell: Cell) -> Counted:
    return insert(cell, times=2)


def crash(_: Cell) -> Counted:
    raise RuntimeError("it has a fault")


def find_five_wrong(cell: Cell) -> Counted:
    return replace(insert(cell), anomalies=[f"row {number} is wrong" for number in range(5)])


def measure_nothing(_: Cell) -> Counted:
    return Counted(units=1)


BAD = Workload(
    name="bad",
    summary="Nothing here is a result, but for one.",
    unit="row",
    variants=[
        Variant(name="good", run=insert, loop=None),
        Variant(name="doubles", run=insert_twice, loop=None),
        Variant(name="errs", run=find_five_wrong, loop=None),
        Variant(name="crashes", run=crash, loop=None),
        Variant(name="unmeasured", run=measure_nothing, loop=None),
    ],
    comparisons=[Comparison(figure="rate", variant="doubles", against="good", least=0.0)],
    size={"rows": 10},
    quick_size={"rows": 10},
)


def hang(cell: Cell) -> Counted:
    """Start a process that outlives its parent, and never end."""
    with psycopg.connect(cell.url.libpq, autocommit=True) as connection:
        connection.execute(TABLE)
        with cell.measured():
            subprocess.run([sys.executable, "-c", "import time; time.sleep(600)"], check=True)
            time.sleep(600)
    return Counted(units=1)


STUCK = Workload(
    name="stuck",
    summary="It never ends.",
    unit="row",
    variants=[Variant(name="only", run=hang, loop=None)],
    comparisons=[],
    size={},
    quick_size={},
)


SLOW = Workload(
    name="slow",
    summary="It does not end in time.",
    unit="row",
    variants=[Variant(name="only", run=hang, loop=None)],
    comparisons=[],
    size={},
    quick_size={},
    timeout_s=3.0,
)
