"""Why a process does not take up work that is there: from rows to causes. Pure.

DBOS recovers what is PENDING under its own executor id, application version and name, and leaves
the rest for ever, without a word; see also its log lines for a function or an instance that it does
not find.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

from aexp.crash.judge.evidence import WorkflowRecord
from aexp.crash.judge.points import Restart
from aexp.engine.statuses import UNFINISHED

__all__ = ["OTHER_EXECUTOR", "OTHER_VERSION", "find_causes"]

OTHER_EXECUTOR = "another-executor"
OTHER_VERSION = "another-version"


def find_causes(
    workflows: Sequence[WorkflowRecord], *, executor_id: str, version: str, log: str
) -> Mapping[str, Sequence[str]]:
    """Find what keeps each unfinished workflow from a process of this executor and version that has
    logged ``log``: a :class:`Restart`'s name → ids. One that nothing explains stands under
    ``unknown``.
    """
    causes: defaultdict[str, list[str]] = defaultdict(list)
    for row in workflows:
        if row.status in UNFINISHED:
            causes[_cause(row, executor_id, version, log)].append(row.workflow_id)
    return dict(causes)


def _cause(row: WorkflowRecord, executor_id: str, version: str, log: str) -> str:
    if row.application_version != version:
        return Restart.VERSION
    if row.status == "PENDING" and row.executor_id != executor_id:
        return Restart.EXECUTOR
    if row.instance is not None and f"'{row.instance}' is not registered" in log:
        return Restart.INSTANCE
    return "unknown"
