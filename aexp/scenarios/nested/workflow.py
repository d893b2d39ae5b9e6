"""``nested``: root → child → grandchild → step, and who is whose after a kill.

Every level calls the next one twice: once it awaits it directly, once through a queue. Both ways
DBOS makes a child workflow of its own; both ways a parent that is killed finds the same child.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from typing import Any, Literal

import structlog
from dbos import DBOS, SetWorkflowID
from pydantic import Field

from aexp.database.connect import Connection
from aexp.durable import ledger
from aexp.engine.runtime import Queue, current_runtime
from aexp.model.parameters import Parameters
from aexp.model.run import Run
from aexp.model.scenario import Scenario
from aexp.processes.progress import Reached
from aexp.scenarios.nested.evidence import gather
from aexp.scenarios.nested.promises import PROMISES, QUEUE, STEP, WORKFLOWS, account

__all__ = ["SCENARIO", "NestedParameters"]

# DBOS looks once a second unless it is told otherwise.
POLL_S = 0.05

NestedMode = Literal["direct", "queued"]
Level = Callable[[str, str, NestedMode, float], Coroutine[Any, Any, Mapping[str, Any]]]

log = structlog.stdlib.get_logger("aexp.nested")


class NestedParameters(Parameters):
    """How long each level sleeps."""

    pause_s: float = Field(
        0.1, ge=0, le=3600, description="durable sleep of each level; the seed's was 1"
    )


@DBOS.workflow(name="nested.root")
async def root(pause_s: float) -> Mapping[str, Any]:
    """Sleep, then have a child by each way; what they came to."""
    await DBOS.sleep_async(pause_s)
    return await _both_ways(child, str(DBOS.workflow_id), pause_s)


@DBOS.workflow(name="nested.child")
async def child(run_id: str, parent_id: str, mode: NestedMode, pause_s: float) -> Mapping[str, Any]:
    """Sleep, then have a grandchild by each way; what they came to."""
    log.info("nested.level_began", mode=mode, parent_workflow_id=parent_id)
    await DBOS.sleep_async(pause_s)
    return await _both_ways(grandchild, run_id, pause_s)


@DBOS.workflow(name="nested.grandchild")
async def grandchild(
    run_id: str, parent_id: str, mode: NestedMode, pause_s: float
) -> Mapping[str, Any]:
    """Sleep, then do the one step."""
    log.info("nested.level_began", mode=mode, parent_workflow_id=parent_id)
    await DBOS.sleep_async(pause_s)
    return {"mode": mode, "step": await DBOS.run_step_async({"name": STEP}, _work, run_id)}


async def _both_ways(workflow: Level, run_id: str, pause_s: float) -> Mapping[str, Any]:
    """Await ``workflow`` directly as a child, then as one that goes through the queue."""
    here = str(DBOS.workflow_id)
    # DBOS would call them HERE-2 and HERE-4, as another run may be called.
    with SetWorkflowID(f"{here}.direct"):
        direct = await workflow(run_id, here, "direct", pause_s)
    with SetWorkflowID(f"{here}.queued"):
        handle = await DBOS.enqueue_workflow_async(
            current_runtime().queue_name(QUEUE), workflow, run_id, here, "queued", pause_s
        )
    return {"direct": direct, "queued": await handle.get_result(polling_interval_sec=POLL_S)}


async def _work(run_id: str) -> str:
    """Run the step at the end of each branch; return the workflow that it ran in."""
    runtime = current_runtime()
    await ledger.record_body(runtime, run_id, STEP)
    runtime.progress.advance()
    return str(DBOS.workflow_id)


async def _reached(connection: Connection, run: Run) -> Reached:
    done = await connection.fetchval(
        "SELECT count(DISTINCT workflow_id) FROM aexp.ledger WHERE run_id = $1", run.run_id
    )
    return Reached(done, WORKFLOWS["nested.grandchild"])


SCENARIO = Scenario(
    name="nested",
    summary="Call workflows from workflows, directly and through a queue, and draw the tree.",
    workflow=root,
    parameters=NestedParameters,
    # Without a limit: parents wait here for children that need the same queue.
    queues=lambda _parameters: [Queue(name=QUEUE)],
    reached=_reached,
    steps=lambda _parameters, _facts: WORKFLOWS["nested.grandchild"],
    gather=gather,
    promises=PROMISES,
    account=account,
)
