"""What ``aexp`` offers to the author of a workflow or a scenario."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Awaitable, Callable
from typing import assert_type

import aexp
from aexp import (
    Connection,
    Ending,
    Reached,
    Run,
    Runtime,
    Transaction,
    exactly_once,
    record_body,
    record_event,
)


async def reached(_connection: Connection, _run: Run) -> Reached:
    return Reached(1, 2)


async def gather(connection: Connection, _run: Run, _ending: Ending) -> int:
    return int(await connection.fetchval("SELECT 1"))


async def write(transaction: Transaction) -> str:
    connection = await transaction.connection()
    return str(await connection.execute("SELECT 1"))


async def step(runtime: Runtime) -> None:
    await record_body(runtime, "r", "write")
    assert_type(await exactly_once(runtime, "write", write), str)
    await record_event(runtime, "r", "orders.order_written", {"order": 1, "items": ["a", None]})


def test_its_types_fit_a_scenario() -> None:
    # The type checker reads the functions above; here they are what a Scenario takes.
    asks: Callable[[Connection, Run], Awaitable[Reached]] = reached
    scenario = aexp.Scenario(
        name="typed", summary="", workflow=step, reached=asks, gather=gather, promises=[]
    )
    assert scenario.reached is reached
    assert scenario.gather is gather


def test_every_name_is_there_sorted_and_nothing_else() -> None:
    assert sorted(aexp.__all__) == aexp.__all__
    assert set(aexp.__all__) == set(aexp._HOMES)
    for name in aexp.__all__:
        assert getattr(aexp, name).__name__ == name
        assert name in dir(aexp)


def test_importing_it_imports_nothing_of_dbos() -> None:
    program = "import aexp, sys; sys.exit('dbos' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
