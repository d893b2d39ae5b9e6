"""One step that counts wherever a program may count; ``scope`` and ``scope-functions`` share it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Any, Protocol

import anyio
from pydantic import Field

from aexp.database.connect import Connection
from aexp.durable import ledger
from aexp.durable.exactly_once import Transaction, exactly_once
from aexp.engine.runtime import Runtime, current_runtime
from aexp.model.parameters import Parameters
from aexp.model.run import Run
from aexp.processes.progress import Reached

__all__ = ["COUNTER", "STEP", "CountParameters", "Memory", "Tally", "add_one", "begin", "reached"]

STEP = "add_one"
COUNTER = "steps"


class CountParameters(Parameters):
    """How far to count, and how slowly."""

    steps: int = Field(30, ge=1, le=100_000, description="steps, each of which adds one")
    pause_s: float = Field(0.05, ge=0, le=3600, description="what a step takes; the seed's was 0.5")


class Memory(Protocol):
    """The counters that a program keeps in its process."""

    def read(self) -> Mapping[str, int]:
        """Return what they say, by scope."""
        ...

    def add(self) -> None:
        """Add one to each."""
        ...


class Tally:
    """What this process found in every scope when its first step began, and what came of it.

    Both by scope; None until the first step has begun, or ended.
    """

    def __init__(self) -> None:
        self.found: Mapping[str, int] | None = None
        self.counted: Mapping[str, int] | None = None

    def as_json(self) -> Mapping[str, Any]:
        """Return the tally as JSON values."""
        return {"found": self.found, "counted": self.counted}


async def add_one(
    run_id: str, memory: Memory, tally: Tally, *, variable: int, pause_s: float
) -> int:
    """Add one in every scope, as one durable step; what the durable counter says then.

    ``variable`` is the calling workflow's own count until now. The counters in memory count each
    time that the body runs, the durable one commits with the step.
    """
    runtime = current_runtime()

    async def body(transaction: Transaction) -> int:
        await ledger.record_body(runtime, run_id, STEP)
        await anyio.sleep(pause_s)
        connection = await transaction.connection()
        durable: int = await connection.fetchval(
            "INSERT INTO aexp.counters (run_id, name, value) VALUES ($1, $2, 1)"
            " ON CONFLICT (run_id, name) DO UPDATE SET value = counters.value + 1"
            " RETURNING value",
            run_id,
            COUNTER,
        )
        if tally.found is None:
            tally.found = {**memory.read(), "variable": variable, "durable": durable - 1}
        memory.add()
        return durable

    durable = await exactly_once(runtime, STEP, body)
    if tally.found is not None:
        # A step that is replayed from its checkpoint has counted in another process.
        tally.counted = {**memory.read(), "variable": variable + 1, "durable": durable}
        runtime.progress.advance()
    return durable


async def reached(connection: Connection, run: Run) -> Reached:
    """Return how far a run of either scenario has come."""
    done = await connection.fetchval(
        "SELECT value FROM aexp.counters WHERE run_id = $1 AND name = $2", run.run_id, COUNTER
    )
    return Reached(done or 0, run.parameters["steps"])


async def begin(runtime: Runtime, tally: Tally) -> AsyncIterator[None]:
    """Open the resources of both scenarios: nothing but what they tell of themselves."""
    runtime.progress.remember(tally.as_json)
    yield
