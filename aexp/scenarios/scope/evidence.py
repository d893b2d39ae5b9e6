"""Read the evidence of a run of ``scope`` or ``scope-functions`` from the database."""

from __future__ import annotations

from aexp.database.connect import Connection
from aexp.model.run import Ending, Run
from aexp.scenarios.scope.counting import COUNTER, STEP
from aexp.scenarios.scope.promises import CountEvidence, ProcessCounts

__all__ = ["gather"]


async def gather(connection: Connection, run: Run, ending: Ending) -> CountEvidence:
    """Read the checkpoints, the durable counter, and what the processes told of themselves."""
    # One statement, and both places: between the commit of a step and DBOS's own record of it the
    # checkpoint stands only where the transaction put it.
    row = await connection.fetchrow(
        "SELECT (SELECT count(*) FROM ("
        "   SELECT function_id FROM dbos.operation_outputs"
        "    WHERE workflow_uuid = $1 AND function_name = $2 AND error IS NULL"
        "   UNION SELECT step_id FROM dbos.datasource_outputs"
        "    WHERE workflow_id = $1 AND error IS NULL) AS steps) AS checkpoints,"
        " (SELECT value FROM aexp.counters WHERE run_id = $1 AND name = $3) AS durable",
        run.run_id,
        STEP,
        COUNTER,
    )
    assert row is not None
    return CountEvidence(
        steps=run.parameters["steps"],
        checkpoints=row["checkpoints"],
        durable=row["durable"] or 0,
        variable=ending.result["variable"] if ending.status == "SUCCESS" else None,
        ended=ending.status == "SUCCESS",
        processes=[
            ProcessCounts(
                process.pid,
                process.ended,
                (process.memory or {}).get("found"),
                (process.memory or {}).get("counted"),
            )
            for process in ending.processes
        ],
    )
