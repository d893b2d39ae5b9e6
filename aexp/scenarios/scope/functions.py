"""``scope-functions``: the same count as ``scope``, by plain functions and a global."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping

import structlog
from dbos import DBOS

from aexp.engine.runtime import Runtime
from aexp.model.run import Run
from aexp.model.scenario import Scenario
from aexp.scenarios.scope.counting import CountParameters, Tally, add_one, begin, reached
from aexp.scenarios.scope.evidence import gather
from aexp.scenarios.scope.promises import PROMISES, account

__all__ = ["SCENARIO"]

log = structlog.stdlib.get_logger("aexp.scope")

global_counter = 0


class _Module:
    """The module's global, as ``add_one`` reads and changes it."""

    def read(self) -> Mapping[str, int]:
        return {"module": global_counter}

    def add(self) -> None:
        global global_counter  # noqa: PLW0603 - the scenario is about a global
        global_counter += 1


module, tally = _Module(), Tally()


@DBOS.workflow(name="scope_functions.count")
async def count(steps: int, pause_s: float) -> Mapping[str, int]:
    """Count to ``steps``; what the workflow's variable and the durable counter came to."""
    variable = durable = 0
    for _ in range(steps):
        durable = await add_one(
            str(DBOS.workflow_id), module, tally, variable=variable, pause_s=pause_s
        )
        variable += 1
    log.info("scope.counted", variable=variable, durable=durable)
    return {"variable": variable, "durable": durable}


def _resources(runtime: Runtime, _run: Run) -> AsyncIterator[None]:
    return begin(runtime, tally)


SCENARIO = Scenario(
    name="scope-functions",
    summary="Count in a module and durably, without a class: which counts survive a kill.",
    workflow=count,
    parameters=CountParameters,
    resources=_resources,
    reached=reached,
    steps=lambda parameters, _facts: int(parameters.steps),
    gather=gather,
    promises=PROMISES,
    account=account,
)
