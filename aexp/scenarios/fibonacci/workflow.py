"""``fibonacci``: fifty queued workflows that burn a processor, and an event loop that stays free.

Workflow i computes Fibonacci(i) by naive recursion, in worker processes: one a core. A ticker
measures the loop meanwhile; ``offload=none`` and ``offload=thread`` show what it is spared.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

import anyio
import structlog
from dbos import DBOS
from pydantic import Field

from aexp.database.connect import Connection
from aexp.durable import ledger
from aexp.durable.fan_out import fan_out
from aexp.durable.offload import OffloadMode, Pool, available_cores, open_pool
from aexp.engine.runtime import Queue, Runtime, current_runtime
from aexp.engine.tables.workflows import count_succeeded
from aexp.model.parameters import Parameters
from aexp.model.run import Run
from aexp.model.scenario import Scenario
from aexp.processes.loop_lag import LagMonitor
from aexp.processes.progress import Reached
from aexp.scenarios.fibonacci import numbers as fibonacci
from aexp.scenarios.fibonacci.evidence import gather
from aexp.scenarios.fibonacci.promises import PROMISES, account

__all__ = ["SCENARIO", "FibonacciParameters"]

QUEUE = "example_queue"

log = structlog.stdlib.get_logger("aexp.fibonacci")


class FibonacciParameters(Parameters):
    """What to compute and where."""

    numbers: int = Field(50, ge=1, le=10_000, description="workflows; number i computes the i-th")
    largest: int = Field(
        24, ge=0, le=60, description="no number is larger: 29 takes 0.1 s, 50 most of an hour"
    )
    offload: OffloadMode = Field(OffloadMode.PROCESS, description="where it computes")
    workers: int | None = Field(
        None, ge=1, le=256, description="at a time; without it one for each core"
    )

    def number(self, index: int) -> int:
        """Return what the workflow of this index computes, from 1 on."""
        return min(index, self.largest)


class _ProcessTools:
    """What this process computes with, and what it has measured."""

    def __init__(self, pool: Pool, lag: LagMonitor) -> None:
        self.pool = pool
        self.lag = lag
        self.computed = 0
        self.cpu_s = 0.0

    def memory(self) -> Mapping[str, Any]:
        """Return what this process says of itself, as JSON values."""
        return {
            "lag_ms": self.lag.histogram(),
            "measured_s": round(self.lag.measured_s, 4),
            "cores": available_cores(),
            "workers": self.pool.workers,
            "computed": self.computed,
            "cpu_s": round(self.cpu_s, 4),
        }


# Worker processes belong to this process, as a workflow's inputs never could.
_bench: _ProcessTools | None = None


def _current_bench() -> _ProcessTools:
    assert _bench is not None, "the scenario's resources are not open"
    return _bench


@DBOS.workflow(name="fibonacci.compute_all")
async def compute_all(**given: Any) -> list[Mapping[str, Any]]:
    """Compute every number in a workflow of its own; takes the fields of FibonacciParameters.

    Returns ``{"index", "number", "value", "cpu_s", "wall_s", "pids"}`` for each.
    """
    parameters = FibonacciParameters.model_validate(given)
    with _current_bench().lag.measuring():
        computed = await fan_out(
            compute,
            (
                {"run_id": DBOS.workflow_id, "index": index, "number": parameters.number(index)}
                for index in range(1, parameters.numbers + 1)
            ),
            queue=QUEUE,
        )
    log.info("fibonacci.run_ended", numbers=len(computed))
    return computed


@DBOS.workflow(name="fibonacci.compute")
async def compute(run_id: str, index: int, number: int) -> Mapping[str, Any]:
    """Compute one number in one step."""
    return await DBOS.run_step_async({"name": "fibonacci"}, _compute, run_id, index, number)


async def _compute(run_id: str, index: int, number: int) -> dict[str, Any]:
    """Add up the parts of ``number``; a large one has many, as many at a time as there are
    workers.
    """
    bench = _current_bench()
    await ledger.record_body(current_runtime(), run_id, "fibonacci")
    total, cpu_s, pids = 0, 0.0, set()
    room = anyio.Semaphore(bench.pool.workers)

    async def add(part: int) -> None:
        nonlocal total, cpu_s
        try:
            computed = await bench.pool.run(fibonacci.naive, part)
        finally:
            room.release()
        total += computed.value
        cpu_s += computed.cpu_s
        bench.cpu_s += computed.cpu_s
        pids.add(computed.pid)
        current_runtime().progress.advance()

    began = time.perf_counter()
    async with anyio.create_task_group() as group:
        for part in fibonacci.parts(number):
            await room.acquire()
            group.start_soon(add, part)
    bench.computed += 1
    return {
        "index": index,
        "number": number,
        "value": total,
        "cpu_s": round(cpu_s, 6),
        "wall_s": round(time.perf_counter() - began, 6),
        "pids": sorted(pids),
    }


async def _resources(runtime: Runtime, run: Run) -> AsyncIterator[None]:
    """Start the worker processes and the ticker, for the life of this process."""
    global _bench  # noqa: PLW0603 - see _bench
    parameters = FibonacciParameters.model_validate(run.parameters)
    monitor = LagMonitor()
    async with (
        open_pool(parameters.offload, parameters.workers or available_cores()) as pool,
        anyio.create_task_group() as group,
    ):
        group.start_soon(monitor.tick)
        _bench = _ProcessTools(pool, monitor)
        runtime.progress.remember(_bench.memory)
        yield
        group.cancel_scope.cancel()


def _parts(parameters: FibonacciParameters, numbers: int) -> int:
    """Return the units of progress that so many numbers make: only large ones take more than
    one.
    """
    return sum(fibonacci.parts_count(parameters.number(index)) for index in range(1, numbers + 1))


async def _reached(connection: Connection, run: Run) -> Reached:
    """Return how many numbers have been computed; they are computed about in order."""
    computed = await count_succeeded(connection, run.application_version, "fibonacci.compute")
    parameters = FibonacciParameters.model_validate(run.parameters)
    return Reached(_parts(parameters, computed), _parts(parameters, parameters.numbers))


def _values(results: Sequence[Mapping[str, Any]]) -> Sequence[tuple[int, int, int]]:
    """Return what was computed, without how long it took and where."""
    return [(result["index"], result["number"], result["value"]) for result in results]


def _queues(parameters: FibonacciParameters) -> Sequence[Queue]:
    # More than there are workers: while some compute, others are at their checkpoints.
    workers = parameters.workers or available_cores()
    return [Queue(name=QUEUE, worker_concurrency=8 * workers)]


SCENARIO = Scenario(
    name="fibonacci",
    summary="Compute Fibonacci numbers off the event loop, and measure how free it stays.",
    workflow=compute_all,
    parameters=FibonacciParameters,
    queues=_queues,
    resources=_resources,
    reached=_reached,
    # Enqueue and collect beside one step for each number.
    steps=lambda parameters, _facts: 2 + int(parameters.numbers),
    gather=gather,
    promises=PROMISES,
    account=account,
    comparable=_values,
)
