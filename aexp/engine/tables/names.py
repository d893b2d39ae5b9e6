"""What DBOS calls its tables, for those who compare names and ask nothing."""

from __future__ import annotations

__all__ = ["DATASOURCE_OUTPUTS", "OPERATION_OUTPUTS", "WORKFLOW_STATUS"]

WORKFLOW_STATUS = "dbos.workflow_status"
# The checkpoints of steps, and of those whose own writes go with them in one transaction.
OPERATION_OUTPUTS = "dbos.operation_outputs"
DATASOURCE_OUTPUTS = "dbos.datasource_outputs"
