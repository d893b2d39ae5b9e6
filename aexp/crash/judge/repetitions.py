"""Which steps ran more than once, and what they touched outside PostgreSQL. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from aexp.crash.judge.comparison import BaselineComparison
from aexp.crash.judge.evidence import Evidence
from aexp.engine.recorder.records import DeclaredEffect, SeenEffect, StepBegan
from aexp.engine.tables.names import DATASOURCE_OUTPUTS
from aexp.model.promise import SAMPLE, Anomaly

__all__ = [
    "RepeatedStep",
    "effects_in_steps",
    "idempotent_steps",
    "repeated_bodies",
    "repeated_steps",
    "touched_by",
]


@dataclass(frozen=True, slots=True)
class RepeatedStep:
    """A step whose body began in more than one process: at how many points, and in ``most``
    processes.

    ``transactional``: its record is committed with what it writes; ``idempotent``: its author says
    that its effects may happen twice. ``touched`` is what it touched outside PostgreSQL.
    """

    name: str
    points: int
    most: int
    transactional: bool = False
    idempotent: bool = False
    touched: Sequence[str] = ()

    def as_json(self) -> dict[str, Any]:
        """Return the step as JSON values."""
        return asdict(self)


def repeated_bodies(found: Evidence) -> Mapping[tuple[str, int], str]:
    """Return the names of the steps, by workflow and number, whose body began in more than one
    life.
    """
    return {step: name for step, (name, lives) in _lives(found).items() if len(lives) > 1}


def repeated_steps(found: Evidence) -> list[RepeatedStep]:
    """Return what is told of each step that ran in more than one life, by name."""
    touched, idempotent = touched_by(found), idempotent_steps(found)
    transactional = {
        (seen.write.workflow_id, seen.write.step_id)
        for seen in found.writes
        if f"insert {DATASOURCE_OUTPUTS}" in seen.write.name
    }
    lives = _lives(found)
    repeated = {step: name for step, (name, known) in lives.items() if len(known) > 1}
    steps = []
    for name in dict.fromkeys(repeated.values()):
        of_name = [step for step, known in repeated.items() if known == name]
        steps.append(
            RepeatedStep(
                name=name,
                points=1,
                most=max(len(lives[step][1]) for step in of_name),
                transactional=all(step in transactional for step in of_name),
                idempotent=all(step in idempotent for step in of_name),
                touched=list(
                    dict.fromkeys(each for step in of_name for each in touched.get(step, ()))
                ),
            )
        )
    return steps


def _lives(found: Evidence) -> Mapping[tuple[str, int], tuple[str, set[int]]]:
    lives: dict[tuple[str, int], tuple[str, set[int]]] = {}
    for recorded in found.records:
        record = recorded.record
        if isinstance(record, StepBegan) and record.step_id is not None:
            _, known = lives.setdefault(
                (record.workflow_id, record.step_id), (record.name, set[int]())
            )
            known.add(recorded.life)
    return lives


def touched_by(found: Evidence) -> Mapping[tuple[str, int], Sequence[str]]:
    """Return, by workflow and number of a step, what its bodies touched outside PostgreSQL."""
    touched: defaultdict[tuple[str, int], dict[str, None]] = defaultdict(dict)
    for recorded in found.records:
        record = recorded.record
        if isinstance(record, SeenEffect) and record.step_id is not None:
            touched[record.workflow_id, record.step_id][f"{record.kind} {record.target}"] = None
    return {step: list(targets) for step, targets in touched.items()}


def idempotent_steps(found: Evidence) -> set[tuple[str, int]]:
    """Return the steps, by workflow and number, all of whose declared effects may happen twice."""
    declared: defaultdict[tuple[str, int], list[bool]] = defaultdict(list)
    for recorded in found.records:
        record = recorded.record
        if isinstance(record, DeclaredEffect) and record.step_id is not None:
            declared[record.workflow_id, record.step_id].append(record.idempotent)
    return {step for step, idempotent in declared.items() if all(idempotent)}


def effects_in_steps(comparison: BaselineComparison) -> Sequence[Anomaly] | None:
    """Check that the body of no workflow has an effect of its own: it would happen again at each
    recovery.
    """
    found = comparison.found
    if not found.records:
        return None
    names = {row.workflow_id: row.name for row in found.workflows}
    effects: dict[tuple[str, str, str | None, str], list[SeenEffect]] = {}
    for recorded in found.records:
        record = recorded.record
        if isinstance(record, SeenEffect) and record.step_id is None:
            name = names.get(record.workflow_id, record.workflow_id)
            effects.setdefault((record.kind, record.target, record.site, name), []).append(record)
    return [
        Anomaly(
            f"the body of workflow `{name}`, outside any step, {_VERBS.get(kind, 'touches')}"
            f" {target}: that happens again at each recovery",
            [{"workflow_id": record.workflow_id, "kind": kind, "target": target, "site": site,
              "times": len(records)} for record in records[:1]],
            kind="effect_in_body",
            cause=f"{name} {site or target}",
            where=site,
        )
        for (kind, target, site, name), records in list(effects.items())[:SAMPLE]
    ]  # fmt: skip


_VERBS = {
    "file": "changes",
    "connection": "connects to",
    "process": "starts process",
    "mail": "sends mail to",
}
