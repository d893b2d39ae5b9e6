"""Read the evidence of a run of ``fibonacci``."""

from __future__ import annotations

from aexp.database.connect import Connection
from aexp.model.run import Ending, Run
from aexp.processes.loop_lag import merged
from aexp.scenarios.fibonacci.promises import FibonacciEvidence

__all__ = ["gather"]


async def gather(_connection: Connection, run: Run, ending: Ending) -> FibonacciEvidence:
    """Read the root's result, and what the processes told of themselves."""
    numbers, largest = run.parameters["numbers"], run.parameters["largest"]
    memories = [process.memory for process in ending.processes if process.memory is not None]
    return FibonacciEvidence(
        asked=[min(index, largest) for index in range(1, numbers + 1)],
        steps=ending.result if ending.status == "SUCCESS" else None,
        offload=run.parameters["offload"],
        lag_ms=merged(memory["lag_ms"] for memory in memories),
        measured_s=sum(memory["measured_s"] for memory in memories),
        cpu_s=sum(memory["cpu_s"] for memory in memories),
        cores=memories[-1]["cores"] if memories else None,
        workers=memories[-1]["workers"] if memories else None,
    )
