"""What must hold of a run that began under old code and goes on under new code. Pure.

Where a checkpoint stands the new code must call the step that it is of, with what it was asked
before; it must come to an end, and not to an error that the old code does not end in.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from aexp.crash.judge.calls import same_call
from aexp.crash.judge.comparison import BaselineComparison
from aexp.crash.judge.endings import describe_paths, none_left, run_ends, shorten
from aexp.crash.judge.evidence import Evidence, Seen
from aexp.crash.judge.fault_free import FaultFreeRuns
from aexp.crash.judge.replays import same_steps
from aexp.engine.error_texts import UNEXPECTED_STEP, renamed_workflow
from aexp.engine.statuses import ENDS
from aexp.model.promise import Anomaly, Promise, Verdict, judge

__all__ = ["describe_moment", "judge_upgrade", "notes_of_upgrade", "outcome_of_upgrade"]

# What became of a run, by the kinds of what is wrong; the first that applies.
_OUTCOMES = {
    "cannot_go_on": "cannot go on",
    "other_step": "diverges",
    "other_call": "diverges",
    "ends_in_error": "ends in error",
    "workflow_left": "leaves a workflow without an end",
    "result_of_neither": "goes on to another result",
}
_GOES_ON = "goes on"
# The promises whose breach explains another end.
_CAUSES = frozenset({"goes_on", "same_steps"})


def judge_upgrade(comparison: BaselineComparison) -> list[Verdict]:
    """Judge what must hold of a run that is in flight at a deployment."""
    verdicts = judge(_PROMISES, comparison)
    if any(verdict.held is False for verdict in verdicts if verdict.name in _CAUSES):
        # That it then has no end, or ends in DBOS's error, is the same thing a second time.
        return [verdict for verdict in verdicts if verdict.name not in {"ends_well", "none_left"}]
    return verdicts


def notes_of_upgrade(comparison: BaselineComparison, new: FaultFreeRuns) -> Sequence[Anomaly]:
    """Tell of a result that neither the old code nor the new one comes to by itself: no promise
    says which one is right for a run that both have worked on.
    """
    found, old = comparison.outcome, comparison.baseline
    if found.status != "SUCCESS" or "SUCCESS" not in {old.outcome.status, new.outcome.status}:
        return ()
    differing = []
    for runs in (old, new):
        if runs.outcome.status != found.status or runs.unsteady_result.is_whole:
            continue
        paths = runs.unsteady_result.beyond(found.differences(runs.outcome))
        if not paths:
            return ()
        differing = list(paths)
    if not differing:
        return ()
    row = {
        "result": shorten(found.value),
        "old_code": shorten(old.outcome.value),
        "new_code": shorten(new.outcome.value),
    }
    what = "the result is neither that of the old code nor that of the new code"
    return [Anomaly(f"{what}{describe_paths(differing)}", [row], kind="result_of_neither")]


def outcome_of_upgrade(verdicts: Sequence[Verdict], notes: Sequence[Anomaly]) -> str:
    """Say in a few words what became of the run."""
    kinds = {
        anomaly.kind
        for verdict in verdicts
        if verdict.held is False
        for anomaly in verdict.anomalies or ()
    } | {note.kind for note in notes}
    return next((told for kind, told in _OUTCOMES.items() if kind in kinds), _GOES_ON)


def describe_moment(seen: Seen, evidence: Evidence) -> str:
    """Say how far a run had come when ``seen``, a write of the run without a fault, was durable."""
    write = seen.write
    names = {row.workflow_id: row.name for row in evidence.workflows}
    whose = names.get(write.workflow_id or "", "")
    of = f" of `{whose}`" if whose and write.workflow_id != evidence.run_id else ""
    step = next(
        (
            step.name
            for step in evidence.steps
            if (step.workflow_id, step.step_id) == (write.workflow_id, write.step_id)
        ),
        None,
    )
    if step is not None:
        return f"after step {write.step_id} `{step}`{of}"
    does = {*write.name.split()}
    if "PENDING" in does:
        return f"after the beginning{of}"
    if does.intersection(ENDS):
        return f"after the end{of}"
    return f"after {write.point}{of}"


def _goes_on(comparison: BaselineComparison) -> Sequence[Anomaly]:
    return [_cannot_go_on(anomaly) for anomaly in run_ends(comparison)]


def _cannot_go_on(anomaly: Anomaly) -> Anomaly:
    renamed = renamed_workflow(anomaly.cause or "")
    if renamed is None:
        return replace(anomaly, kind="cannot_go_on")
    old, new = renamed
    told = f"the run is one of workflow `{old}`, and what the target names is now `{new}`"
    return replace(anomaly, summary=told, kind="cannot_go_on")


def _same_call(comparison: BaselineComparison) -> Sequence[Anomaly] | None:
    anomalies = same_call(comparison, same_code=False)
    # A step that was not durable is asked as the new code has it.
    return None if anomalies is None else [each for each in anomalies if each.kind == "other_call"]


def _ends_well(comparison: BaselineComparison) -> Sequence[Anomaly]:
    found = comparison.outcome
    expected = {outcome.status for outcome in comparison.baseline.outcomes}
    if found.status not in ENDS or found.status in {*expected, "SUCCESS"}:
        return ()
    told = shorten(found.value)
    row = {"status": found.status, "under the old code": ", ".join(sorted(expected))}
    unexpected = str(found.value).startswith(UNEXPECTED_STEP)
    return [
        Anomaly(
            f"the workflow ends in error: {told}",
            [row],
            kind="other_step" if unexpected else "ends_in_error",
            cause=UNEXPECTED_STEP if unexpected else "",
        )
    ]


_PROMISES: Sequence[Promise[BaselineComparison]] = (
    Promise("goes_on", "the new code takes the run up and comes to its end", _goes_on),
    Promise("same_steps", "a checkpoint answers a call of the step that it is of", same_steps),
    Promise("same_call", "a checkpoint answers a call with the same arguments", _same_call),
    Promise("ends_well", "the run does not end in an error that is new", _ends_well),
    Promise("none_left", "no workflow is left PENDING, ENQUEUED or dead-lettered", none_left),
)
