"""When the bodies of steps ran, by what the workers noted. Pure."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

from aexp.crash.judge.evidence import Evidence, Seen
from aexp.engine.recorder.records import StepBegan, StepEnded

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

_NOT_OF_USERS = ("dbos.", "aexp.")


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


def writers(found: Evidence) -> Written:
    """Return, by table as statements name it, the bodies that ran when something was written there:
    one of those that ran side by side has written it. A table that bodies of workflows alone write
    to has none.
    """
    written: defaultdict[str, defaultdict[StepKey, list[BodySpan]]] = defaultdict(
        lambda: defaultdict(list)
    )
    for seen, running in _running_at_writes(found):
        for table in seen.write.tables:
            of_table = written[table]
            for step, body in running:
                if body not in of_table[step][-1:]:
                    of_table[step].append(body)
    return written


def writers_of(written: Written, table: str) -> Mapping[StepKey, Sequence[BodySpan]] | None:
    """Return the bodies that wrote to ``table``, ``schema.name``, which statements name with its
    schema or without; None where no statement does.
    """
    known = [written[name] for name in (table, table.rpartition(".")[2]) if name in written]
    if not known:
        return None
    return {
        step: sorted(
            {body for bodies in known for body in bodies.get(step, ())},
            key=lambda body: body.began,
        )
        for step in dict.fromkeys(step for bodies in known for step in bodies)
    }


def changed_own_world(found: Evidence) -> frozenset[StepKey]:
    """Return the steps, by workflow and number, of which a body that was not the last has written
    to a table of the user's, no other body running: the next one finds what it left.
    """
    spans = body_spans(found)
    changed = set()
    for seen, running in _running_at_writes(found):
        if len(running) == 1 and any(
            not table.startswith(_NOT_OF_USERS) for table in seen.write.tables
        ):
            ((step, body),) = running
            if body != spans[step][-1]:
                changed.add(step)
    return frozenset(changed)


def _running_at_writes(found: Evidence) -> Iterator[tuple[Seen, list[tuple[StepKey, BodySpan]]]]:
    """Yield each write to a table with the bodies that ran then."""
    bodies = [(step, body) for step, known in body_spans(found).items() for body in known]
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
            del running[what]
