"""Is a checkpoint handed to the call that it was recorded for? Pure.

DBOS compares the names of steps on replay, and nothing else: a checkpoint that answers another call
of the same step goes unseen.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from aexp.crash.judge.checkpoints import remembered
from aexp.crash.judge.comparison import BaselineComparison
from aexp.crash.judge.evidence import Checkpoint, Evidence
from aexp.engine.recorder.records import StepBegan, StepCall
from aexp.model.promise import SAMPLE, Anomaly

__all__ = ["same_call"]


@dataclass(frozen=True, slots=True)
class _Call:
    """A call of a step in a life, and whether its body began."""

    life: int
    call: StepCall
    began: bool


def same_call(
    comparison: BaselineComparison, *, same_code: bool = True
) -> Sequence[Anomaly] | None:
    """Check that each checkpoint answers the call that it was recorded for, and that a body which
    begins again, all steps before it being durable, is asked with the same arguments.

    Unless all processes run the ``same_code``, a line says nothing of which call it is.
    """
    found = comparison.found
    if not found.records:
        return None
    anomalies: dict[str, list[Anomaly]] = defaultdict(list)
    durable = {
        (point.workflow_id, point.step_id): point
        for point in sorted(remembered(found), key=lambda point: -point.at)
    }
    for (workflow_id, step_id), calls in _calls(found).items():
        checkpoint = durable.get((workflow_id, step_id))
        if checkpoint is not None:
            anomalies["other_call"] += _answered(calls, checkpoint, same_code=same_code)
        anomalies["other_arguments"] += [
            _other_arguments(earlier, later)
            for earlier, later in pairwise(call for call in calls if call.began)
            if earlier.life != later.life
            and not _agree(earlier.call, later.call, same_code=same_code)
            and _all_durable_before(found, workflow_id, step_id, earlier.life)
        ]
    return [anomaly for kind in anomalies.values() for anomaly in kind[:SAMPLE]]


def _answered(
    calls: Sequence[_Call], checkpoint: Checkpoint, *, same_code: bool
) -> Iterator[Anomaly]:
    """Find calls that the checkpoint answered, and that are not the one it was recorded for."""
    asked = [c for c in calls if c.life == checkpoint.life and c.call.at <= checkpoint.at]
    if not asked:
        return
    for call in calls:
        answered = not call.began and call.call.at > checkpoint.at and call.life != checkpoint.life
        if answered and not _agree(asked[-1].call, call.call, same_code=same_code):
            yield _other_call(asked[-1], call)


def _calls(found: Evidence) -> Mapping[tuple[str, int], list[_Call]]:
    """Return the calls of each step in the order in which they were made."""
    calls: defaultdict[tuple[str, int], list[_Call]] = defaultdict(list)
    for recorded in sorted(found.records, key=lambda recorded: recorded.record.at):
        record = recorded.record
        if record.step_id is None:
            continue
        of_step = calls[record.workflow_id, record.step_id]
        if isinstance(record, StepCall):
            of_step.append(_Call(recorded.life, record, began=False))
        elif isinstance(record, StepBegan):
            # The last call in this life is the one whose body begins.
            for place in reversed(range(len(of_step))):
                if of_step[place].life == recorded.life:
                    of_step[place] = _Call(recorded.life, of_step[place].call, began=True)
                    break
    return calls


def _agree(one: StepCall, other: StepCall, *, same_code: bool) -> bool:
    same_site = not same_code or one.site is None or other.site is None or one.site == other.site
    return one.name != other.name or (one.digest == other.digest and same_site)


def _all_durable_before(found: Evidence, workflow_id: str, step_id: int, life: int) -> bool:
    """Return whether every step of the workflow before this one was durable in that life already.

    What the workflow knew when it called the step is then what it knows on recovery.
    """
    if found.take_over is not None:
        return False
    durable = {
        point.step_id
        for point in found.checkpoints
        if point.workflow_id == workflow_id and point.life <= life
    }
    return durable.issuperset(range(1, step_id))


def _other_call(recorded: _Call, answered: _Call) -> Anomaly:
    return _mismatch(
        recorded,
        answered,
        "other_call",
        "was recorded for {}; on recovery the same checkpoint answered {}",
    )


def _other_arguments(first: _Call, again: _Call) -> Anomaly:
    return _mismatch(
        first,
        again,
        "other_arguments",
        "began with {}; on recovery, all steps before it being durable, it began again with {}",
    )


def _mismatch(first: _Call, later: _Call, kind: str, what: str) -> Anomaly:
    one, other = first.call, later.call
    told = what.format(_described(one), _described(other))
    return Anomaly(
        f"step {one.step_id} `{one.name}` {told}",
        [_row(first), _row(later)],
        kind=kind,
        cause=f"{one.name} {one.site}",
        where=other.site or one.site,
    )


def _described(call: StepCall) -> str:
    return call.arguments if call.site is None else f"{call.arguments} at {call.site}"


def _row(call: _Call) -> Mapping[str, Any]:
    return {
        "workflow_id": call.call.workflow_id,
        "step_id": call.call.step_id,
        "name": call.call.name,
        "arguments": call.call.arguments,
        "site": call.call.site,
        "process": call.life + 1,
        "body": "began" if call.began else "answered by its checkpoint",
    }
