"""What depends on how long nothing lived after a kill. Pure.

A process that was down for days finds deadlines that have passed: a wait has timed out, a workflow
is cancelled. What follows from that is the author's decision and breaks no promise of its own; that
it follows is told, with the deadline.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from aexp.crash.judge.comparison import BaselineComparison
from aexp.crash.judge.durations import write_duration
from aexp.crash.judge.evidence import Deadline, Evidence, Seen
from aexp.crash.judge.points import Fault, Point, Side
from aexp.engine.error_texts import UNEXPECTED_STEP
from aexp.model.promise import Anomaly, Verdict

__all__ = ["Downtime", "order_deadlines", "tell_downtime"]

# What may be otherwise for a reason where a deadline has passed.
_MAY_DIFFER = frozenset(
    {
        "child_missing", "effect_missing", "ended_otherwise", "event_differs", "other_way",
        "result_differs", "rows_differ", "rows_missing", "rows_repeated", "stream_differs",
    }
)  # fmt: skip
_SLEEP = "DBOS.sleep"
_OUTCOME = "depends_on_step"
_DEPENDS = frozenset({_OUTCOME, "rows_not_judged"})
# So long before a deadline a process begins that is to go on as before it, or half of what is left;
# and so long it takes to begin.
_LEAD_S = 10.0
_STARTS_S = 1.0
_TENTH = 10
_LASTS = re.compile(r" \([0-9.dhms]+\)")
# Deadlines that are named.
_MOST = 3


@dataclass(frozen=True, slots=True)
class Downtime:
    """For so many ``seconds`` after a kill, ``began_at`` on the clock of the evidence, nothing
    lived.
    """

    began_at: float
    seconds: float


def order_deadlines(writes: Sequence[str], evidence: Evidence) -> list[Point]:
    """List a kill after each of ``writes`` that sets a deadline, with a downtime that ends just
    before that, where it is far enough away, and one that ends just after it.
    """
    points = []
    for deadline in evidence.deadlines:
        seen = _set_by(deadline, evidence)
        if seen is None or seen.write.point not in writes:
            continue
        left_s = deadline.until - (seen.at + evidence.clock_offset_s)
        downtimes = []
        lead_s = min(_LEAD_S, left_s / 2)
        if lead_s > _STARTS_S:
            downtimes.append(math.floor((left_s - lead_s) * _TENTH) / _TENTH)
        if left_s > 0:
            downtimes.append(math.ceil(left_s * _TENTH + 1) / _TENTH)
        faults = (Fault(Side.AFTER, seen.write.point),)
        points += [Point(faults, down_s=down_s) for down_s in downtimes]
    return points


def _set_by(deadline: Deadline, evidence: Evidence) -> Seen | None:
    """Return the write that made ``deadline`` durable."""
    of_workflow = [
        seen for seen in evidence.writes if seen.write.workflow_id == deadline.workflow_id
    ]
    if deadline.step_id is not None:
        return next((seen for seen in of_workflow if seen.write.step_id == deadline.step_id), None)
    # Its row in the table of workflows is set before it is durable.
    later = (seen for seen in of_workflow if seen.at + evidence.clock_offset_s >= deadline.set_at)
    return next(later, None)


def tell_downtime(
    verdicts: Sequence[Verdict],
    notes: Sequence[Anomaly],
    comparison: BaselineComparison,
    downtime: Downtime,
    without: tuple[Sequence[Verdict], Sequence[Anomaly]],
) -> tuple[Sequence[Verdict], Sequence[Anomaly]]:
    """Return the verdicts and notes of a run with a ``downtime``, beside those ``without`` one
    after the same faults.

    What differs only by the downtime, and has a deadline that passed or a step that returned
    something else as its reason, is told as depending on it. What is broken without one, too, or
    for no such reason, stays so.
    """
    passed, changed = _passed(comparison, downtime), comparison.reasons
    broken_without = {verdict.name for verdict in without[0] if verdict.held is False}
    noted_without = {(note.kind, note.cause) for note in without[1]}
    left: list[Verdict] = []
    kept: list[Anomaly] = []
    follows: list[Anomaly] = []
    for verdict in verdicts:
        excused = verdict.name not in broken_without and _may_differ(verdict, comparison)
        if excused and (passed or changed):
            follows += verdict.anomalies or ()
            left.append(replace(verdict, anomalies=None))
        else:
            left.append(verdict)
    for note in notes:
        new = note.kind in _DEPENDS and (note.kind, note.cause) not in noted_without
        (follows if new else kept).append(note)
    if not follows:
        return verdicts, notes
    because = [_describe(deadline, comparison) for deadline in passed]
    if not passed:
        steps = [each.name for each in changed] or [each.cause for each in follows]
        because = [f"what follows from step `{steps[0]}` is otherwise"]
    return left, [*kept, _dependence(because, downtime, follows)]


def _dependence(because: Sequence[str], downtime: Downtime, follows: Sequence[Anomaly]) -> Anomaly:
    reasons = " and ".join([*dict.fromkeys(because)][:_MOST])
    told = "; ".join(dict.fromkeys(map(_what_follows, follows)))
    return Anomaly(
        f"after a downtime of {write_duration(downtime.seconds)} {reasons}: {told}",
        [row for anomaly in follows for row in anomaly.rows[:1] if anomaly.kind != _OUTCOME],
        kind="depends_on_downtime",
        # How long it lasts varies by a moment.
        cause=f"{_LASTS.sub('', reasons)} {' '.join(sorted({each.kind for each in follows}))}",
    )


def _what_follows(anomaly: Anomaly) -> str:
    if anomaly.kind != _OUTCOME:
        return anomaly.summary
    row = anomaly.rows[0]
    return f"the workflow returns {row['result']}, and {row['without_a_fault']} without a fault"


def _may_differ(verdict: Verdict, comparison: BaselineComparison) -> bool:
    """Return whether ``verdict`` is broken by nothing but what may differ for a reason."""
    return verdict.held is False and all(
        _is_cancelled_only(anomaly, comparison)
        if anomaly.kind == "workflow_left"
        else anomaly.kind in _MAY_DIFFER and anomaly.cause != UNEXPECTED_STEP
        for anomaly in verdict.anomalies or ()
    )


def _is_cancelled_only(anomaly: Anomaly, comparison: BaselineComparison) -> bool:
    """Return whether the workflows that are left were cancelled, each by its own timeout."""
    timed = {
        deadline.workflow_id
        for deadline in comparison.found.deadlines
        if deadline.waits == "timeout"
    }
    return all(
        row.get("status") == "CANCELLED" and row.get("workflow_id") in timed for row in anomaly.rows
    )


def _passed(comparison: BaselineComparison, downtime: Downtime) -> list[Deadline]:
    """Return the deadlines that ended while nothing lived; sleeps, which end anyhow, only where
    there is nothing else.
    """
    found = comparison.found
    began = downtime.began_at + found.clock_offset_s
    ended = began + downtime.seconds + _STARTS_S
    passed = [
        deadline
        for deadline in found.deadlines
        if deadline.set_at <= began < deadline.until <= ended
    ]
    return [each for each in passed if each.waits != _SLEEP] or passed


def _describe(deadline: Deadline, comparison: BaselineComparison) -> str:
    names = {row.workflow_id: row.name for row in comparison.found.workflows}
    workflow = names.get(deadline.workflow_id, deadline.workflow_id)
    topic = next(
        (
            f" for {known.topic!r}"
            for run in comparison.baseline.runs
            for known in run.deadlines
            if (known.workflow_id, known.step_id) == (deadline.workflow_id, deadline.step_id)
            and known.topic is not None
        ),
        "",
    )
    seconds = deadline.until - deadline.set_at
    # A moment passes between what is asked for and its record.
    lasts = write_duration(round(seconds) if seconds > _STARTS_S else seconds)
    told = {
        "timeout": f"the timeout of `{workflow}` ({lasts}) has passed",
        "delay": f"the delay of `{workflow}` ({lasts}) is over",
        "debounce": f"the debouncing of `{workflow}` ({lasts}) is over",
        "rate limit": f"the rate limit's window of `{workflow}` ({lasts}) is over",
        _SLEEP: f"a sleep of `{workflow}` ({lasts}) is over",
    }
    return told.get(
        deadline.waits, f"`{deadline.waits}`{topic} of `{workflow}` ({lasts}) has timed out"
    )
