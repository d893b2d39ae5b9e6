"""Does the run come to its end after a fault, and to the end that it comes to without one? Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from aexp.crash.judge.comparison import BaselineComparison
from aexp.crash.judge.evidence import Evidence, WorkflowRecord
from aexp.crash.judge.identity import StepPlace, is_awaited, is_placed_by_chance
from aexp.crash.judge.ownership import foreign_changes
from aexp.crash.judge.values import Path
from aexp.crash.judge.wording import counted
from aexp.engine.error_texts import UNEXPECTED_STEP
from aexp.engine.recorder.bodies import step_bodies
from aexp.engine.statuses import UNFINISHED
from aexp.model.promise import SAMPLE, Anomaly

__all__ = [
    "LONGEST",
    "children_end",
    "describe_paths",
    "describe_running",
    "describe_step",
    "forgotten_failures",
    "none_left",
    "old_owner",
    "run_ends",
    "same_result",
    "shorten",
    "stranded_told",
]

LONGEST = 400
# What DBOS calls a workflow that nobody takes up any more.
_DEAD = frozenset({"MAX_RECOVERY_ATTEMPTS_EXCEEDED", "CANCELLED"})


def run_ends(comparison: BaselineComparison) -> Sequence[Anomaly]:
    """Check that the last worker saw the end of everything, and did not fail on its own.

    One before it may have: it lost a connection, and whatever supervises it starts it again.
    """
    found = comparison.found
    # One that was stopped lives on beside the last.
    must_end = [life for life in found.lives if life.stopped] + [found.lives[-1]]
    life = next((life for life in must_end if life.code != 0), found.lives[-1])
    number = found.lives.index(life) + 1
    row: dict[str, Any] = {"process": number, "pid": life.pid, "code": life.code}
    left = [_workflow(row) for row in found.workflows if row.status in UNFINISHED]
    if life.standstill is not None:
        return [
            Anomaly(
                life.standstill,
                [row, *left[:SAMPLE]],
                kind="run_not_ended",
                cause=_without_times(life.standstill),
            )
        ]
    if life.code is None:
        return [
            Anomaly(
                f"the run did not end within its deadline{describe_running(found)}",
                [row, *left[:SAMPLE]],
                kind="run_not_ended",
            )
        ]
    if life.code != 0:
        row["said"] = life.last_words[:LONGEST]
        return [
            Anomaly(
                "a worker ended on its own",
                [row],
                kind="worker_failed",
                cause=life.last_words[:LONGEST],
            )
        ]
    if found.status in UNFINISHED:
        return [Anomaly(f"the root workflow is {found.status}", kind="run_not_ended")]
    return ()


def describe_running(found: Evidence) -> str:
    """Say which steps had not ended when the last process did, where any had not."""
    last = len(found.lives) - 1
    names = {row.workflow_id: row.name for row in found.workflows}
    bodies = step_bodies(each.record for each in found.records if each.life == last)
    running = [
        f"step `{body.name}` of `{names.get(body.workflow_id, body.workflow_id)}`"
        + (f" at {body.site}" if body.site is not None else "")
        for body in bodies
        if body.ended is None
    ]
    if not running:
        return ""
    more = f" and {len(running) - 1} more" if len(running) > 1 else ""
    return f": {running[0]}{more} had not returned"


def _without_times(standstill: str) -> str:
    return standstill.partition(", and that lasts ")[0]


def same_result(comparison: BaselineComparison) -> Sequence[Anomaly] | None:
    """Check that the workflow ends as without a fault, with the steady part of that result.

    Where one of its steps returned something else, the result may differ.
    """
    baseline, found = comparison.baseline, comparison.outcome
    if comparison.found.status in UNFINISHED:
        return None
    if found.status not in {outcome.status for outcome in baseline.outcomes}:
        return [_other_ending(comparison)]
    unsteady = baseline.unsteady_result
    if found.status != baseline.outcome.status or unsteady.is_whole:
        # It ends in more than one way without any fault.
        return None
    differing = unsteady.beyond(found.differences(baseline.outcome))
    depends = comparison.cause_of_result is not None and not _replay_differs(comparison)
    if not differing or depends:
        return ()
    row = {"result": shorten(found.value), "expected": shorten(baseline.outcome.value)}
    what = "the result differs from that of the run without a fault"
    return [Anomaly(f"{what}{describe_paths(differing)}", [row], kind="result_differs")]


def _other_ending(comparison: BaselineComparison) -> Anomaly:
    found, expected = comparison.outcome, comparison.baseline.outcome
    row = {"status": found.status, "expected": expected.status, "result": shorten(found.value)}
    what = f"the workflow ends as {found.status}, not {expected.status}"
    cause = ""
    if found.status == "ERROR":
        what = f"the workflow ends in error: {shorten(found.value)}"
        name = str(found.value).partition(":")[0]
        # It names steps, which are others at each point.
        cause = name if name == UNEXPECTED_STEP else ""
    return Anomaly(what, [row], kind="ended_otherwise", cause=cause)


def children_end(comparison: BaselineComparison) -> Sequence[Anomaly]:
    """Check that no workflow that nobody awaits ends in error, where it does not without a fault,
    and that each child that succeeds returns what it returns without a fault, unless a step that
    returned something else may be why.

    That one fails that is awaited is the business of whoever does.
    """
    found, baseline = comparison.found, comparison.baseline
    usual: defaultdict[str, set[str]] = defaultdict(set)
    for run, places in zip(baseline.runs, baseline.places, strict=True):
        for row in run.workflows:
            usual[places[row.workflow_id]].add(row.status)
    failed = [
        Anomaly(
            f"child `{row.name}` ends in error, and nobody awaits it: {shorten(str(row.outcome))}",
            [_workflow(row)],
            kind="ended_otherwise",
            cause=row.name,
        )
        for row in forgotten_failures(found)
        if usual[comparison.places[row.workflow_id]] == {"SUCCESS"}
    ]
    return [*failed, *_other_results(comparison)][:SAMPLE]


def _other_results(comparison: BaselineComparison) -> Iterator[Anomaly]:
    """Yield the children that return something else, though their steps returned the same."""
    baseline = comparison.baseline
    known = [
        {places[row.workflow_id]: row.outcome for row in run.workflows if row.status == "SUCCESS"}
        for run, places in zip(baseline.runs, baseline.places, strict=True)
    ]
    for row in comparison.found.workflows:
        place = comparison.places[row.workflow_id]
        is_root = row.workflow_id == comparison.found.run_id
        if row.status != "SUCCESS" or is_root or is_placed_by_chance(place):
            continue
        unsteady = baseline.unsteady_between(run.get(place) for run in known)
        if unsteady is None or not comparison.started_the_same(place):
            continue
        if comparison.cause_of_change_at(place) is not None:
            continue
        expected = known[0][place]
        if differing := unsteady.beyond(row.outcome.differences(expected)):
            yield Anomaly(
                f"child `{row.name}` returns something else than without a fault"
                f"{describe_paths(differing)}",
                [{"result": shorten(str(row.outcome)), "expected": shorten(str(expected))}],
                kind="result_differs",
                cause=row.name,
            )


def forgotten_failures(run: Evidence) -> Sequence[WorkflowRecord]:
    """Return the workflows beside the root that end in error while no workflow awaits them."""
    return [
        row
        for row in run.workflows
        if row.status == "ERROR"
        and row.workflow_id != run.run_id
        and not is_awaited(row.workflow_id, run)
    ]


def _replay_differs(comparison: BaselineComparison) -> bool:
    """Return whether the workflow is known to be no function of what its steps returned."""
    replayed, baseline = comparison.baseline.replayed, comparison.baseline
    if replayed is None or not replayed.ended:
        return False
    if replayed.outcome.status != baseline.outcome.status:
        return True
    return bool(baseline.unsteady_result.beyond(replayed.outcome.differences(baseline.outcome)))


def none_left(comparison: BaselineComparison) -> Sequence[Anomaly]:
    """Check that every workflow has an end, or none without a fault either."""
    left = [row for row in comparison.found.workflows if row.status in {*UNFINISHED, *_DEAD}]
    baseline = comparison.baseline
    known = {
        (places[row.workflow_id], row.status)
        for run, places in zip(baseline.runs, baseline.places, strict=True)
        for row in run.workflows
    }
    left = [row for row in left if (comparison.places[row.workflow_id], row.status) not in known]
    if not left:
        return ()
    what = ", ".join(sorted({row.status for row in left}))
    names = ", ".join(sorted({row.name for row in left}))
    are = f"{counted(len(left), 'workflow')} {'is' if len(left) == 1 else 'are'}"
    return [
        Anomaly(
            f"{are} left {what}: {names}",
            [_workflow(row) for row in left[:SAMPLE]],
            kind="workflow_left",
            cause=f"{names} {what}",
        )
    ]


def stranded_told(comparison: BaselineComparison) -> Sequence[Anomaly] | None:
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
            anomalies.append(
                Anomaly(what, rows or [{"cause": None, "workflows": []}], kind="stranded_untold")
            )
    return anomalies


def old_owner(comparison: BaselineComparison) -> Sequence[Anomaly] | None:
    """Check that a stopped executor records nothing of work that is no longer its own."""
    take_over = comparison.found.take_over
    if take_over is None or not take_over.handed_over:
        return None
    rows = [change.as_row() for change in foreign_changes(take_over)]
    if not rows:
        return ()
    return [
        Anomaly(
            "the old owner recorded something of work that was taken over",
            rows[:SAMPLE],
            kind="old_owner_wrote",
        )
    ]


def shorten(value: object) -> str:
    """Return a short text of ``value``: a text as it is, anything else by its repr."""
    text = value if isinstance(value, str) else repr(value)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}…"


def describe_paths(paths: Sequence[Path]) -> str:
    """Say at which parts of a value, where that is not all of it."""
    texts = ["".join(path) for path in paths if path]
    if not texts:
        return ""
    more = f" and {len(texts) - 3} more" if len(texts) > 3 else ""
    return f" at {', '.join(texts[:3])}{more}"


def describe_step(step: StepPlace) -> str:
    """Name a step for people."""
    return f"step `{step.name}`"


def _workflow(row: WorkflowRecord) -> Mapping[str, Any]:
    return {
        "workflow_id": row.workflow_id,
        "name": row.name,
        "status": row.status,
        "executor_id": row.executor_id,
        "recovery_attempts": row.recovery_attempts,
        "queue": row.queue,
    }
