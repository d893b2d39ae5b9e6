"""``steps``: a thousand steps of one workflow, one after the other and all at once."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from typing import Any

from dbos import DBOS, SetWorkflowID

from aexp.bench.workload import Cell, Comparison, Counted, Variant, Workload
from aexp.bench.workloads.bare import launched, launched_async
from aexp.engine.runtime import open_runtime

__all__ = ["STEPS"]

RUN_ID = "bench"
WARM_UP_STEPS = 5


@DBOS.step(name="bench.sync.step")
def _step_sync(number: int) -> int:
    return number


@DBOS.workflow(name="bench.sync.steps")
def _steps_sync(steps: int) -> list[int]:
    return [_step_sync(number) for number in range(steps)]


@DBOS.step(name="bench.step")
async def _step(number: int) -> int:
    return number


@DBOS.workflow(name="bench.steps")
async def _steps(steps: int, gathered: bool) -> list[int]:  # noqa: FBT001
    if gathered:
        # A step gets its number when its coroutine starts, and gather starts them in order.
        return await asyncio.gather(*(_step(number) for number in range(steps)))
    return [await _step(number) for number in range(steps)]


def run_sync(cell: Cell) -> Counted:
    """Loop over the steps. Size: ``steps``."""
    with launched(cell, threads=None):
        _steps_sync(WARM_UP_STEPS)
        with cell.measured(), SetWorkflowID(RUN_ID):
            _steps_sync(cell.size["steps"])
        return _counted(DBOS.list_workflow_steps(RUN_ID), cell.size["steps"])


async def run_async(cell: Cell) -> Counted:
    """Run in the runtime that a user of aexp has. Size: ``steps``, ``gathered``."""
    async with open_runtime(cell.settings, cell.url, scope=RUN_ID):
        return await _measure(cell)


async def run_naively(cell: Cell) -> Counted:
    """Run with DBOS's defaults: no bound on its threads. Size: ``steps``, ``gathered``."""
    async with launched_async(cell, threads=None):
        return await _measure(cell)


async def _measure(cell: Cell) -> Counted:
    await _steps(WARM_UP_STEPS, cell.size["gathered"])
    with cell.measured(), SetWorkflowID(RUN_ID):
        await _steps(cell.size["steps"], cell.size["gathered"])
    return _counted(await DBOS.list_workflow_steps_async(RUN_ID), cell.size["steps"])


def _counted(recorded: Sequence[Any], steps: int) -> Counted:
    """Count the checkpoints of the workflow: one for each step, with what it returned."""
    times = Counter(step["output"] for step in recorded)
    return Counted(
        units=len(recorded),
        anomalies=[
            f"step {number} has {times[number]} checkpoints"
            for number in sorted({*times, *range(steps)}, key=str)
            if times[number] != (number in range(steps))
        ],
    )


STEPS = Workload(
    name="steps",
    summary="many steps of one workflow",
    unit="step",
    size={"steps": 1000},
    quick_size={"steps": 300},
    variants=[
        Variant(name="sync", run=run_sync, loop=None),
        Variant(name="sequential", run=run_async, loop="uvloop", size={"gathered": False}),
        Variant(name="gathered", run=run_async, loop="uvloop", size={"gathered": True}),
        Variant(
            name="gathered asyncio",
            run=run_async,
            loop="asyncio",
            size={"gathered": True},
            in_quick=False,
        ),
        Variant(
            name="gathered naively",
            run=run_naively,
            loop="uvloop",
            size={"gathered": True},
            in_quick=False,
        ),
    ],
    comparisons=[
        Comparison(
            figure="rate",
            variant="gathered",
            against="sequential",
            least=1.5,
            reason="a step's checkpoint locks its workflow's row until its commit, so that those of"
            " one workflow queue up",
        ),
        Comparison(figure="rate", variant="gathered", against="sync"),
        Comparison(figure="rate", variant="sequential", against="sync"),
        Comparison(figure="cpu_ms", variant="gathered", against="sequential"),
        Comparison(figure="rate", variant="gathered naively", against="gathered"),
    ],
)
