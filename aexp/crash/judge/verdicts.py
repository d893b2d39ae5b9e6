"""What must hold of every workflow, whatever it does, when it is hit by a fault. Pure functions.

Each compares what an experiment left behind with a *baseline*: the same run, hit by nothing. The
method is elle's: anomalies are data and show the rows that make them one.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from aexp.crash.judge.evidence import Body, Evidence, StepRecord
from aexp.crash.judge.ownership import foreign_changes
from aexp.engine.statuses import UNFINISHED
from aexp.model.promise import SAMPLE, Anomaly, Promise, Verdict, judge

__all__ = ["BaselineComparison", "judge_experiment"]

_LONGEST = 400
# What DBOS calls a workflow that it has tried to recover too often.
_DEAD = frozenset({"MAX_RECOVERY_ATTEMPTS_EXCEEDED", "CANCELLED"})
# As DBOS names them (3.4, _scheduler.py).
_TICK = re.compile(r"sched-.+-\d{4}-\d\d-\d\dT\d\d:\d\d.*")


@dataclass(frozen=True, slots=True)
class BaselineComparison:
    """An experiment beside its baseline, and what of the results must be the same.

    ``doubted`` are the transactional steps whose commit a living process did not hear of: workflow,
    step, pid.
    """

    baseline: Evidence
    found: Evidence
    expected: Any
    outcome: Any
    doubted: frozenset[tuple[str, int, int]] = frozenset()


def judge_experiment(comparison: BaselineComparison) -> list[Verdict]:
    """Judge every promise: the generic ones, then those of the run's own audit."""
    told = [
        _without_doubted(verdict, comparison.doubted | _in_flight(comparison.found))
        for verdict in comparison.found.verdicts
        # A workflow that ends in error on its own is compared by its error, see same_result.
        if verdict.name != "ends"
    ]
    return [*judge(PROMISES, comparison), *told]


def _in_flight(found: Evidence) -> frozenset[tuple[str, int, int]]:
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


def _without_doubted(verdict: Verdict, doubted: Collection[tuple[str, int, int]]) -> Verdict:
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


def _ends(comparison: BaselineComparison) -> Sequence[Anomaly]:
    """Check that the last worker saw the end of everything, and did not fail on its own.

    One before it may have: it lost a connection, and whatever supervises it starts it again.
    """
    found = comparison.found
    # One that was stopped lives on beside the last.
    must_end = [life for life in found.lives if life.stopped] + [found.lives[-1]]
    life = next((life for life in must_end if life.code != 0), found.lives[-1])
    number = found.lives.index(life) + 1
    row: dict[str, Any] = {"process": number, "pid": life.pid, "code": life.code}
    if life.code is None:
        left = [_workflow(row) for row in found.workflows if row.status in UNFINISHED]
        return [Anomaly("the run did not end within its deadline", [row, *left])]
    if life.code != 0:
        row["said"] = life.last_words[:_LONGEST]
        return [Anomaly("a worker ended on its own", [row])]
    if found.status in UNFINISHED:
        return [Anomaly(f"the root workflow is {found.status}")]
    return ()


def _stranded(comparison: BaselineComparison) -> Sequence[Anomaly] | None:
    """Check that what a wrongly started process leaves lying is found, with the cause."""
    left = [life.stranded for life in comparison.found.lives if life.stranded is not None]
    if not left:
        return None
    anomalies = []
    for stranded in left:
        if stranded.expected not in stranded.causes:
            causes = stranded.causes.items()
            rows = [{"cause": cause, "workflows": list(ids)} for cause, ids in causes]
            what = f"work lies there and not because of {stranded.expected}"
            anomalies.append(Anomaly(what, rows or [{"cause": None, "workflows": []}]))
    return anomalies


def _old_owner(comparison: BaselineComparison) -> Sequence[Anomaly] | None:
    """Check that a stopped executor records nothing of work that is no longer its own."""
    take_over = comparison.found.take_over
    if take_over is None or not take_over.handed_over:
        return None
    rows = [change.as_row() for change in foreign_changes(take_over)]
    if not rows:
        return ()
    return [Anomaly("the old owner recorded something of work that was taken over", rows[:SAMPLE])]


def _same_result(comparison: BaselineComparison) -> Sequence[Anomaly] | None:
    baseline, found = comparison.baseline, comparison.found
    if found.status in UNFINISHED:
        return None
    if found.status != baseline.status:
        row = {"status": found.status, "expected": baseline.status, "result": _brief(found.outcome)}
        return [Anomaly(f"the workflow ended as {found.status}, not {baseline.status}", [row])]
    if _equal(comparison.outcome, comparison.expected):
        return ()
    row = {"result": _brief(comparison.outcome), "expected": _brief(comparison.expected)}
    return [Anomaly("the result differs from that of the run without a fault", [row])]


def _equal(one: Any, other: Any) -> bool:
    # What has no equality of its own, and a NaN, may still say the same.
    return bool(one == other) or repr(one) == repr(other)


def _none_left(comparison: BaselineComparison) -> Sequence[Anomaly]:
    left = [row for row in comparison.found.workflows if row.status in {*UNFINISHED, *_DEAD}]
    known = {row.workflow_id: row.status for row in comparison.baseline.workflows}
    left = [row for row in left if known.get(row.workflow_id) != row.status]
    if not left:
        return ()
    what = sorted({row.status for row in left})
    return [
        Anomaly(
            f"{len(left)} workflows are left {', '.join(what)}",
            [_workflow(row) for row in left[:SAMPLE]],
        )
    ]


