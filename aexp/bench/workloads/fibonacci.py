"""``fibonacci``: work for the processor in fifty workflows, one step each, and a loop that is free.

The limit is what the same numbers take one after the other, with nothing else to do, divided by the
cores: nobody can be faster who does not find cores elsewhere. ``finish_s`` is that, and for the
others the time from the first workflow's start to the last one's end.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, contextmanager
from multiprocessing import get_context
from typing import Any

from dbos import DBOS

from aexp.bench.workload import Cell, Comparison, Counted, Curve, CurvePoint, Variant, Workload
from aexp.bench.workloads.bare import POLL_S, launched, register
from aexp.durable.fan_out import fan_out
from aexp.durable.offload import OffloadMode, Pool, available_cores, open_pool
from aexp.engine.runtime import Queue, open_runtime
from aexp.scenarios.fibonacci.numbers import fibonacci, naive

__all__ = ["FIBONACCI"]

RUN_ID = "bench"
QUEUE = "example_queue"
# While some compute, others are at their checkpoints.
_AT_A_TIME = 16

# Of this process, as DBOS is: a workflow's inputs could not carry them.
_pool: Pool | None = None
_compute: Callable[[int], int] = naive


class _Stopwatch:
    """How long the measured part of a cell takes."""

    seconds = 0.0

    @contextmanager
    def measuring(self, cell: Cell) -> Iterator[None]:
        with cell.measured():
            began = time.perf_counter()
            yield
            self.seconds = time.perf_counter() - began


@DBOS.step(name="bench.sync.fibonacci_step")
def _step_sync(number: int) -> int:
    return _compute(number)


@DBOS.workflow(name="bench.sync.fibonacci")
def _fibonacci_sync(index: int, number: int) -> tuple[int, int]:
    return index, _step_sync(number)


@DBOS.workflow(name="bench.sync.fibonacci_all")
def _fibonacci_all_sync(numbers: int, number: int) -> list[tuple[int, int]]:
    handles = [
        DBOS.enqueue_workflow(QUEUE, _fibonacci_sync, index, number) for index in range(numbers)
    ]
    return [handle.get_result(polling_interval_sec=POLL_S) for handle in handles]


def run_sync(cell: Cell) -> Counted:
    """Compute in the threads of the workflows, or in ``processes`` that each of them waits for.

    Size: ``numbers``, ``number``, ``processes``.
    """
    global _compute  # noqa: PLW0603 - see above
    cores, watch = available_cores(), _Stopwatch()
    with ExitStack() as stack:
        if cell.size["processes"]:
            workers = ProcessPoolExecutor(cores, mp_context=get_context("spawn"))
            processes = stack.enter_context(workers)
            list(processes.map(naive, [1] * cores))
            _compute = lambda number: processes.submit(naive, number).result()  # noqa: E731
        else:
            _compute = naive
        stack.enter_context(launched(cell, threads=_AT_A_TIME * cores))
        register(QUEUE, concurrency=_AT_A_TIME * cores if cell.size["processes"] else cores)
        _fibonacci_all_sync(cores, 1)
        with watch.measuring(cell):
            _fibonacci_all_sync(cell.size["numbers"], cell.size["number"])
        ended = DBOS.list_workflows(name="bench.sync.fibonacci", load_input=True)
    return _counted(cell, ended, watch)


@DBOS.workflow(name="bench.fibonacci")
async def _fibonacci(index: int, number: int) -> tuple[int, int]:
    return index, await DBOS.run_step_async({"name": "fibonacci"}, _offloaded, number)


async def _offloaded(number: int) -> int:
    assert _pool is not None
    return (await _pool.run(naive, number)).value


@DBOS.workflow(name="bench.fibonacci_all")
async def _fibonacci_all(numbers: int, number: int) -> list[tuple[int, int]]:
    arguments = ({"index": index, "number": number} for index in range(numbers))
    return await fan_out(_fibonacci, arguments, queue=QUEUE)


async def run_async(cell: Cell) -> Counted:
    """Compute off the loop, in one of the ways that aexp has: ``offload``.

    Size: ``numbers``, ``number`` too, and ``cores``, how many of them to use.
    """
    global _pool
    cores, watch = cell.size.get("cores", available_cores()), _Stopwatch()
    queue = Queue(name=QUEUE, worker_concurrency=_AT_A_TIME * cores)
    async with (
        open_pool(OffloadMode(cell.size["offload"]), cores) as _pool,
        open_runtime(cell.settings, cell.url, scope=RUN_ID, queues=[queue]),
    ):
        await _fibonacci_all(cores, 1)
        with watch.measuring(cell):
            await _fibonacci_all(cell.size["numbers"], cell.size["number"])
        ended = await DBOS.list_workflows_async(name="bench.fibonacci", load_input=True)
    return _counted(cell, ended, watch)


def run_alone(cell: Cell) -> Counted:
    """Compute one number after the other, in a process that does nothing else.

    Size: ``numbers``, ``number``.
    """
    naive(20)
    watch = _Stopwatch()
    with watch.measuring(cell):
        values = [naive(cell.size["number"]) for _ in range(cell.size["numbers"])]
    expected = fibonacci(cell.size["number"])
    return Counted(
        units=values.count(expected),
        anomalies=[f"{value} is not {expected}" for value in {*values} - {expected}],
        figures={"finish_s": watch.seconds / available_cores()},
    )


def _counted(cell: Cell, ended: Sequence[Any], watch: _Stopwatch) -> Counted:
    """Count the workflows that ended: one for each index, each with the right value."""
    numbers, number = cell.size["numbers"], cell.size["number"]
    results = [
        tuple(workflow.output)
        for workflow in ended
        if workflow.status == "SUCCESS" and number in _arguments(workflow)
    ]
    times = Counter(results)
    expected = {(index, fibonacci(number)) for index in range(numbers)}
    return Counted(
        units=len(results),
        anomalies=[
            f"number {index} came to {value} in {times[index, value]} workflows"
            for index, value in sorted({*times, *expected})
            if times[index, value] != ((index, value) in expected)
        ],
        figures={"finish_s": watch.seconds},
    )


def _arguments(workflow: Any) -> list[Any]:
    return [*workflow.input["args"], *workflow.input["kwargs"].values()]


_REASON = "DBOS and PostgreSQL need the processors on which others are computed"
_REASON_24 = "what DBOS and PostgreSQL do for a number takes longer than to compute it"


def _on(cores: int) -> CurvePoint:
    return CurvePoint("process", cores)


FIBONACCI = Workload(
    name="fibonacci",
    summary="work for the processor beside the event loop",
    unit="number",
    size={"numbers": 50, "number": 29},
    quick_size={"numbers": 16, "number": 29},
    headline="finish_s",
    curve=Curve(x="worker processes", figure="rate", log_x=False, relative=True),
    variants=[
        Variant(name="sync", run=run_sync, loop=None, size={"processes": False}),
        Variant(
            name="sync, processes",
            run=run_sync,
            loop=None,
            size={"processes": True},
            in_quick=False,
        ),
        *(
            Variant(
                name=mode.value,
                run=run_async,
                loop="uvloop",
                size={"offload": mode.value},
                in_quick=mode is OffloadMode.PROCESS,
                point=_on(available_cores()) if mode is OffloadMode.PROCESS else None,
            )
            for mode in OffloadMode
        ),
        *(
            Variant(
                name=f"process, {cores} of {available_cores()} cores",
                run=run_async,
                loop="uvloop",
                size={"offload": OffloadMode.PROCESS.value, "cores": cores},
                in_quick=False,
                point=_on(cores),
            )
            for cores in range(1, available_cores())
        ),
        Variant(
            name="process asyncio",
            run=run_async,
            loop="asyncio",
            size={"offload": "process"},
            in_quick=False,
        ),
        Variant(name="limit", run=run_alone, loop=None),
        Variant(
            name="process, fib(24)",
            run=run_async,
            loop="uvloop",
            size={"offload": "process", "number": 24},
            in_quick=False,
        ),
        Variant(
            name="limit, fib(24)", run=run_alone, loop=None, size={"number": 24}, in_quick=False
        ),
    ],
    comparisons=[
        Comparison(
            figure="finish_s", variant="process", against="limit", most=1.15, reason=_REASON
        ),
        Comparison(figure="rate", variant="process", against="sync", least=2.2, reason=_REASON),
        Comparison(figure="rate", variant="process", against="sync, processes"),
        Comparison(
            figure="finish_s",
            variant="process, fib(24)",
            against="limit, fib(24)",
            most=2.0,
            reason=_REASON_24,
        ),
        Comparison(figure="lag_p99_ms", variant="process", most=50.0),
        Comparison(figure="lag_p99_ms", variant="thread"),
        Comparison(figure="lag_p99_ms", variant="none"),
    ],
)
