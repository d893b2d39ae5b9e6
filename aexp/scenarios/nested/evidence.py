"""Read the evidence of a run of ``nested`` from the database."""

from __future__ import annotations

from aexp.database.connect import Connection
from aexp.model.run import Ending, Run
from aexp.scenarios.nested.promises import QUEUE, STEP, NestedEvidence, NestedStep, NestedWorkflow

__all__ = ["gather"]


async def gather(connection: Connection, run: Run, ending: Ending) -> NestedEvidence:
    """Read every workflow of the run with its parent, and the checkpoints of the step."""
    workflows = await connection.fetch(
        "SELECT workflow_uuid AS workflow_id, name, parent_workflow_id AS parent_id,"
        # A child that was recovered is put into DBOS's internal queue, never into ours.
        " CASE WHEN workflow_uuid = $2 THEN NULL WHEN queue_name = $3 THEN 'queued'"
        "      ELSE 'direct' END AS mode,"
        " status, created_at AS began_ms, completed_at AS ended_ms,"
        " coalesce(recovery_attempts, 0) AS attempts,"
        " EXISTS (SELECT FROM dbos.operation_outputs AS steps"
        "         WHERE steps.workflow_uuid = children.parent_workflow_id"
        "         AND steps.child_workflow_id = children.workflow_uuid) AS acknowledged"
        " FROM dbos.workflow_status AS children WHERE application_version = $1"
        " ORDER BY created_at, workflow_uuid",
        run.application_version,
        run.run_id,
        f"{QUEUE}.{run.run_id}",
    )
    steps = await connection.fetch(
        "SELECT steps.workflow_uuid AS workflow_id, function_id,"
        " steps.started_at_epoch_ms AS began_ms, completed_at_epoch_ms AS ended_ms"
        " FROM dbos.operation_outputs AS steps"
        " JOIN dbos.workflow_status AS workflows USING (workflow_uuid)"
        " WHERE workflows.application_version = $1 AND function_name = $2"
        " ORDER BY steps.workflow_uuid, function_id",
        run.application_version,
        STEP,
    )
    return NestedEvidence(
        run_id=run.run_id,
        ended=ending.status == "SUCCESS",
        workflows=[NestedWorkflow(**dict(row)) for row in workflows],
        steps=[NestedStep(**dict(row)) for row in steps],
    )