def _same_workflows(comparison: BaselineComparison) -> Sequence[Anomaly]:
    """Check for the same workflows by id and name: none missing, none twice under another id.

    What a schedule started has its time for an id, and no two runs are of the same time: which
    ticks there must be, the scenario's own promises say.
    """
    known, found = (
        {row.workflow_id: row for row in side.workflows if not _TICK.fullmatch(row.workflow_id)}
        for side in (comparison.baseline, comparison.found)
    )
    anomalies = []
    if missing := [row for workflow_id, row in known.items() if workflow_id not in found]:
        anomalies.append(
            Anomaly(f"{len(missing)} workflows are missing", [_workflow(r) for r in missing])
        )
    if more := [row for workflow_id, row in found.items() if workflow_id not in known]:
        anomalies.append(
            Anomaly(f"{len(more)} workflows are there that should not be", [*map(_workflow, more)])
        )
    renamed = [
        {"workflow_id": key, "name": found[key].name, "expected": row.name}
        for key, row in known.items()
        if key in found and found[key].name != row.name
    ]
    if renamed:
        anomalies.append(Anomaly("another workflow has the id", renamed))
    return anomalies


def _same_steps(comparison: BaselineComparison) -> Sequence[Anomaly]:
    """Check, for each workflow, for the same names of steps in the same order."""
    expected, found = _names(comparison.baseline.steps), _names(comparison.found.steps)
    rows = [
        {
            **_step((workflow_id, step_id)),
            "name": found[workflow_id].get(step_id),
            "expected": expected[workflow_id].get(step_id),
        }
        for workflow_id in sorted(expected.keys() & found.keys())
        for step_id in sorted(found[workflow_id].keys() | expected[workflow_id].keys())
        if found[workflow_id].get(step_id) != expected[workflow_id].get(step_id)
    ]
    if not rows:
        return ()
    return [Anomaly("the steps differ from those of the run without a fault", rows[:SAMPLE])]


def _names(steps: Sequence[StepRecord]) -> Mapping[str, Mapping[int, str]]:
    names: defaultdict[str, dict[int, str]] = defaultdict(dict)
    for step in steps:
        names[step.workflow_id][step.step_id] = step.name
    return names


def _kept(comparison: BaselineComparison) -> Sequence[Anomaly]:
    """Check that each checkpoint that became durable stands at the end, and was written once."""
    found = comparison.found
    standing = {(step.workflow_id, step.step_id) for step in found.steps}
    durable: defaultdict[tuple[str, int], list[int]] = defaultdict(list)
    for checkpoint in found.checkpoints:
        durable[checkpoint.workflow_id, checkpoint.step_id].append(checkpoint.life + 1)
    anomalies = []
    if gone := [_step(key) for key in sorted(durable) if key not in standing]:
        anomalies.append(Anomaly("checkpoints that were durable are gone", gone[:SAMPLE]))
    # DBOS repeats a write whose acknowledgement was lost, and finds its own row: no second record.
    # Another process has no business with a step that stands there already.
    twice = [
        {**_step(key), "by_processes": lives}
        for key, lives in sorted(durable.items())
        if len(set(lives)) > 1
    ]
    if twice:
        anomalies.append(Anomaly("steps were recorded more than once", twice[:SAMPLE]))
    return anomalies


def _survived(comparison: BaselineComparison) -> Sequence[Anomaly] | None:
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
    return [Anomaly("what the server had made durable was gone when it was back", rows[:SAMPLE])]


def _never_again(comparison: BaselineComparison) -> Sequence[Anomaly] | None:
    """Check that no body began after its step's checkpoint had become durable."""
    found = comparison.found
    if not found.bodies:
        return None
    in_flight = _in_flight(found)
    first = {
        (point.workflow_id, point.step_id): point
        for point in sorted(found.checkpoints, key=lambda point: -point.at)
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
        if (body.workflow_id, body.step_id, found.lives[body.life].pid) not in in_flight
        and _is_later(body, first.get((body.workflow_id, body.step_id)))
    ]
    if not rows:
        return ()
    return [Anomaly("step bodies began although their checkpoint was durable", rows[:SAMPLE])]


def _is_later(body: Body, checkpoint: Any) -> bool:
    return checkpoint is not None and body.at > checkpoint.at


def _workflow(row: Any) -> Mapping[str, Any]:
    return {
        "workflow_id": row.workflow_id,
        "name": row.name,
        "status": row.status,
        "executor_id": row.executor_id,
        "recovery_attempts": row.recovery_attempts,
        "queue": row.queue,
    }


def _step(key: tuple[str, int]) -> dict[str, Any]:
    return {"workflow_id": key[0], "step_id": key[1]}


def _brief(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


PROMISES: Sequence[Promise[BaselineComparison]] = (
    Promise("run_ends", "after the fault the run comes to its end", _ends),
    Promise(
        "same_result", "the workflow ends with the result of the run without a fault", _same_result
    ),
    Promise("none_left", "no workflow is left PENDING, ENQUEUED or dead-lettered", _none_left),
    Promise("same_workflows", "the same workflows ran, each exactly once", _same_workflows),
    Promise("same_steps", "each workflow has the same steps in the same order", _same_steps),
    Promise("checkpoints_kept", "a durable checkpoint is written once and stays", _kept),
    Promise("survived", "what is durable is still there when PostgreSQL is back", _survived),
    Promise("stranded_told", "work that a wrong process leaves is told with the cause", _stranded),
    Promise("old_owner", "who lost its work to another executor records nothing of it", _old_owner),
    Promise("never_again", "a step whose checkpoint is durable never runs again", _never_again),
)
