"""An append-only ledger: one row for each time that a step's body began.

DBOS keeps the outcome of a step, not how often its body ran. The row is committed on its own
before the body has any effect, so that a body which was killed or raised is counted too.
"""

from __future__ import annotations

import os
import time

from dbos import DBOS

from aexp.runtime import Runtime

__all__ = ["enter"]


async def enter(runtime: Runtime, run_id: str, step: str) -> None:
    """Record that the body of ``step`` begins, in the workflow that calls it."""
    await runtime.database.pool.execute(
        "INSERT INTO aexp.ledger (run_id, workflow_id, step, pid, executor_id, began_at)"
        " VALUES ($1, $2, $3, $4, $5, to_timestamp($6))",
        run_id,
        DBOS.workflow_id,
        step,
        os.getpid(),
        runtime.settings.executor_id,
        # The clock that DBOS stamps the step's checkpoint with, so that the two can be compared.
        time.time(),
    )
