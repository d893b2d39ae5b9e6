"""What ``nested`` promises: a tree without a doubled branch and without a lost one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from aexp.model.promise import Anomaly, Promise
from aexp.model.scenario import Account

__all__ = [
    "PROMISES",
    "QUEUE",
    "STEP",
    "WORKFLOWS",
    "NestedEvidence",
    "NestedStep",
    "NestedWorkflow",
    "account",
]

QUEUE = "nested_queue"
STEP = "work"
MODES = ("direct", "queued")
# How many there must be of each, level by level.
WORKFLOWS: Mapping[str, int] = {"nested.root": 1, "nested.child": 2, "nested.grandchild": 4}
PARENTS = ("nested.root", "nested.child")


@dataclass(frozen=True, slots=True)
class NestedStep:
    """A checkpoint of the step; times in ms since the epoch."""

    workflow_id: str
    function_id: int
    began_ms: int | None
    ended_ms: int | None


@dataclass(frozen=True, slots=True)
class NestedWorkflow:
    """A workflow as DBOS recorded it.

    ``mode`` is None for the root. ``acknowledged`` says whether a checkpoint of its parent names
    it. Times in ms since the epoch, ``ended_ms`` None while it has not ended.
    """

    workflow_id: str
    name: str
    parent_id: str | None
    mode: str | None
    status: str
    began_ms: int
    ended_ms: int | None
    attempts: int
    acknowledged: bool


@dataclass(frozen=True, slots=True)
class NestedEvidence:
    """The workflows of a run in the order in which they began, and the checkpoints of the step."""

    run_id: str
    ended: bool
    workflows: Sequence[NestedWorkflow]
    steps: Sequence[NestedStep]


def _one_child(evidence: NestedEvidence) -> Sequence[Anomaly] | None:
    if not evidence.workflows:
        return None
    children = Counter((workflow.parent_id, workflow.mode) for workflow in evidence.workflows)
    parents = {workflow.workflow_id: workflow.name in PARENTS for workflow in evidence.workflows}
    doubled = [
        {"parent": parent, "mode": mode, "children": count}
        for (parent, mode), count in children.items()
        if parent in parents and count > (1 if parents[parent] else 0)
    ]
    lacking = [
        {"parent": parent, "mode": mode, "children": 0}
        for parent, has_children in parents.items()
        for mode in MODES
        if has_children and evidence.ended and not children[parent, mode]
    ]
    anomalies = []
    if doubled:
        anomalies.append(Anomaly("workflows have more children of a mode than one", doubled))
    if lacking:
        anomalies.append(Anomaly("workflows lack a child of a mode", lacking))
    return anomalies


def _no_orphan(evidence: NestedEvidence) -> Sequence[Anomaly] | None:
    if not evidence.workflows:
        return None
    by_id = {workflow.workflow_id: workflow for workflow in evidence.workflows}
    children = [workflow for workflow in evidence.workflows if workflow.mode is not None]
    anomalies = []
    orphans = [_row(workflow) for workflow in children if workflow.parent_id not in by_id]
    if orphans:
        anomalies.append(Anomaly("workflows without a parent in the run", orphans))
    unknown = [
        _row(workflow)
        for workflow in children
        # Between its start and its parent's checkpoint a child is not named anywhere yet.
        if workflow.parent_id in by_id and evidence.ended and not workflow.acknowledged
    ]
    if unknown:
        anomalies.append(Anomaly("workflows that no checkpoint of their parent names", unknown))
    outliving = [
        _row(workflow)
        for workflow in children
        if (parent := by_id.get(workflow.parent_id or "")) is not None
        and parent.ended_ms is not None
        and (workflow.ended_ms is None or workflow.ended_ms > parent.ended_ms)
    ]
    if outliving:
        anomalies.append(Anomaly("workflows that outlived the parent that awaits them", outliving))
    return anomalies


def _step_once(evidence: NestedEvidence) -> Sequence[Anomaly] | None:
    if not evidence.ended:
        return None
    steps = Counter(step.workflow_id for step in evidence.steps)
    wrong = [
        {"workflow_id": workflow.workflow_id, "checkpoints": steps[workflow.workflow_id]}
        for workflow in evidence.workflows
        if steps[workflow.workflow_id] != (0 if workflow.name in PARENTS else 1)
    ]
    return [Anomaly("workflows whose step has not one checkpoint", wrong)] if wrong else ()


PROMISES: Sequence[Promise[NestedEvidence]] = (
    Promise("one_child", "every parent has one child by each way, directly and queued", _one_child),
    Promise(
        "no_orphan",
        "every child has a parent that knows it, and ends before it",
        _no_orphan,
    ),
    Promise("step_once", "the step of every grandchild has one checkpoint", _step_once),
)


def _row(workflow: NestedWorkflow) -> Mapping[str, Any]:
    return {
        "workflow_id": workflow.workflow_id,
        "name": workflow.name,
        "parent": workflow.parent_id,
        "mode": workflow.mode,
        "status": workflow.status,
    }


def account(evidence: NestedEvidence) -> Account:
    """Return the tree, by the parents that DBOS recorded; times in seconds since the root began."""
    if not evidence.workflows:
        return {}
    began_ms = min(workflow.began_ms for workflow in evidence.workflows)
    by_id = {workflow.workflow_id: workflow for workflow in evidence.workflows}
    roots = [
        workflow
        for workflow in evidence.workflows
        if workflow.workflow_id == evidence.run_id or workflow.parent_id not in by_id
    ]
    trees = [_branch(evidence, workflow, began_ms) for workflow in roots]
    counts = Counter(workflow.mode for workflow in evidence.workflows if workflow.mode)
    return {
        "tree": trees[0] if len(trees) == 1 else {"name": "no single root", "children": trees},
        "children": {mode: counts[mode] for mode in MODES},
    }


def _branch(evidence: NestedEvidence, workflow: NestedWorkflow, began_ms: int) -> dict[str, Any]:
    steps: list[Mapping[str, Any]] = [
        {
            "step": STEP,
            "step_id": step.function_id,
            "began_s": _since(began_ms, step.began_ms),
            "ended_s": _since(began_ms, step.ended_ms),
            "children": [],
        }
        for step in evidence.steps
        if step.workflow_id == workflow.workflow_id
    ]
    return {
        "name": workflow.name.removeprefix("nested."),
        "workflow_id": workflow.workflow_id,
        "mode": workflow.mode,
        "status": workflow.status,
        "began_s": _since(began_ms, workflow.began_ms),
        "ended_s": _since(began_ms, workflow.ended_ms),
        "attempts": workflow.attempts,
        "children": [
            *steps,
            *(
                _branch(evidence, child, began_ms)
                for child in evidence.workflows
                if child.parent_id == workflow.workflow_id
            ),
        ],
    }


def _since(began_ms: int, at_ms: int | None) -> float | None:
    return None if at_ms is None else round((at_ms - began_ms) / 1000, 3)
