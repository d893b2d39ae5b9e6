"""What must hold of a replay, whatever is otherwise around it. Pure.

A workflow is a function of its input and of what its steps returned: a process that goes on from
its checkpoints, on another day and another machine, calls the same steps with the same arguments.
What steps do there that had not been durable is their own business, and so is what follows from it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from aexp.crash.judge.calls import same_call
from aexp.crash.judge.checkpoints import remembered
from aexp.crash.judge.children import children_once
from aexp.crash.judge.comparison import BaselineComparison
from aexp.crash.judge.endings import none_left, run_ends, same_result
from aexp.crash.judge.evidence import Recorded
from aexp.engine.error_texts import UNEXPECTED_STEP
from aexp.engine.recorder.records import StepCall
from aexp.engine.tables.names import WORKFLOW_STATUS
from aexp.model.promise import SAMPLE, Anomaly, Promise, Verdict, judge

__all__ = ["REPLAY_PROMISES", "judge_replay", "same_steps"]

_SUCCESS = f"update {WORKFLOW_STATUS} SUCCESS"


def same_steps(comparison: BaselineComparison) -> Sequence[Anomaly] | None:
    """Check that a later process calls, where a checkpoint stands, the step that it is of, and that
    one in which a workflow succeeds has called all that were recorded before.
    """
    found = comparison.found
    calls: defaultdict[tuple[str, int], list[Recorded]] = defaultdict(list)
    for recorded in sorted(found.records, key=lambda recorded: recorded.record.at):
        call = recorded.record
        if isinstance(call, StepCall) and call.step_id is not None:
            calls[call.workflow_id, call.step_id].append(recorded)
    if not calls:
        return None
    succeeded = {
        seen.write.workflow_id: seen.life
        for seen in found.writes
        if seen.write.name.startswith(_SUCCESS)
    }
    # What comes after the first call that differs follows from it.
    first: dict[str, Anomaly] = {}
    for checkpoint in sorted(remembered(found), key=lambda each: each.step_id):
        of_step = calls[checkpoint.workflow_id, checkpoint.step_id]
        asked = [each for each in of_step if each.life <= checkpoint.life]
        if not asked or checkpoint.workflow_id in first:
            continue
        recorded, later = asked[-1], [each for each in of_step if each.life > checkpoint.life]
        other = next((each for each in later if not _same_name(recorded, each)), None)
        last = succeeded.get(checkpoint.workflow_id, checkpoint.life)
        if other is not None:
            first[checkpoint.workflow_id] = _other_step(recorded, other)
        elif last > checkpoint.life and all(each.life != last for each in later):
            first[checkpoint.workflow_id] = _never_called(recorded, last)
    return list(first.values())[:SAMPLE]


def replay_result(comparison: BaselineComparison) -> Sequence[Anomaly] | None:
    """Check that the workflow ends as without a fault, unless a step that ran again, or ran only
    now, did otherwise.
    """
    anomalies = same_result(comparison)
    for anomaly in anomalies or ():
        if anomaly.kind == "ended_otherwise" and anomaly.cause != UNEXPECTED_STEP:
            return None if comparison.changed_steps else anomalies
    return anomalies


def replay_children(comparison: BaselineComparison) -> Sequence[Anomaly] | None:
    """Check that each child is started once, as far as no step did otherwise."""
    return None if comparison.changed_steps else children_once(comparison)


REPLAY_PROMISES: Sequence[Promise[BaselineComparison]] = (
    Promise("run_ends", "the replay comes to its end", run_ends),
    Promise("same_steps", "a checkpoint answers a call of the step that it is of", same_steps),
    Promise("same_call", "a checkpoint answers the call that it was recorded for", same_call),
    Promise("children_once", "each child is started once", replay_children),
    Promise(
        "same_result",
        "the workflow ends as without a fault, unless a step returned something else",
        replay_result,
    ),
    Promise("none_left", "no workflow is left PENDING, ENQUEUED or dead-lettered", none_left),
)


def judge_replay(comparison: BaselineComparison) -> list[Verdict]:
    """Judge what must hold of a replay."""
    verdicts = judge(REPLAY_PROMISES, comparison)
    if any(verdict.name == "same_steps" and verdict.held is False for verdict in verdicts):
        # That it then ends in DBOS's error is the same thing a second time.
        return [verdict for verdict in verdicts if verdict.name not in {"same_result", "none_left"}]
    return verdicts


def _same_name(one: Recorded, other: Recorded) -> bool:
    return _call(one).name == _call(other).name


def _other_step(recorded: Recorded, later: Recorded) -> Anomaly:
    one, other = _call(recorded), _call(later)
    return Anomaly(
        f"step {one.step_id} was `{one.name}`{_asked(one)}; its replay calls"
        f" `{other.name}`{_asked(other)} there",
        [_row(recorded), _row(later)],
        kind="other_step",
        cause=f"{one.name} {other.name}",
        where=other.site or one.site,
    )


def _never_called(recorded: Recorded, life: int) -> Anomaly:
    call = _call(recorded)
    return Anomaly(
        f"step {call.step_id} was `{call.name}`{_asked(call)}; its replay ends without calling it",
        [_row(recorded), {"process": life + 1, "called": None}],
        kind="other_step",
        cause=f"{call.name} never",
        where=call.site,
    )


def _asked(call: StepCall) -> str:
    site = "" if call.site is None else f" at {call.site}"
    return f" with {call.arguments}{site}"


def _call(recorded: Recorded) -> StepCall:
    assert isinstance(recorded.record, StepCall)
    return recorded.record


def _row(recorded: Recorded) -> Mapping[str, Any]:
    call = _call(recorded)
    return {
        "workflow_id": call.workflow_id,
        "step_id": call.step_id,
        "name": call.name,
        "arguments": call.arguments,
        "site": call.site,
        "process": recorded.life + 1,
    }
