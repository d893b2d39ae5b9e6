"""What is told of a point beside its verdict, and breaks no promise. Pure."""

from __future__ import annotations

from aexp.crash.judge.calls import same_call
from aexp.crash.judge.comparison import BaselineComparison
from aexp.crash.judge.endings import describe_paths, describe_step, shorten
from aexp.crash.judge.repetitions import repeated_bodies, touched_by
from aexp.crash.judge.rows import unjudged_rows
from aexp.model.promise import Anomaly

__all__ = ["describe_point"]


def describe_point(comparison: BaselineComparison) -> list[Anomaly]:
    """Say on which step the outcome depends, which rows are not judged, and which step that ran
    twice touched what.
    """
    return [*_depends(comparison), *unjudged_rows(comparison), *_ran_twice(comparison)]


def _depends(comparison: BaselineComparison) -> list[Anomaly]:
    baseline, step = comparison.baseline, comparison.cause_of_result
    if step is None or comparison.outcome.status != baseline.outcome.status:
        return []
    differing = baseline.unsteady_result.beyond(comparison.outcome.differences(baseline.outcome))
    if not differing or baseline.unsteady_result.is_whole:
        return []
    if same_call(comparison):
        return []  # What a step returned was handed to another call: that is the cause.
    row = {
        "step": step.name,
        "result": shorten(comparison.outcome.value),
        "without_a_fault": shorten(baseline.outcome.value),
    }
    told = f"depends on {describe_step(step)}, which returned something else the second time"
    if not comparison.changed_steps:
        told = f"may depend on {describe_step(step)}, which returns something else in each run"
    return [
        Anomaly(
            f"the outcome {told}{describe_paths(differing)}",
            [row],
            kind="depends_on_step",
            cause=step.name,
        )
    ]


def _ran_twice(comparison: BaselineComparison) -> list[Anomaly]:
    found = comparison.found
    # What is sent to a stub twice is judged by itself, see aexp.crash.judge.requests.
    stubs = {f"connection {request.stub}" for request in found.requests}
    touched = {
        step: [target for target in targets if target not in stubs]
        for step, targets in touched_by(found).items()
    }
    return [
        Anomaly(
            f"step `{name}` ran more than once and touches {', '.join(touched[step][:5])}",
            [{"workflow_id": step[0], "step_id": step[1], "touched": list(touched[step])}],
            kind="ran_twice_outside",
            cause=name,
        )
        for step, name in repeated_bodies(found).items()
        if touched.get(step)
    ]
