"""Append-only rows of what happened, however the process that wrote them ended.

DBOS keeps the outcome of a step, not how often its body ran. A row in ``aexp.ledger`` is committed
on its own before the body has any effect, so that a body which was killed or raised is counted too.
``aexp.events`` takes whatever else an audit wants to know of a process.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from dbos import DBOS

from aexp.database.retry import retry_on_disconnect
from aexp.engine.runtime import Runtime
from aexp.engine.tables.steps import has_checkpoint, has_transaction

__all__ = ["record_body", "record_event"]

# Whether the step had a durable checkpoint by then is asked in the same statement: it tells a body
# that ran again although it must not, without comparing clocks.
_RECORD_BODY = f"""
    INSERT INTO aexp.ledger (run_id, workflow_id, step, step_id, pid, executor_id, checkpointed)
    SELECT $1, $2, $3, $4, $5, $6,
        {has_checkpoint("$2", "$4")}
        OR {has_transaction("$2", "$4")}
"""


async def record_body(runtime: Runtime, run_id: str, step: str) -> None:
    """Record that the body of ``step`` begins, in the workflow that calls it."""
    row = (
        run_id,
        DBOS.workflow_id,
        step,
        DBOS.step_id,
        os.getpid(),
        runtime.settings.executor_id,
    )
    await retry_on_disconnect(lambda: runtime.database.pool.execute(_RECORD_BODY, *row))


async def record_event(runtime: Runtime, run_id: str, event: str, data: Mapping[str, Any]) -> None:
    """Record that ``event`` happened in this process; ``data`` are JSON values.

    In a workflow or a step it is recorded with the workflow's id. After a lost connection it may
    be recorded twice.
    """
    row = (run_id, event, DBOS.workflow_id, os.getpid(), data)
    await retry_on_disconnect(
        lambda: runtime.database.pool.execute(
            "INSERT INTO aexp.events (run_id, event, workflow_id, pid, data)"
            " VALUES ($1, $2, $3, $4, $5)",
            *row,
        )
    )
