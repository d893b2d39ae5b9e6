"""Who owned a workflow when a row of it was changed: the fence between a stopped executor, which
does not know that its work was taken over, and the one that has it now. Pure.

DBOS gives a workflow to whoever claims it from its queue; a hand-over puts it back there. A stopped
executor may do what it likes with its own memory, and may be in the middle of a transaction whose
locks keep the other one waiting. It must not begin another one that changes a row of what is no
longer its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from aexp.engine.tables.names import WORKFLOW_STATUS

__all__ = ["Change", "Phase", "Takeover", "foreign_changes", "late_changes"]


class Phase(StrEnum):
    """When a change was made, as seen by the stopped executor: durable before it went on, in a
    transaction that it held open meanwhile, or in one that it began when it went on.
    """

    EARLIER = "earlier"
    HELD_OPEN = "held-open"
    LATER = "later"


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A row of a workflow that is not what it was, and whose session changed it.

    ``executor_id`` is empty for a session of no executor. ``status`` and ``before`` are the
    workflow's, where the row tells them; ``parent`` is who started it.
    """

    executor_id: str
    operation: str
    table: str
    workflow_id: str
    phase: Phase
    step_id: int | None = None
    status: str | None = None
    before: str | None = None
    parent: str | None = None

    def as_row(self) -> Mapping[str, Any]:
        """Return what a reader of an anomaly needs."""
        row = {"write": f"{self.operation} {self.table}", "workflow_id": self.workflow_id}
        told = {"step_id": self.step_id, "status": self.status}
        return {**row, **{name: value for name, value in told.items() if value is not None}}


@dataclass(frozen=True, slots=True, kw_only=True)
class Takeover:
    """What became of the work of an executor that was stopped, and then went on.

    ``waited_for`` says what kept the other executor from the end of the run, None when it came
    there before the stopped one went on. That one stood still from ``stopped_at`` on (monotonic),
    in its ``life``. ``changes`` are all there were, in order.
    """

    executor_id: str
    heir_id: str
    life: int
    stopped_at: float
    waited_for: str | None = None
    changes: Sequence[Change] = ()

    @property
    def handed_over(self) -> Sequence[str]:
        """The workflows that were put back on their queues: what it had claimed and not ended."""
        return [
            change.workflow_id
            for change in self.changes
            if change.executor_id not in {self.executor_id, self.heir_id}
            and _is_back_on_its_queue(change)
        ]

    def as_json(self) -> dict[str, Any]:
        """Return the takeover as JSON values."""
        return {
            "handed_over": list(self.handed_over),
            "ended_meanwhile": self.waited_for is None,
            "waited_for": self.waited_for,
            "held_open": [dict(change.as_row()) for change in late_changes(self)],
        }


def late_changes(take_over: Takeover) -> list[Change]:
    """Return what the stopped executor had in open transactions, and committed when it went on."""
    return [
        change
        for change in take_over.changes
        if change.executor_id == take_over.executor_id and change.phase is Phase.HELD_OPEN
    ]


def foreign_changes(take_over: Takeover) -> list[Change]:
    """Return what the stopped executor changed of workflows that were not its own at that time.

    A transaction that it held open is none of it: whoever took the work over has waited for that,
    and found it.
    """
    old = take_over.executor_id
    return [
        change
        for change, is_own in _owned(take_over.changes)
        if change.executor_id == old and change.phase is not Phase.HELD_OPEN and not is_own
    ]


def _owned(changes: Sequence[Change]) -> Iterator[tuple[Change, bool]]:
    """Yield each change, and whether its maker owned the workflow, or might claim or start it."""
    owners: dict[str, str | None] = {}
    # Of what nobody has claimed yet, who put it there.
    starters: dict[str, str] = {}
    for change in changes:
        key, who = change.workflow_id, change.executor_id
        claims = starts = False
        if change.table == WORKFLOW_STATUS:
            claims = change.status == "PENDING" and change.before != "PENDING"
            starts = change.operation == "insert" and (
                change.parent is None or owners.get(change.parent) == who
            )
            claims = claims and (starts or change.operation == "update")
        owner = owners.get(key)
        yield change, claims or starts or starters.get(key, owner) == who
        if starts and not claims:
            starters[key] = who
        if claims:
            owners[key] = who
            starters.pop(key, None)
        elif _is_back_on_its_queue(change):
            owners[key] = None


def _is_back_on_its_queue(change: Change) -> bool:
    return (
        change.table == WORKFLOW_STATUS
        and change.status == "ENQUEUED"
        and change.before == "PENDING"
    )
