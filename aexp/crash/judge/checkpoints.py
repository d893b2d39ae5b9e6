"""Does a checkpoint stay that was durable, and does its step never run again? Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Any

from aexp.crash.judge.comparison import BaselineComparison
from aexp.crash.judge.evidence import Body, Checkpoint, Evidence
from aexp.engine.tables.names import OPERATION_OUTPUTS, WORKFLOW_STATUS
from aexp.model.promise import SAMPLE, Anomaly, Verdict

__all__ = [
    "checkpoints_kept",
    "in_flight",
    "never_again",
    "remembered",
    "survived",
    "without_doubted",
]

_DELETED_STEPS, _DELETED = f"delete {OPERATION_OUTPUTS}", f"delete {WORKFLOW_STATUS}"
_ENQUEUED = f"update {WORKFLOW_STATUS} ENQUEUED"


def checkpoints_kept(comparison: BaselineComparison) -> Sequence[Anomaly]:
    """Check that each checkpoint that became durable stands at the end, and was written once."""
    found = comparison.found
    standing = {(step.workflow_id, step.step_id) for step in found.steps}
    durable: defaultdict[tuple[str, int], list[int]] = defaultdict(list)
    for checkpoint in remembered(found):
        durable[checkpoint.workflow_id, checkpoint.step_id].append(checkpoint.life + 1)
    anomalies = []
    if gone := [_step(key) for key in sorted(durable) if key not in standing]:
        anomalies.append(
            Anomaly("checkpoints that were durable are gone", gone[:SAMPLE], kind="checkpoint_lost")
        )
    # DBOS repeats a write whose acknowledgement was lost, and finds its own row: no second record.
    # Another process has no business with a step that stands there already.
    twice = [
        {**_step(key), "by_processes": lives}
        for key, lives in sorted(durable.items())
        if len(set(lives)) > 1
    ]
    if twice:
        anomalies.append(
            Anomaly(
                "steps were recorded more than once", twice[:SAMPLE], kind="checkpoint_repeated"
            )
        )
    return anomalies


def remembered(found: Evidence) -> Sequence[Checkpoint]:
    """Return the checkpoints that became durable, without those that DBOS was asked to forget: by
    ``DBOS.rewind_workflow``, and by ``DBOS.delete_workflow``.
    """
    rewound: defaultdict[str | None, list[float]] = defaultdict(list)
    for seen in found.writes:
        if _DELETED_STEPS in seen.write.name and _ENQUEUED in seen.write.name:
            rewound[seen.write.workflow_id].append(seen.at)
    known = {row.workflow_id for row in found.workflows}
    if any(_DELETED in seen.write.name for seen in found.writes):
        gone = {point.workflow_id for point in found.checkpoints} - known
    else:
        gone = set()
    return [
        point
        for point in found.checkpoints
        if point.workflow_id not in gone
        and not any(point.at <= at for at in rewound.get(point.workflow_id, ()))
    ]


def survived(comparison: BaselineComparison) -> Sequence[Anomaly] | None:
    """Check that each checkpoint that was durable before PostgreSQL stopped stood there after."""
    found = comparison.found
    if not found.outages:
        return None
    rows = [
        {**_step(key), "durable_s_before_the_stop": round(outage.at - point.at, 4)}
        for outage in found.outages
        for point in found.checkpoints
        if point.at <= outage.at
        and (key := (point.workflow_id, point.step_id)) not in outage.standing
    ]
    if not rows:
        return ()
    return [
        Anomaly(
            "what the server had made durable was gone when it was back",
            rows[:SAMPLE],
            kind="lost_by_server",
        )
    ]


def never_again(comparison: BaselineComparison) -> Sequence[Anomaly] | None:
    """Check that no body began after its step's checkpoint had become durable."""
    found = comparison.found
    if not found.bodies:
        return None
    unknown = in_flight(found)
    first = {
        (point.workflow_id, point.step_id): point
        for point in sorted(remembered(found), key=lambda point: -point.at)
    }
    rows = [
        {
            **_step((body.workflow_id, body.step_id)),
            "name": body.name,
            "process": body.life + 1,
            "checkpoint_of_process": first[body.workflow_id, body.step_id].life + 1,
            "later_s": round(body.at - first[body.workflow_id, body.step_id].at, 4),
        }
        for body in found.bodies
        if (body.workflow_id, body.step_id, found.lives[body.life].pid) not in unknown
        and _is_later(body, first.get((body.workflow_id, body.step_id)))
    ]
    if not rows:
        return ()
    return [
        Anomaly(
            "step bodies began although their checkpoint was durable",
            rows[:SAMPLE],
            kind="body_repeated",
        )
    ]


def in_flight(found: Evidence) -> frozenset[tuple[str, int, int]]:
    """Return the steps that were not durable when a process was stopped: workflow, step, pid.

    It had looked for the checkpoint of the next one and found none, or may have, and a workflow of
    a user's that goes on after that step's error begins the later ones, too: the old process knows
    no better. Whether their bodies do any harm, the scenario's own promises say.
    """
    if found.take_over is None:
        return frozenset()
    durable = {
        (point.workflow_id, point.step_id)
        for point in found.checkpoints
        if point.at <= found.take_over.stopped_at
    }
    pid = found.lives[found.take_over.life].pid
    steps = {(body.workflow_id, body.step_id) for body in found.bodies}
    return frozenset((workflow_id, step_id, pid) for workflow_id, step_id in steps - durable)


def without_doubted(verdict: Verdict, doubted: Collection[tuple[str, int, int]]) -> Verdict:
    """Return ``verdict`` without the bodies that its process began for want of better knowledge.

    A transaction whose commit was not acknowledged is tried again by the process that lives on:
    only its own insert tells it that the step stands there already, and it is rolled back.
    """
    if verdict.name != "checkpointed_once" or not verdict.anomalies:
        return verdict
    left = [
        replace(anomaly, rows=rows)
        for anomaly in verdict.anomalies
        if (
            rows := [
                row
                for row in anomaly.rows
                if (row["workflow_id"], row["step_id"], row["pid"]) not in doubted
            ]
        )
    ]
    return replace(verdict, anomalies=left)


def _is_later(body: Body, checkpoint: Checkpoint | None) -> bool:
    return checkpoint is not None and body.at > checkpoint.at


def _step(key: tuple[str, int]) -> dict[str, Any]:
    return {"workflow_id": key[0], "step_id": key[1]}
