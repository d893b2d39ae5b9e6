"""When the bodies of steps ran, by what the workers noted. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from aexp.crash.judge.evidence import Evidence
from aexp.engine.recorder.records import StepBegan, StepEnded

__all__ = ["BodySpan", "body_spans", "changed_own_world", "is_written", "writers"]

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


def writers(found: Evidence, table: str) -> Mapping[tuple[str, int], Sequence[BodySpan]]:
    """Return the bodies, by workflow and number of their step, that ran when something was written
    to ``table``, ``schema.name``: one of those that ran side by side has written it.
    """
    times = _times_of_writes(found, table)
    if not times:
        return {}
    wrote = {
        step: [body for body in bodies if any(body.covers(life, at) for life, at in times)]
        for step, bodies in body_spans(found).items()
    }
    return {step: bodies for step, bodies in wrote.items() if bodies}


def is_written(found: Evidence, table: str) -> bool:
    """Return whether something was written to ``table`` by a statement that names it."""
    return bool(_times_of_writes(found, table))


def _times_of_writes(found: Evidence, table: str) -> list[tuple[int, float]]:
    """Return life and time of each write to ``table``, named with its schema or without."""
    names = {table, table.rpartition(".")[2]}
    return [
        (seen.life, seen.at) for seen in found.writes if not seen.write.tables.isdisjoint(names)
    ]


def changed_own_world(found: Evidence) -> frozenset[tuple[str, int]]:
    """Return the steps, by workflow and number, of which a body that was not the last has written
    to a table of the user's, no other body running: the next one finds what it left.
    """
    spans = body_spans(found)
    writes = [
        (seen.life, seen.at)
        for seen in found.writes
        if any(not table.startswith(_NOT_OF_USERS) for table in seen.write.tables)
    ]
    changed = set()
    for life, at in writes:
        running = [
            (step, body)
            for step, bodies in spans.items()
            for body in bodies
            if body.covers(life, at)
        ]
        if len(running) == 1:
            ((step, body),) = running
            if body is not spans[step][-1]:
                changed.add(step)
    return frozenset(changed)
