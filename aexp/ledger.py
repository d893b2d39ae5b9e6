"""An append-only ledger: one row for each time that a step's body began.

DBOS keeps the outcome of a step, not how often its body ran. The row is committed on its own
before the body has any effect, so that a body which was killed or raised is counted too.
"""

from __future__ import annotations

import os

from dbos import DBOS

from aexp.database.connect import patiently
from aexp.runtime import Runtime

__all__ = ["enter"]

# Whether the step had a durable checkpoint by then is asked in the same statement: it tells a body
# that ran again although it must not, without comparing clocks.
_ENTER = """
    INSERT INTO aexp.ledger (run_id, workflow_id, step, step_id, pid, executor_id, checkpointed)
    SELECT $1, $2, $3, $4, $5, $6,
        EXISTS (SELECT FROM dbos.operation_outputs
                WHERE workflow_uuid = $2 AND function_id = $4)
        OR EXISTS (SELECT FROM dbos.datasource_outputs
                   WHERE workflow_id = $2 AND step_id = $4)
"""


async def enter(runtime: Runtime, run_id: str, step: str) -> None:
    """Record that the body of ``step`` begins, in the workflow that calls it."""
    row = (
        run_id,
        DBOS.workflow_id,
        step,
        DBOS.step_id,
        os.getpid(),
        runtime.settings.executor_id,
    )
    await patiently(lambda: runtime.database.pool.execute(_ENTER, *row))
