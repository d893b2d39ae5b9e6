"""When the bodies of steps ran, by what the workers noted. Pure."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

from aexp.crash.judge.evidence import Evidence, Seen
from aexp.engine.recorder.records import SeenEffect, StepBegan, StepEnded, StepRecorded

__all__ = [
    "BodySpan",
    "StepKey",
    "Written",
    "body_spans",
    "changed_own_world",
    "writers",
    "writers_of",
]

# Workflow and number.
StepKey: TypeAlias = tuple[str, int]


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


# The bodies that ran when a table was written to, by its name and by step.
Written: TypeAlias = Mapping[str, Mapping[StepKey, Sequence[BodySpan]]]


def body_spans(found: Evidence) -> Mapping[StepKey, Sequence[BodySpan]]:
    """Return the bodies of each step, by workflow and number, in the order in which they began."""
    spans: dict[StepKey, list[BodySpan]] = {}
    transactional: set[StepKey] = set()
    for recorded in sorted(found.records, key=lambda recorded: recorded.record.at):
        record = recorded.record
        if record.step_id is None:
            continue
        of_step = spans.setdefault((record.workflow_id, record.step_id), [])
        step = (record.workflow_id, record.step_id)
        if isinstance(record, StepBegan):
            of_step.append(BodySpan(record.name, recorded.life, record.at))
            if record.transactional:
                transactional.add(step)
            continue
        # What a transaction writes is durable only when its function has returned.
        ends = StepRecorded if step in transactional else StepEnded
        open_bodies = [place for place, body in enumerate(of_step) if body.life == recorded.life]
        if isinstance(record, ends) and open_bodies:
            last = open_bodies[-1]
            of_step[last] = replace(of_step[last], ended=record.at)
    return spans


def writers(found: Evidence) -> Written:
    """Return, by table as statements name it, the bodies that ran when something was written there:
    one of those that ran side by side has written it. A table that bodies of workflows alone write
    to has none.
    """
    written: defaultdict[str, defaultdict[StepKey, list[BodySpan]]] = defaultdict(
        lambda: defaultdict(list)
    )
    for seen, running in _running_at_writes(found, body_spans(found)):
        for table in seen.write.tables:
            of_table = written[table]
            for step, body in running:
                if body not in of_table[step][-1:]:
                    of_table[step].append(body)
    return written


def writers_of(written: Written, table: str) -> Mapping[StepKey, Sequence[BodySpan]]:
    """Return the bodies that wrote to ``table``, ``schema.name``, which statements name with its
    schema or without.
    """
    known = [written[name] for name in (table, table.rpartition(".")[2]) if name in written]
    return {
        step: sorted(
            {body for bodies in known for body in bodies.get(step, ())},
            key=lambda body: body.began,
        )
        for step in dict.fromkeys(step for bodies in known for step in bodies)
    }


def changed_own_world(found: Evidence) -> frozenset[StepKey]:
    """Return the steps, by workflow and number, of which a body has written to a table of the
    user's before the last one ran, no other body running: that one finds what was left. A step that
    asks somebody outside may have been answered otherwise, and is none of them.
    """
    spans = body_spans(found)
    outside = _outside(found, spans)
    names = {name for table in found.tables for name in (table, table.rpartition(".")[2])}
    changed = set()
    for seen, running in _running_at_writes(found, spans):
        if len(running) == 1 and not seen.write.tables.isdisjoint(names):
            ((step, body),) = running
            last = spans[step][-1]
            if body != last and seen.at < last.ended and step not in outside:
                changed.add(step)
    return frozenset(changed)


def _outside(found: Evidence, spans: Mapping[StepKey, Sequence[BodySpan]]) -> set[StepKey]:
    """Return the steps that touched something outside the database, or may have asked a stub."""
    touched = {
        (record.workflow_id, record.step_id)
        for recorded in found.records
        if isinstance(record := recorded.record, SeenEffect) and record.step_id is not None
    }
    asked = {
        step
        for step, bodies in spans.items()
        if any(
            body.began <= request.at <= body.ended for body in bodies for request in found.requests
        )
    }
    return touched | asked


def _running_at_writes(
    found: Evidence, spans: Mapping[StepKey, Sequence[BodySpan]]
) -> Iterator[tuple[Seen, list[tuple[StepKey, BodySpan]]]]:
    """Yield each write to a table with the bodies that ran then."""
    bodies = [(step, body) for step, known in spans.items() for body in known]
    events: list[tuple[int, float, int, Seen | tuple[StepKey, BodySpan]]] = [
        *((each[1].life, each[1].began, 0, each) for each in bodies),
        *((seen.life, seen.at, 1, seen) for seen in found.writes if seen.write.tables),
        *((each[1].life, each[1].ended, 2, each) for each in bodies),
    ]
    running: dict[tuple[StepKey, BodySpan], None] = {}
    for _, _, kind, what in sorted(events, key=lambda event: event[:3]):
        if isinstance(what, Seen):
            yield what, [*running]
        elif kind == 0:
            running[what] = None
        else:
            running.pop(what, None)
