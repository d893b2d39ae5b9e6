"""When the bodies of steps ran, by what the workers noted. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from aexp.crash.judge.evidence import Evidence
from aexp.engine.recorder.records import StepBegan, StepEnded

__all__ = ["BodySpan", "body_spans"]


@dataclass(frozen=True, slots=True)
class BodySpan:
    """A body of the step ``name`` ran in the ``life``-th life; without an end that was seen it goes
    on for ever.
    """

    name: str
    life: int
    began: float
    ended: float = math.inf

    def covers(self, life: int, at: float) -> bool:
        """Return whether it ran at that time of that life."""
        return self.life == life and self.began <= at <= self.ended


def body_spans(found: Evidence) -> Mapping[tuple[str, int], Sequence[BodySpan]]:
    """Return the bodies of each step, by workflow and number, in the order in which they began."""
    spans: dict[tuple[str, int], list[BodySpan]] = {}
    for recorded in sorted(found.records, key=lambda recorded: recorded.record.at):
        record = recorded.record
        if record.step_id is None:
            continue
        of_step = spans.setdefault((record.workflow_id, record.step_id), [])
        if isinstance(record, StepBegan):
            of_step.append(BodySpan(record.name, recorded.life, record.at))
        elif isinstance(record, StepEnded) and of_step:
            of_step[-1] = replace(of_step[-1], ended=record.at)
    return spans
