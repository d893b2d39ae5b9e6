"""``scope``: thirty steps that count in five places, and which of these survive a kill.

Each step adds one to an attribute of the instance, to one of the class, to a global of the module,
and to a durable counter; the workflow counts in a variable of its own beside them.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import ClassVar

import structlog
from dbos import DBOS, DBOSConfiguredInstance

from aexp.engine.runtime import Runtime
from aexp.model.run import Run
from aexp.model.scenario import Scenario
from aexp.scenarios.scope.counting import CountParameters, Tally, add_one, begin, reached
from aexp.scenarios.scope.evidence import gather
from aexp.scenarios.scope.promises import PROMISES, account

__all__ = ["SCENARIO", "Counter"]

log = structlog.stdlib.get_logger("aexp.scope")

# The module's own count: it begins anew with the process, as the others in memory do.
global_counter = 0


@DBOS.dbos_class("scope.Counter")
class Counter(DBOSConfiguredInstance):
    """Counts on the instance, on the class and in the module."""

    class_counter: ClassVar[int] = 0

    def __init__(self, instance_id: str) -> None:
        super().__init__(config_name=instance_id)
        self.instance_counter = 0
        self.tally = Tally()

    def read(self) -> Mapping[str, int]:
        """Return what the counters in memory say."""
        return {
            "instance": self.instance_counter,
            "class": Counter.class_counter,
            "module": global_counter,
        }

    def add(self) -> None:
        """Add one to each of them."""
        global global_counter  # noqa: PLW0603 - the scenario is about a global
        self.instance_counter += 1
        Counter.class_counter += 1
        global_counter += 1

    @DBOS.workflow(name="scope.count")
    async def count(self, steps: int, pause_s: float) -> Mapping[str, int]:
        """Count to ``steps``; what the workflow's variable and the durable counter came to."""
        variable = durable = 0
        for _ in range(steps):
            durable = await add_one(
                str(DBOS.workflow_id), self, self.tally, variable=variable, pause_s=pause_s
            )
            # It follows from nothing but the results of steps, so a replay brings it back.
            variable += 1
        log.info("scope.counted", variable=variable, durable=durable)
        return {"variable": variable, "durable": durable}


counter = Counter("counter1")


def _resources(runtime: Runtime, _run: Run) -> AsyncIterator[None]:
    return begin(runtime, counter.tally)


SCENARIO = Scenario(
    name="scope",
    summary="Count on an instance, a class, a module and durably: which counts survive a kill.",
    workflow=counter.count,
    parameters=CountParameters,
    resources=_resources,
    reached=reached,
    steps=lambda parameters, _facts: int(parameters.steps),
    gather=gather,
    promises=PROMISES,
    account=account,
)
