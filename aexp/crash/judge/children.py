"""Is each child started once? Pure.

A child is known by its parent, step, name and arguments, not by its id: one that a step has made is
another in each experiment.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from aexp.crash.judge.comparison import BaselineComparison
from aexp.crash.judge.evidence import Evidence, WorkflowRecord
from aexp.crash.judge.identity import is_tick
from aexp.crash.judge.wording import often
from aexp.model.promise import SAMPLE, Anomaly

__all__ = ["children_once"]


def children_once(comparison: BaselineComparison) -> Sequence[Anomaly]:
    """Check that no step has started two workflows, and that what it started is there.

    What a schedule started has its time for an id, and no two runs are of the same time: which
    ticks there must be, the scenario's own promises say.
    """
    return [*_unreferenced(comparison), *_missing(comparison), *_on_their_own(comparison)]


def _unreferenced(comparison: BaselineComparison) -> list[Anomaly]:
    """Find children that no step of their parent leads to: another one took their place."""
    found = comparison.found
    usual = max(
        (Counter(row.name for row in _strays(run)) for run in comparison.baseline.runs),
        key=Counter.total,
    )
    strays = _strays(found)
    seen = Counter(row.name for row in strays)
    anomalies = []
    for row in strays:
        if seen[row.name] <= usual[row.name]:
            continue
        twins = [
            other
            for other in found.workflows
            if other.parent_id == row.parent_id
            and other.name == row.name
            and other.workflow_id != row.workflow_id
        ]
        what = f"child `{row.name}` was started twice by one call"
        if not twins:
            what = f"child `{row.name}` was started, and its parent knows nothing of it"
        anomalies.append(
            Anomaly(
                what,
                [_row(each) for each in (row, *twins)][:SAMPLE],
                kind="child_started_twice",
                cause=row.name,
            )
        )
    return anomalies[:SAMPLE]


def _strays(run: Evidence) -> list[WorkflowRecord]:
    """Return the children that no step of their parent records, of parents that are there."""
    recorded = {step.child_id for step in run.steps}
    known = {row.workflow_id for row in run.workflows}
    return [
        row
        for row in run.workflows
        if row.parent_id in known and row.workflow_id not in recorded and not is_tick(row)
    ]


def _missing(comparison: BaselineComparison) -> list[Anomaly]:
    """Find children that a step records and that are not there, unless that is so without a
    fault.
    """
    absent = _absent(comparison.found)
    usual = max(len(_absent(run)) for run in comparison.baseline.runs)
    if len(absent) <= usual:
        return []
    return [
        Anomaly(
            f"child `{row['name']}` is missing: a step has recorded that it was started",
            [row],
            kind="child_missing",
            cause=str(row["name"]),
        )
        for row in absent[:SAMPLE]
    ]


def _absent(run: Evidence) -> list[Mapping[str, Any]]:
    known = {row.workflow_id for row in run.workflows}
    return [
        {"parent_id": step.workflow_id, "step_id": step.step_id, "name": step.name,
         "child_id": step.child_id}
        for step in run.steps
        if step.child_id is not None and step.child_id not in known
    ]  # fmt: skip


def _on_their_own(comparison: BaselineComparison) -> list[Anomaly]:
    """Find workflows that no workflow is the parent of, a step having started them by a client: as
    many as without a fault, where all workflows took the same steps.
    """
    if not comparison.same_path:
        return []
    counts = [_parentless(run) for run in comparison.baseline.runs]
    if any(count != counts[0] for count in counts):
        return []
    seen = _parentless(comparison.found)
    anomalies = []
    for name in sorted(seen.keys() | counts[0].keys()):
        if seen[name] == counts[0][name]:
            continue
        rows = [_row(row) for row in comparison.found.workflows if row.name == name]
        twice = seen[name] > counts[0][name]
        anomalies.append(
            Anomaly(
                f"workflow `{name}` was started {often(seen[name])}, and"
                f" {often(counts[0][name])} without a fault",
                rows[:SAMPLE],
                kind="child_started_twice" if twice else "child_missing",
                cause=name,
            )
        )
    return anomalies


def _parentless(run: Evidence) -> Counter[str]:
    return Counter(
        row.name
        for row in run.workflows
        if row.parent_id is None and row.workflow_id != run.run_id and not is_tick(row)
    )


def _row(row: WorkflowRecord) -> Mapping[str, Any]:
    return {
        "workflow_id": row.workflow_id,
        "name": row.name,
        "status": row.status,
        "parent_id": row.parent_id,
        "inputs": row.inputs_digest,
    }
